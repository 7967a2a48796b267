"""Packed data sets of resized frames: the batches of the files, as long as nothing larger is asked for."""

import dataclasses
import io
import json
import pickle
import shutil

import av
import grain
import numpy as np
import pytest
from array_record.python.array_record_module import ArrayRecordReader
from PIL import Image

from tests.conftest import ROOT
from tests.data.packed.test_packing import assert_equal, batches, batches_from_a_bucket
from tests.refusals import refused, unnamed
from vidjax import data
from vidjax.cli import main
from vidjax.data import RGB, streams
from vidjax.data.cache.disk import DiskCache
from vidjax.data.cache.memory import MemoryCache
from vidjax.data.clips import ClipSpec
from vidjax.data.indexing import with_file_info
from vidjax.data.packed.packing import pack
from vidjax.data.packed.records import DATASET
from vidjax.data.records import Source, Video
from vidjax.data.sources import packed
from vidjax.data.video import decoding
from vidjax.data.views import ViewSpec
from vidjax.errors import ConfigError, DataError, VideoError

SIDE = 32
DENSE = ClipSpec(frames=4, short_side=SIDE, crop=24, crop_position="random")
SEGMENTS = dataclasses.replace(DENSE, sampling="segments")
JITTERED = dataclasses.replace(DENSE, short_side=28, short_side_max=SIDE)


@pytest.fixture(scope="module")
def packed_folder(source, tmp_path_factory):
    path = tmp_path_factory.mktemp("packed") / "toy"
    pack(source, path, short_side=SIDE, shard_bytes=40_000)
    return path


@pytest.fixture
def ours(packed_folder):
    return packed.load(root=str(packed_folder))


def test_it_is_the_same_data_set_and_says_how_it_was_packed(source, ours, packed_folder):
    assert ours.fingerprint() == source.fingerprint() and with_file_info(ours) == ours
    content = json.loads(ArrayRecordReader(str(packed_folder / DATASET)).read([0])[0])
    found = {key: content[key] for key in ("format", "short_side", "codec", "lossless")}
    assert found == {"format": 4, "short_side": SIDE, "codec": "qoi", "lossless": True}
    assert len(list(packed_folder.glob("train-*.arrayrecord"))) > 2, "several shards"
    for video, other in zip(source.train, ours.train, strict=True):
        before, after = video.streams["rgb"], other.streams["rgb"]
        assert (after.info.frames, after.info.fps) == (before.info.frames, before.info.fps)
        assert min(after.info.height, after.info.width) == SIDE
        assert after.file.content_size() == before.file.content_size(), "so a run knows the data as those that it had"


@pytest.mark.parametrize("clip", [DENSE, SEGMENTS, dataclasses.replace(SEGMENTS, frames=20)])
@pytest.mark.parametrize("options", [{}, {"threads": 0}])
def test_the_batches_are_those_of_the_files(source, ours, clip, options):
    """From step 2 on, so those of a run that continues, too."""
    assert_equal(batches(ours, clip, **options), batches(source, clip))


def test_from_an_object_store(source, packed_folder):
    assert_equal(batches_from_a_bucket(packed_folder), batches(source))


def test_samplings_alternate(source, ours):
    with (
        data.training_batches(ours.train, DENSE, batch_size=4, seed=1) as dense,
        data.training_batches(ours.train, SEGMENTS, batch_size=4, seed=1) as segments,
    ):
        found = [next(each) for _ in range(3) for each in (dense, segments)]
    with (
        data.training_batches(source.train, DENSE, batch_size=4, seed=1) as dense,
        data.training_batches(source.train, SEGMENTS, batch_size=4, seed=1) as segments,
    ):
        assert_equal(found, [next(each) for _ in range(3) for each in (dense, segments)])


def test_a_jittered_side_up_to_that_of_the_pack(source, ours):
    with data.training_batches(ours.train, JITTERED, batch_size=4, seed=1) as training:
        found = [next(training) for _ in range(3)]
    with data.training_batches(source.train, JITTERED, batch_size=4, seed=1) as training:
        assert_equal(found, [next(training) for _ in range(3)])


def test_caches_hold_them_apart_from_the_files(source, ours, tmp_path):
    expected, smaller = batches(source), dataclasses.replace(DENSE, short_side=28)
    for cache in (MemoryCache(10**8), DiskCache(tmp_path, 10**8)):
        batches(source, cache=cache)
        assert_equal(batches(ours, cache=cache), expected)
        of_files, resized_twice = (batches(each, smaller, cache=cache) for each in (source, ours))
        differences = [
            np.abs(a.inputs["rgb"].astype(int) - b.inputs["rgb"]) for a, b in zip(of_files, resized_twice, strict=True)
        ]
        assert max(each.max() for each in differences) > 0
        assert max(each.mean() for each in differences) < 8, "resizing twice changes pixels, but not the picture"


def test_frames_show_their_numbers_in_any_order(test_data, tmp_path):
    names = ["xvid_bf.avi", "h264_opengop.mp4", "vfr_bf.mp4", "rot90.mp4", "anim.gif"]
    videos = tuple(Video.of(name, str(test_data / "videos" / name), 0, name) for name in names)
    source = with_file_info(Source("some", "1", ("a", "b"), videos, (), ()))
    pack(source, tmp_path / "packed", short_side=61)
    for video, other in zip(source.train, packed.load(root=str(tmp_path / "packed")).train, strict=True):
        before, after = video.streams["rgb"], other.streams["rgb"]
        last, size = before.info.frames - 1, (after.info.height, after.info.width)
        for indices in ([last], [last, 0, last // 2, 0], range(last + 1)):
            got = streams.read_frames(after, RGB, indices)
            np.testing.assert_array_equal(got, streams.read_frames(before, RGB, indices, size), err_msg=video.id)
        whole = decoding.read_video(after.file)
        np.testing.assert_array_equal(whole.frames, got)
        assert decoding.read_video(after.file, max_bytes=whole.frames.nbytes - 1) is None
        with refused(VideoError, last + 1, last):
            streams.read_frames(after, RGB, [last + 1])
        np.testing.assert_array_equal(streams.read_frames(pickle.loads(pickle.dumps(after)), RGB, [0]), got[:1])


def test_only_the_frames_of_a_clip_are_read(ours, monkeypatch):
    decoded = []
    monkeypatch.setattr(av, "Packet", lambda image, make=av.Packet: decoded.append(image) or make(image))
    streams.read_frames(ours.train[0].streams["rgb"], RGB, [13, 5, 13])
    assert len(decoded) == 2


def test_an_image_of_another_size_is_refused(ours):
    packed_frames = ours.train[0].streams["rgb"].packed
    info = dataclasses.replace(packed_frames.info, height=SIDE - 1)
    with refused(VideoError, "frame 2", f"{SIDE}x{info.width}", f"{SIDE - 1}x{info.width}"):
        decoding.read_frames(dataclasses.replace(packed_frames, info=info), [2])


def test_what_is_larger_than_the_pack_is_refused(ours):
    larger = [
        (dataclasses.replace(DENSE, short_side=SIDE + 1), "short_side"),
        (dataclasses.replace(DENSE, short_side=None), "short_side"),
        (dataclasses.replace(DENSE, short_side_max=SIDE + 1), "short_side_max"),
        (ClipSpec(frames=4, resize="squash", size=SIDE + 1, crop=24), "size"),
    ]
    for clip, option in larger:
        with refused(ConfigError, option, SIDE, "train-00000.arrayrecord[0]"):
            data.training_batches(ours.train, clip, batch_size=2, seed=0)
    with refused(ConfigError, "short_side", SIDE):
        data.evaluation_batches(ours.test, larger[0][0], ViewSpec(1), batch_size=2)
    with data.evaluation_batches(ours.test, larger[2][0], ViewSpec(1), batch_size=2) as test:
        assert next(test).mask.all(), "only training is jittered"


def test_grain_reads_the_images_directly(source, ours, packed_folder):
    shards = [str(path) for path in sorted(packed_folder.glob("train-*.arrayrecord"))]
    records = grain.MapDataset.source(grain.sources.ArrayRecordDataSource(shards)).map(data.unpack)
    assert len(records) == sum(video.streams["rgb"].info.frames for video in source.train)
    header, ((name, content),) = records[15]
    video = ours.train[1]
    assert (header["id"], header["label"], header["frame"], name) == (video.id, video.label, 1, "000001.qoi")
    with Image.open(io.BytesIO(content)) as image:
        np.testing.assert_array_equal(np.asarray(image), streams.read_frames(video.streams["rgb"], RGB, [1])[0])


def test_shards_of_another_pack_and_damaged_ones_are_noticed(source, packed_folder, tmp_path):
    mixed = tmp_path / "mixed"
    shutil.copytree(packed_folder, mixed)
    other = dataclasses.replace(source, train=source.train[::-1])
    pack(other, tmp_path / "other", short_side=SIDE, shard_bytes=40_000)
    shutil.copy(tmp_path / "other" / "train-00000.arrayrecord", mixed / "train-00000.arrayrecord")
    stream = packed.load(root=str(mixed)).train[0].streams["rgb"]
    with refused(VideoError, "train-00000.arrayrecord[0]", "dataset.arrayrecord"):
        streams.read_frames(stream, RGB, [0])
    stream = packed.load(root=str(mixed)).train[-1].streams["rgb"]
    shard = mixed / stream.path.rsplit("/")[-1].split("[")[0]
    content = bytearray(shard.read_bytes())
    place = content.rindex(b"qoif")
    content[place + 20 : place + 60] = bytes(40)
    shard.write_bytes(content)
    stream = packed.load(root=str(mixed)).train[-1].streams["rgb"]
    with refused(VideoError, shard.name):
        streams.read_frames(stream, RGB, [13])
    shard.unlink()
    with refused(DataError, shard.name) as error:
        streams.read_frames(stream, RGB, [0])
    assert not isinstance(error.value, VideoError)


def test_what_cannot_be_resized_is_refused(walks, source, ours, damaged, tmp_path):
    with refused(ConfigError, "flow", "--short-side"):
        pack(walks, tmp_path / "walks", short_side=SIDE)
    with refused(ConfigError, "toy0"):
        pack(ours, tmp_path / "again", short_side=SIDE)
    broken = Video.of("broken", damaged.path, 0, "broken")
    done = pack(dataclasses.replace(source, train=(broken, *source.train)), tmp_path / "some", short_side=SIDE)
    assert list(done["train"].refused) == ["broken"] and done["train"].videos == len(source.train)
    assert packed.load(root=str(tmp_path / "some")).train[0].refused == done["train"].refused["broken"]


def test_the_verb(toy_folder, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = [f"--config={ROOT}/configs/early_fusion.py:folder", f"--config.data.root={toy_folder}"]
    assert main(["pack", "out", *config, "--short-side=0"]) == 1
    assert not unnamed(capsys.readouterr().err, "--short-side=0")
    assert main(["pack", "out", *config, f"--short-side={SIDE}"]) == 0
    assert f"--config.data.root=out --config.data.short_side={SIDE}" in capsys.readouterr().out
    assert packed.load(root="out").train[0].streams["rgb"].file.short_side == SIDE
    assert main(["check-data", "out"]) == 0

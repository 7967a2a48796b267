"""Packed data sets: the same frames and batches as from the files."""

import contextlib
import dataclasses
import http.server
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import urllib.parse
from pathlib import Path

import grain
import numpy as np
import pytest
from array_record.python.array_record_module import ArrayRecordReader
from PIL import Image

from tests.conftest import ROOT
from tests.refusals import refused, unnamed
from vidjax import data
from vidjax.cli import main
from vidjax.data import RGB, streams
from vidjax.data.cache.disk import DiskCache
from vidjax.data.cache.memory import MemoryCache
from vidjax.data.clips import ClipSpec
from vidjax.data.indexing import with_file_info
from vidjax.data.packed import packing
from vidjax.data.packed.packing import pack
from vidjax.data.packed.records import DATASET, to_record
from vidjax.data.packed.shards import check_answer
from vidjax.data.records import Source, Video
from vidjax.data.sources import folder, motion, packed
from vidjax.data.views import ViewSpec
from vidjax.errors import ConfigError, DataError, InUseError, VideoError

CLIP = ClipSpec(frames=4, short_side=32, crop=24, crop_position="random")


@pytest.fixture(scope="module")
def packed_folder(source, tmp_path_factory):
    path = tmp_path_factory.mktemp("packed") / "toy"
    pack(source, path, shard_bytes=40_000)
    return path


def of_files(paths, tmp_path):
    """A source of these files, and what is packed of them."""
    videos = tuple(Video.of(str(number), str(path), 0, str(number)) for number, path in enumerate(paths))
    source = Source("some", "1", ("a", "b"), videos, (), ())
    done = pack(source, tmp_path / "packed")
    return with_file_info(source), packed.load(root=str(tmp_path / "packed")), done


def batches(source, clip=CLIP, **options):
    """Some batches of training and all of the test."""
    with data.training_batches(source.train, clip, batch_size=6, seed=3, start_step=2, **options) as training:
        found = [next(training) for _ in range(4)]
    with data.evaluation_batches(source.test, clip, ViewSpec(2, "three", False, 16), batch_size=6, **options) as test:
        return found + list(test)


def assert_equal(ours, theirs):
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs):
        np.testing.assert_array_equal(one.inputs["rgb"], other.inputs["rgb"])
        for field in ("label", "index", "mask"):
            np.testing.assert_array_equal(getattr(one, field), getattr(other, field))


def test_it_is_the_same_data_set(source, packed_folder):
    ours = packed.load(root=str(packed_folder))
    for field in ("name", "split", "classes", "mirror", "num_missing_clips", "notes"):
        assert getattr(ours, field) == getattr(source, field)
    assert ours.fingerprint() == source.fingerprint()
    assert [v.group for v in ours.train] == [v.group for v in source.train]
    assert len(list(packed_folder.glob("train-*.arrayrecord"))) > 2, "several shards"


@pytest.mark.parametrize("options", [{}, {"threads": 0}, {"workers": 1, "threads": 1}])
def test_the_batches_are_those_of_the_files(source, packed_folder, options):
    assert_equal(batches(packed.load(root=str(packed_folder)), **options), batches(source))


def test_caches_hold_packed_videos(source, packed_folder, tmp_path):
    ours, expected = packed.load(root=str(packed_folder)), batches(source)
    for cache in (MemoryCache(10**8), DiskCache(tmp_path, 10**8), DiskCache(tmp_path, 10**8)):
        assert_equal(batches(ours, cache=cache), expected)
    assert len(list(tmp_path.glob("*/*.frames"))) == len({v.id for v in (*ours.train, *ours.test)})


def test_every_kind_of_file_shows_the_same_packed(test_data, tmp_path):
    files = sorted(
        path for path in (test_data / "videos").rglob("*") if path.is_file() and path.suffix not in (".json", ".md")
    )
    files += sorted((test_data / "UCF-101").rglob("*.avi"))[::12]
    files = [path for path in files if path.stat().st_size < 3_000_000]
    ours, theirs, done = of_files(files, tmp_path)
    assert len(files) > 80 and done["train"].videos > 60 and done["train"].refused
    for video, other in zip(ours.train, theirs.train):
        stream, packed_stream = video.streams["rgb"], other.streams["rgb"]
        assert (stream.info, video.refused) == (packed_stream.info, other.refused)
        if video.refused is None:
            last = stream.info.frames - 1
            for indices in ([0], [last], sorted({0, last // 3, last // 2, last}), list(range(min(last + 1, 8)))):
                got, wanted = (streams.read_frames(each, RGB, indices) for each in (packed_stream, stream))
                np.testing.assert_array_equal(got, wanted, err_msg=video.path)


def test_folders_of_images(tmp_path):
    frames = tmp_path / "frames"
    frames.mkdir()
    for number in range(3):
        Image.new("RGB", (20, 16), (80 * number, 0, 0)).save(frames / f"{number}.png")
    ours, theirs, _ = of_files([frames], tmp_path)
    got = streams.read_frames(theirs.train[0].streams["rgb"], RGB, [2, 0])
    np.testing.assert_array_equal(got, streams.read_frames(ours.train[0].streams["rgb"], RGB, [2, 0]))
    assert got[0, 0, 0, 0] == 160


@pytest.fixture(scope="module")
def motion_and_packed(tmp_path_factory):
    root = tmp_path_factory.mktemp("motion")
    source = motion.load(root=str(root / "sets"), train_clips=8, validation_clips=8, test_clips=8)
    pack(source, root / "packed")
    return source, packed.load(root=str(root / "packed"))


@pytest.mark.parametrize("short_side", [None, 32, 48, 72])
def test_motion_by_another_decoder_is_the_same(motion_and_packed, short_side):
    ours, theirs = motion_and_packed
    clip = ClipSpec(frames=4, short_side=short_side, crop=24)
    assert_equal(batches(theirs, clip=clip), batches(ours, clip=clip))


def test_grain_reads_the_shards_directly(source, packed_folder):
    shards = [str(path) for path in sorted(packed_folder.glob("train-*.arrayrecord"))]
    records = grain.MapDataset.source(grain.sources.ArrayRecordDataSource(shards)).map(data.unpack)
    assert len(records) == len(source.train)
    for (header, ((name, content),)), video in zip(records, source.train):
        assert content == Path(video.path).read_bytes() and name == Path(video.path).name
        assert (header["id"], header["label"], header["frames"]) == (video.id, video.label, 14)
        assert header["class"] == source.classes[video.label] and header["part"] == "train"


class _Bucket(http.server.BaseHTTPRequestHandler):
    """As much of Google Cloud Storage as reading needs."""

    protocol_version = "HTTP/1.1"
    folder: Path

    def do_GET(self):
        name = urllib.parse.unquote(urllib.parse.urlparse(self.path).path).split("/o/bucket-folder/")[-1]
        file = self.folder / name
        if not file.is_file():
            return self._answer(404, b"{}")
        content = file.read_bytes()
        first, last = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").split("-")
        start = int(first) if first else max(len(content) - int(last), 0)
        end = min(int(last) + 1, len(content)) if first and last else len(content)
        self._answer(206, content[start:end], {"Content-Range": f"bytes {start}-{end - 1}/{len(content)}"})

    def _answer(self, code, content, headers=()):
        self.send_response(code)
        for name, value in {**dict(headers), "Content-Length": len(content)}.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments):
        pass


def batches_from_a_bucket(packed_folder):
    """The `batches` of a packed data set in an object store."""
    handler = type("Bucket", (_Bucket,), {"folder": packed_folder})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        # A process of its own: the library asks for the store's address once.
        program = (
            "import pickle, sys\n"
            "from tests.data.packed.test_packing import batches\n"
            "from vidjax.data.sources import packed\n"
            "sys.stdout.buffer.write(pickle.dumps(batches(packed.load(root='gs://bucket/bucket-folder'))))\n"
        )
        environment = {**os.environ, "CLOUD_STORAGE_EMULATOR_ENDPOINT": f"http://127.0.0.1:{server.server_port}"}
        root = Path(__file__).resolve().parents[3]
        found = subprocess.run(
            [sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, timeout=120, check=True, cwd=root
        )
        server.shutdown()
    return pickle.loads(found.stdout)


def test_from_an_object_store(source, packed_folder):
    assert_equal(batches_from_a_bucket(packed_folder), batches(source))


def test_what_cannot_be_read_is_listed_and_named(videos, damaged, tmp_path):
    ours, theirs, done = of_files([videos[0].path, damaged.path], tmp_path)
    assert done["train"].videos == 1 and list(done["train"].refused) == ["1"]
    assert theirs.train[1].refused == ours.train[1].refused
    assert with_file_info(theirs) == theirs, "nothing is looked for again"
    with data.evaluation_batches(theirs.train, CLIP, ViewSpec(1), batch_size=2) as batches:
        assert [list(batch.mask) for batch in batches] == [[True, False]]
        assert list(batches.failed) == ["1"]


def test_a_shard_of_another_pack_is_noticed(source, packed_folder, tmp_path, videos):
    shutil.copytree(packed_folder, tmp_path / "mixed")
    _, _, _ = of_files([video.path for video in videos], tmp_path)
    shutil.copy(tmp_path / "packed" / "train-00000.arrayrecord", tmp_path / "mixed" / "train-00000.arrayrecord")
    video = packed.load(root=str(tmp_path / "mixed")).train[0]
    with refused(VideoError, "train-00000.arrayrecord[0]", "bright0.avi", "dataset.arrayrecord"):
        streams.read_frames(video.streams["rgb"], RGB, [0])


@pytest.fixture
def copied(packed_folder, tmp_path):
    return Path(shutil.copytree(packed_folder, tmp_path / "toy"))


def test_a_shard_that_is_gone_is_no_bad_video(copied):
    """Nothing may stand in its place, and nothing count as failed, as if the videos were at fault."""
    videos = packed.load(root=str(copied)).train
    shard = copied / "train-00001.arrayrecord"
    (video, *_) = [video for video in videos if "train-00001" in video.path]
    for damage in (lambda: shard.write_bytes(shard.read_bytes()[:-20_000]), shard.unlink):
        damage()
        with refused(DataError, "train-00001.arrayrecord") as error:
            streams.read_frames(video.streams["rgb"], RGB, [0])
        assert not isinstance(error.value, VideoError)
    with refused(DataError, "1", "9", "train-00001.arrayrecord"):
        packed.load(root=str(copied))


def test_a_damaged_record_is_a_bad_video(copied):
    shard = copied / "train-00001.arrayrecord"
    content = bytearray(shard.read_bytes())
    place = content.index(b"RIFF")
    content[place + 100 : place + 200] = bytes(100)
    shard.write_bytes(content)
    found = 0
    for video in packed.load(root=str(copied)).train:
        if "train-00001" in video.path:
            try:
                streams.read_frames(video.streams["rgb"], RGB, [0])
            except VideoError as error:
                found += "is damaged" in error.reason
    assert found == 1


def test_a_pack_that_was_made_anew_is_read_anew(source, toy_folder, tmp_path):
    pack(dataclasses.replace(source, train=source.train[:3]), tmp_path / "p")
    assert len(packed.load(root=str(tmp_path / "p")).train) == 3
    shutil.rmtree(tmp_path / "p")
    pack(source, tmp_path / "p")
    ours = packed.load(root=str(tmp_path / "p"))
    assert_equal(batches(ours), batches(source))


@pytest.mark.parametrize("record", [b"", b"\x02\0\0\0{}", b"\x02\0\0\0[]", b"\xff\xff\xff\xff", b"noise"])
def test_other_records_are_refused(record):
    with refused(ValueError) as caught:
        data.unpack(record)
    assert type(caught.value) is ValueError, "or a parser's error"


def test_a_cut_record_is_refused():
    record = to_record({"id": "a"}, [("a.avi", b"12345")])
    assert data.unpack(record) == ({"id": "a", "files": [["a.avi", 5]]}, (("a.avi", b"12345"),))
    with refused(ValueError, "44", "45"):
        data.unpack(record[:-1])


def test_files_of_others_stay(source, tmp_path):
    (tmp_path / ".toy.vidjax-pack").mkdir()
    thesis = tmp_path / ".toy.vidjax-pack" / "thesis.txt"
    thesis.write_text("mine")
    with refused(ConfigError, ".toy.vidjax-pack", "thesis.txt"):
        pack(source, tmp_path / "toy")
    assert thesis.read_text() == "mine"


def test_a_file_that_changes_meanwhile_is_noticed(toy_folder, tmp_path):
    shutil.copytree(toy_folder, tmp_path / "videos")
    source = folder.load(root=str(tmp_path / "videos"))

    def touching(videos, total):
        for video in videos:
            os.utime(video.path, ns=(1, 1))
            yield video

    with refused(DataError, "bright0.avi"):
        pack(source, tmp_path / "packed", pack_progress=touching)
    assert [path.name for path in tmp_path.iterdir()] == ["videos"]


def test_the_verb(toy_folder, damaged, tmp_path, capsys, monkeypatch):
    shutil.copytree(toy_folder, tmp_path / "videos")
    shutil.copy(damaged.path, tmp_path / "videos" / "dark" / "broken.avi")
    monkeypatch.chdir(tmp_path)
    config = [f"--config={ROOT}/configs/early_fusion.py:folder", "--config.data.root=videos"]
    (tmp_path / "out").mkdir()
    assert main(["pack", "out", *config, "--shard-megabytes", "1"]) == 0
    printed = capsys.readouterr().out
    assert "warning: dark/broken" in printed
    assert "--config.data.name=packed --config.data.root=out" in printed
    total = sum(len(getattr(packed.load(root="out"), part)) for part in ("train", "validation", "test"))
    assert total == 25
    assert main(["check-data", "out"]) == 1
    assert "refused: dark/broken: " in capsys.readouterr().out
    assert main(["pack", "gs://bucket/x", *config]) == 1 and "gs://bucket/x" in capsys.readouterr().err
    assert main(["pack", "out", *config]) == 1 and not unnamed(capsys.readouterr().err, "out")


def test_what_is_not_packed_is_refused(source, tmp_path, packed_folder):
    with refused(DataError, "root=", "dataset.arrayrecord", "`python -m vidjax pack`"):
        packed.load(root=str(tmp_path))
    (tmp_path / DATASET).write_bytes(b"noise" * 100)
    with refused(DataError, "dataset.arrayrecord"):
        packed.load(root=str(tmp_path))
    with refused(ConfigError, packed_folder):
        pack(source, packed_folder)
    with refused(ConfigError, "toy0"):
        pack(packed.load(root=str(packed_folder)), tmp_path / "again")


def test_a_kill_leaves_no_half_packed_data_set(toy_folder, tmp_path):
    program = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from vidjax.data.sources import folder\n"
        "from vidjax.data.packed.packing import pack\n"
        "def slowly(videos, total):\n"
        "    for video in videos:\n"
        "        yield video; print('one', flush=True); time.sleep(0.2)\n"
        "pack(folder.load(root=sys.argv[1]), Path(sys.argv[2]), pack_progress=slowly)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(toy_folder), str(tmp_path / "toy")], stdout=subprocess.PIPE
    )
    assert process.stdout.readline() == b"one\n"
    source = folder.load(root=str(toy_folder))
    with refused(InUseError, "toy"):
        pack(source, tmp_path / "toy")
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "toy").exists()
    pack(source, tmp_path / "toy")
    assert [path.name for path in tmp_path.iterdir()] == ["toy"]
    assert packed.load(root=str(tmp_path / "toy")).fingerprint() == source.fingerprint()


def test_a_full_disk_is_said_in_one_line(source, tmp_path, monkeypatch):
    class Full:
        def __init__(self, *arguments):
            pass

        def write(self, record):
            pass

        def close(self):
            raise RuntimeError("write() failed: No space left on device; writing x; at byte 1; Failed to close")

    monkeypatch.setattr("array_record.python.array_record_module.ArrayRecordWriter", Full)
    with refused(DataError, "toy", "write()"):
        pack(source, tmp_path / "toy")
    assert not list(tmp_path.iterdir())


def test_the_list_is_one_record_of_json(packed_folder):
    content = json.loads(ArrayRecordReader(str(packed_folder / DATASET)).read([0])[0])
    assert content["format"] == 2 and len(content["train"][0]) == len(content["columns"])


def test_the_rule_for_mirror_images_can_be_given(packed_folder):
    assert packed.load(root=str(packed_folder)).mirror is None
    assert packed.load(root=str(packed_folder), mirror="invariant").mirror == "invariant"
    with refused(ConfigError, "mirror", "'no'"):
        packed.load(root=str(packed_folder), mirror="no")


def test_what_shows_something_else_from_memory_is_not_packed(toy_folder, tmp_path, monkeypatch):
    shown = iter([13, VideoError("x", "is damaged")])

    @contextlib.contextmanager
    def shows(file):
        frames = next(shown)
        if isinstance(frames, VideoError):
            raise frames
        yield range(frames)

    monkeypatch.setattr(packing, "open_video", shows)
    pictures = [tmp_path / name for name in ("a", "b")]  # seen in order only
    for folder_of_pictures in pictures:
        folder_of_pictures.mkdir()
        for number in range(14):
            Image.new("RGB", (32, 32)).save(folder_of_pictures / f"{number}.png")
    _, theirs, done = of_files(pictures, tmp_path)
    assert done["train"].videos == 0
    reasons = [video.refused for video in theirs.train]
    assert not unnamed(reasons[0], 13, 14) and not unnamed(reasons[1], 0, 14)


def test_a_record_is_read_without_its_data_set(source, packed_folder):
    reader = ArrayRecordReader(str(packed_folder / "train-00000.arrayrecord"))
    video = data.encoded(reader.read([0])[0])
    frames = data.read_frames(video, [3, 1], (20, 24))
    np.testing.assert_array_equal(frames, data.read_frames(Path(source.train[0].path), [3, 1], (20, 24)))


def test_a_shard_that_is_a_pipe_is_refused(copied):
    video = packed.load(root=str(copied)).train[0]
    Path(video.streams["rgb"].packed.shard).unlink()
    os.mkfifo(video.streams["rgb"].packed.shard)
    with refused(DataError, "train-00000.arrayrecord"):
        streams.read_frames(video.streams["rgb"], RGB, [0])


def test_a_store_that_does_not_answer_is_given_up():
    with refused(DataError, "gs://bucket/dataset.arrayrecord", "0"):
        check_answer("gs://bucket/dataset.arrayrecord", seconds=0.01)


def test_a_mount_point_is_refused(source, tmp_path, monkeypatch):
    monkeypatch.setattr(os.path, "ismount", lambda path: True)
    with refused(ConfigError, "toy"):
        pack(source, tmp_path / "toy")


def listed(path):
    return json.loads(ArrayRecordReader(str(path / DATASET)).read([0])[0])


def test_one_rgb_file_each_is_packed_in_the_format_without_streams(packed_folder):
    content = listed(packed_folder)
    columns = "id label group name refused shard number size digest frames fps height width"
    assert content["format"] == 2 and content["columns"] == columns.split()
    assert content.keys() == {
        *("format", "name", "split", "classes", "mirror", "absent", "notes", "columns", "train", "validation", "test")
    }
    record = ArrayRecordReader(str(packed_folder / "train-00000.arrayrecord")).read([0])[0]
    header, _ = data.unpack(record)
    assert list(header) == [
        *("id", "label", "group", "name", "size", "digest", "frames", "fps", "height", "width"),
        *("class", "part", "seek", "is_folder", "files"),
    ]


@pytest.mark.parametrize("version", [1, 5])
def test_other_formats_are_refused(copied, version):
    content = listed(copied)
    (copied / DATASET).unlink()
    with packing._writer(copied / DATASET) as write:
        write(json.dumps({**content, "format": version}).encode())
    with refused(DataError, "dataset.arrayrecord", version, "2", "3", "4"):
        packed.load(root=str(copied))

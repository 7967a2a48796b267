import dataclasses
import logging
import os
import pickle
import shutil
import subprocess
import sys

import numpy as np
import pytest

from tests.refusals import refused
from vidjax.data import streams
from vidjax.data.cache import disk, interface
from vidjax.data.cache.disk import DiskCache
from vidjax.data.packed.shards import ShardFile
from vidjax.data.resizing import Resize
from vidjax.data.video.decoding import read_video
from vidjax.data.video.file import DiskFile, as_file
from vidjax.errors import DataError, VideoError

SMALL = Resize(24)


@pytest.fixture
def path(toy_folder):
    return str(toy_folder / "dark" / "dark0.avi")


def whole(video):
    return video.take(range(len(video)))


def decoded(monkeypatch):
    """Counts the videos that are decoded."""
    paths = []

    def counted(path, *args, **kwargs):
        paths.append(path)
        return read_video(path, *args, **kwargs)

    monkeypatch.setattr(interface, "read_video", counted)
    return paths


def test_the_next_process_decodes_nothing(path, tmp_path, monkeypatch):
    paths = decoded(monkeypatch)
    first = DiskCache(tmp_path, 10**7).video(as_file(path), SMALL)
    other = pickle.loads(pickle.dumps(DiskCache(tmp_path, 10**7)))
    again = other.video(as_file(path), SMALL)
    assert paths == [as_file(path)]
    assert len(again) == 14 and again.fps == first.fps == 25.0
    np.testing.assert_array_equal(whole(again), read_video(as_file(path), SMALL).frames)
    some = [3, 4, 5, 0, 7, 7, 13, 12]
    np.testing.assert_array_equal(again.take(some), first.take(some))
    assert 0 < other.used_bytes <= 14 * 24 * 29 * 3 + 200


def test_what_decides_on_the_pixels_is_in_the_name(path, tmp_path, monkeypatch):
    paths = decoded(monkeypatch)
    cache, copy = DiskCache(tmp_path / "cache", 10**7), str(tmp_path / "copy.avi")
    shutil.copy(path, copy)
    for resize in (SMALL, Resize(20), Resize(24, "squash")):
        cache.video(as_file(copy), resize)
    assert len(paths) == 3
    link = tmp_path / "link.avi"
    link.symlink_to(copy)
    cache.video(as_file(str(link)), SMALL)
    assert len(paths) == 3, "the same file"
    os.utime(copy, ns=(1, 1))
    cache.video(as_file(copy), SMALL)
    assert len(paths) == 4, "it may have changed"


@pytest.mark.parametrize(
    "file, name",
    [
        (DiskFile("/videos/a.avi"), "97/8ae367da91c9222e94eab56523f1399ed31918"),
        (DiskFile("/videos/a.avi", exact_seek=True), "63/94b38eee48833e6ca3f7db106b2b1ca1bcfc0b"),
        (ShardFile("/shard", 3, "a.avi", (77, 88)), "48/656e1e438a8eabc23345c2c14a8416e2690fb8"),
    ],
    ids=["on a disk", "with exact seeking", "packed"],
)
def test_names_in_the_cache_stay_the_same(file, name, path, tmp_path, monkeypatch):
    """Otherwise everything that users have cached would be decoded again."""
    monkeypatch.setattr(disk.av, "__version__", "16.1.0")
    monkeypatch.setattr(DiskFile, "signature", lambda self: (1234, 5678))
    video = read_video(as_file(path), SMALL)
    monkeypatch.setattr(interface, "read_video", lambda *args, **options: video)
    assert DiskCache(tmp_path, 10**7).video(file, SMALL)
    assert (tmp_path / f"{name}.frames").is_file()


def test_damage_and_a_kill_in_the_middle_cost_a_decoding(path, tmp_path, monkeypatch):
    paths = decoded(monkeypatch)
    cache = DiskCache(tmp_path, 10**7)
    original = whole(cache.video(as_file(path), SMALL))
    (file,) = tmp_path.glob("*/*.frames")
    content = file.read_bytes()
    for number, damage in enumerate((b"", content[:-1], content[:100], b"noise" * 100)):
        file.write_bytes(damage)
        np.testing.assert_array_equal(whole(DiskCache(tmp_path, 10**7).video(as_file(path), SMALL)), original)
        assert len(paths) == number + 2 and file.read_bytes() == content
    partial = file.with_name("x.1-1.partial")
    partial.write_bytes(b"half")
    assert DiskCache(tmp_path, 10**7).used_bytes > len(content), "it may be written just now"
    os.utime(partial, (1, 1))
    assert DiskCache(tmp_path, 10**7).used_bytes == len(content) and not partial.exists()


def test_a_video_that_is_held_outlives_its_file(path, tmp_path):
    held = DiskCache(tmp_path, 10**7).video(as_file(path), SMALL)
    shutil.rmtree(tmp_path)
    np.testing.assert_array_equal(whole(held), read_video(as_file(path), SMALL).frames)


def test_only_the_frames_that_are_wanted_are_in_memory(path, tmp_path):
    """Also of a video that was decoded just now: clips wait for their batch, and may not hold whole videos."""
    held = DiskCache(tmp_path, 10**7).video(as_file(path), SMALL)
    clip = held.take([2, 3, 4])
    assert clip.base is None and clip.nbytes == 3 * 24 * 29 * 3 and not hasattr(held, "frames")
    with refused(IndexError, "14"):
        held.take([13, 14])


def test_a_disk_that_fails_is_said_in_one_line(path, tmp_path, monkeypatch):
    held = DiskCache(tmp_path, 10**7).video(as_file(path), SMALL)
    (file,) = tmp_path.glob("*/*.frames")
    os.truncate(file, 3000)
    with refused(DataError, file):
        whole(held)


def test_it_keeps_within_its_bound_and_says_so_once(toy_folder, tmp_path, caplog):
    videos = [str(toy_folder / "dark" / f"dark{number}.avi") for number in range(5)]
    one = 14 * 24 * 29 * 3
    cache = DiskCache(tmp_path, int(2.5 * one))
    with caplog.at_level(logging.WARNING):
        held = [cache.video(as_file(video), SMALL) for video in videos]
    assert [video is not None for video in held] == [True, True, False, False, False], "the third finds it full"
    assert sum(file.stat().st_size for file in tmp_path.glob("*/*")) <= cache.max_bytes
    assert len(caplog.records) == 1 and str(tmp_path) in caplog.text
    assert "within 0.0731 MB" in caplog.text
    assert DiskCache(tmp_path, int(2.5 * one)).video(as_file(videos[0]), SMALL) is not None


def test_copies_in_several_processes_keep_within_one_bound(toy_folder, tmp_path):
    videos = [str(toy_folder / "dark" / f"dark{number}.avi") for number in range(8)]
    one = 14 * 24 * 29 * 3
    copies = [DiskCache(tmp_path, int(3.5 * one)) for _ in range(4)]
    for number, video in enumerate(videos):
        copies[number % 4].video(as_file(video), SMALL)
    assert copies[0].used_bytes <= 3.5 * one and len(list(tmp_path.glob("*/*.frames"))) == 3


def test_failures_are_not_kept(tmp_path):
    (tmp_path / "noise.avi").write_bytes(b"RIFF" + bytes(500))
    cache = DiskCache(tmp_path / "cache", 10**7)
    for _ in range(2):
        with refused(VideoError, "noise.avi"):
            cache.video(as_file(str(tmp_path / "noise.avi")), SMALL)
    assert not list((tmp_path / "cache").glob("*/*"))


def test_arrays_are_kept_with_their_shape_and_dtype(walks, tmp_path, monkeypatch):
    for input in walks.inputs:
        stream = walks.train[1].streams[input.name]
        first = streams.from_cache(stream, input, Resize(8), DiskCache(tmp_path, 10**7))
        with monkeypatch.context() as patch:
            patch.setattr(interface, "read_whole", None)  # nothing is read again
            held = streams.from_cache(stream, input, Resize(8), DiskCache(tmp_path, 10**7))
        size = (8, 12) if input.space == "image" else None
        frames = streams.read_frames(stream, input, [9, 3, 4], size)
        for each in (first, held):
            taken = each.take([9, 3, 4])
            np.testing.assert_array_equal(taken, frames)
            assert taken.dtype == frames.dtype and taken.flags.writeable and len(each) == len(first)
        assert held.fps == (25.0 if input.name == "rgb" else None)
    assert len(list(tmp_path.glob("*/*.frames"))) == 3
    plain = dataclasses.replace(walks.inputs[1], vectors=False)
    streams.from_cache(walks.train[1].streams["flow"], plain, Resize(8), DiskCache(tmp_path, 10**7))
    streams.from_cache(walks.train[1].streams["pose"], walks.inputs[2], Resize(12), DiskCache(tmp_path, 10**7))
    assert len(list(tmp_path.glob("*/*.frames"))) == 4, "of numbers the size does not matter"


def test_two_writers_of_a_video_count_it_once(path, tmp_path, monkeypatch):
    one = 14 * 24 * 29 * 3 + disk._HEADER.size + 4 * 8
    caches = [DiskCache(tmp_path, 10**7) for _ in range(2)]

    def slow(*args, **kwargs):
        video = read_video(*args, **kwargs)
        monkeypatch.setattr(interface, "read_video", read_video)
        assert caches[1].video(as_file(path), SMALL), "the other one was faster"
        return video

    monkeypatch.setattr(interface, "read_video", slow)
    assert caches[0].video(as_file(path), SMALL)
    assert int((tmp_path / "bytes").read_text()) == one == caches[0].used_bytes
    (file,) = tmp_path.glob("*/*.frames")
    file.write_bytes(file.read_bytes()[:1000])
    assert caches[0].video(as_file(path), SMALL) and int((tmp_path / "bytes").read_text()) == one


def test_processes_may_fill_it_together(toy_folder, tmp_path):
    videos = [str(toy_folder / "bright" / f"bright{number}.avi") for number in range(8)]
    program = (
        "import sys; from pathlib import Path; from vidjax.data.cache.disk import DiskCache, Resize\n"
        "from vidjax.data.video.file import as_file\n"
        "for video in sys.argv[2:]: assert DiskCache(Path(sys.argv[1]), 10**8).video(as_file(video), Resize(24))"
    )
    workers = [subprocess.Popen([sys.executable, "-c", program, str(tmp_path), *videos]) for _ in range(2)]
    assert [worker.wait() for worker in workers] == [0, 0]
    assert len(list(tmp_path.glob("*/*"))) == 8
    for video in videos:
        held = DiskCache(tmp_path, 1).video(as_file(video), SMALL)
        np.testing.assert_array_equal(whole(held), read_video(as_file(video), SMALL).frames)


def test_an_older_version_of_a_cached_video_gives_its_place_back(tmp_path):
    (tmp_path / "ab").mkdir()
    older, newest = tmp_path / "ab" / "older.frames", tmp_path / "ab" / "newest.frames"
    older.write_bytes(b"vidjax 2" + bytes(100))
    newest.write_bytes(b"vidjax 3" + bytes(10))
    assert DiskCache(tmp_path, 10**6).used_bytes == 18
    assert not older.exists() and newest.exists()

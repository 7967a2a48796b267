import dataclasses
import logging
import pickle
import threading
import time

import numpy as np
import pytest

from tests.refusals import refused, unnamed
from vidjax.data import Stream, arrays, streams
from vidjax.data.cache import interface
from vidjax.data.cache.memory import MemoryCache
from vidjax.data.cache.recent import ComputeOnceCache
from vidjax.data.resizing import Resize
from vidjax.data.video.file import as_file
from vidjax.errors import VideoError


def together(function, times=8):
    """Calls a function in several threads at once; returns what each returned or raised."""
    results, barrier = [], threading.Barrier(times)

    def call():
        barrier.wait()
        try:
            results.append(function())
        except VideoError as error:
            results.append(error)

    threads = [threading.Thread(target=call) for _ in range(times)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


@pytest.fixture
def reads(monkeypatch):
    """Counts the videos that are decoded, and makes each take long enough for threads to meet."""
    paths = []

    def read_video(path, *args, **kwargs):
        paths.append(path)
        time.sleep(0.02)
        return original(path, *args, **kwargs)

    original = interface.read_video
    monkeypatch.setattr(interface, "read_video", read_video)
    return paths


def test_threads_decode_a_video_once(videos, reads):
    cache = MemoryCache(10**8)
    results = together(lambda: cache.video(as_file(videos[0].path), Resize(20)))
    assert len(reads) == 1 and all(result is results[0] for result in results)
    assert cache.used_bytes == results[0].frames.nbytes == 14 * 20 * 30 * 3


def test_sizes_are_kept_apart(videos):
    cache = MemoryCache(10**8)
    assert cache.video(as_file(videos[0].path), Resize(20)).frames.shape[1:3] == (20, 30)
    assert cache.video(as_file(videos[0].path), Resize()).frames.shape[1:3] == (32, 48)


def test_a_full_cache_warns_once_and_stays_within_its_bound(videos, caplog, reads):
    room = 14 * 20 * 30 * 3
    cache = MemoryCache(room + 100)
    with caplog.at_level(logging.WARNING):
        held = [cache.video(as_file(video.path), Resize(20)) for video in videos]
        again = cache.video(as_file(videos[0].path), Resize(20))
    assert held[0] is again and held[1:] == [None] * 6
    assert cache.used_bytes == room and len(caplog.records) == 1 and not unnamed(caplog.text, videos[1].path)
    assert len(reads) == 7 and cache.video(as_file(videos[1].path), Resize(20)) is None
    assert len(reads) == 7, "what did not fit is not tried again"


def test_a_video_that_is_too_large_takes_no_room_from_others(videos):
    cache = MemoryCache(20 * 20 * 30 * 3)
    assert cache.video(as_file(videos[6].path), Resize(20)) is None  # 32 frames
    assert cache.video(as_file(videos[0].path), Resize(20)) is not None  # 14


def test_a_failure_reaches_every_waiting_thread_and_is_not_kept(damaged, reads):
    cache = MemoryCache(10**8)
    assert all(
        isinstance(result, VideoError) for result in together(lambda: cache.video(as_file(damaged.path), Resize(20)))
    )
    before = len(reads)
    with pytest.raises(VideoError):
        cache.video(as_file(damaged.path), Resize(20))
    assert len(reads) == before + 1 and cache.used_bytes == 0


def test_a_pickled_copy_starts_empty(videos):
    cache = MemoryCache(10**8)
    cache.video(as_file(videos[0].path), Resize(20))
    copy = pickle.loads(pickle.dumps(cache))
    assert (copy.max_bytes, copy.used_bytes) == (10**8, 0)
    assert np.array_equal(
        copy.video(as_file(videos[0].path), Resize(20)).frames, cache.video(as_file(videos[0].path), Resize(20)).frames
    )


def test_arrays_are_held_as_they_are_read(walks, monkeypatch):
    opened = []
    original = arrays.read_video
    monkeypatch.setattr(arrays, "read_video", lambda path, *a, **k: opened.append(path) or original(path, *a, **k))
    cache = MemoryCache(10**8)
    for input in walks.inputs[1:]:
        stream = walks.train[0].streams[input.name]
        for resize in (Resize(8), Resize(8), Resize(12)):
            held = streams.from_cache(stream, input, resize, cache)
            size = resize(16, 24) if input.space == "image" else None
            frames = streams.read_frames(stream, input, [5, 6, 2], size)
            np.testing.assert_array_equal(held.take([5, 6, 2]), frames)
            assert held.fps is None and held.frames.dtype == frames.dtype == input.dtype
    flow, pose = (walks.train[0].streams[name].path for name in ("flow", "pose"))
    assert list(map(str, opened)) == [flow, flow, pose], "numbers are of no size"
    assert cache.used_bytes == 13 * (8 * 12 + 12 * 18) * 2 + 14 * 9 * 4


def test_what_is_read_in_another_way_is_kept_apart(walks):
    cache, stream = MemoryCache(10**8), walks.train[3].streams["flow"]
    scaled = walks.inputs[1]
    plain = dataclasses.replace(scaled, vectors=False)
    found = [streams.from_cache(stream, input, Resize(8), cache).take([9]) for input in (scaled, plain)]
    for input, frames in zip((scaled, plain), found):
        np.testing.assert_array_equal(frames, streams.read_frames(stream, input, [9], (8, 12)))
    assert (found[0] != found[1]).any()
    with refused(VideoError, "flow3.npy", "uint8 [22, 16, 24, 2]", "'flow'", "uint8 [N, H, W, 4]"):
        streams.from_cache(stream, dataclasses.replace(plain, shape=(4,), mean=None, std=None), Resize(8), cache)


def test_what_is_in_memory_is_not_held_again(walks):
    cache = MemoryCache(10**8)
    stream = Stream("memory", frames=np.zeros((3, 16, 24, 2), np.uint8))
    assert streams.from_cache(stream, walks.inputs[1], Resize(8), cache) is None and cache.used_bytes == 0


def test_recent_results_are_computed_once_and_forgotten_in_turn():
    recent, calls = ComputeOnceCache(2), []

    def compute(key):
        return recent.get(key, lambda: calls.append(key) or key)

    assert [compute(key) for key in "aabba"] == list("aabba")
    assert calls == ["a", "b"]
    compute("c")
    compute("a")
    assert calls == ["a", "b", "c", "a"]


def test_recent_results_remember_a_failure():
    recent, calls = ComputeOnceCache(2), []

    def fail():
        calls.append(1)
        raise VideoError("x.avi", "broken")

    for _ in range(3):
        with refused(VideoError, "x.avi"):
            recent.get("x", fail)
    assert len(calls) == 1

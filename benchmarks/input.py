"""Compares reading clips with decord, decord2, PyAV, OpenCV and torchcodec; then measures the whole pipeline.

  pip install -r requirements-bench.txt
  pip install --no-deps --target decord2 decord2==3.4.0    its import name is decord's: it needs a folder of its own
  python -m benchmarks.input                               on generated videos: MPEG-4 in AVI, H.264 in MP4
  python -m benchmarks.input --videos UCF-101              on your own videos
  python -m benchmarks.input --videos UCF-101 --count 40 --decord2 decord2 --out results/benchmarks/input.json
                                                           for the docs

All readers read the same clips of 16 frames at 112 pixels with one thread, alternating, each in its own process. The
table shows the median CPU time per clip with quartiles, the ratio of medians to vidjax, frames per second, and the
fraction of frames that differ from sequential decoding. "vidjax, packed resized" reads what `python -m vidjax pack
--short-side=112` makes of the videos. "PyAV, seeking unchecked" seeks to the same positions as vidjax, but does not
check frames against the index: the difference is the cost of the check. The second table shows clips per
second through Grain, without a cache and with decoded videos in memory or on disk, and of the same number of threads
with the bare reader.
"""

import argparse
import contextlib
import importlib.metadata
import itertools
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
import pandas as pd

from benchmarks import report
from benchmarks.input_readers import PACKED, READERS, ReaderProcess
from vidjax.data import streams
from vidjax.data.cache.disk import DiskCache
from vidjax.data.cache.interface import Cache
from vidjax.data.cache.memory import MemoryCache
from vidjax.data.clips import ClipSpec
from vidjax.data.inputs import RGB
from vidjax.data.packed.packing import pack
from vidjax.data.pipeline import epoch_order, training_batches
from vidjax.data.records import Source, Video
from vidjax.data.resizing import Resize
from vidjax.data.sources import packed as packed_source
from vidjax.data.video import index
from vidjax.data.video.conversion import short_side_size
from vidjax.data.video.discovery import videos_below
from vidjax.data.video.info import VideoInfo
from vidjax.data.video.reading import read_frames
from vidjax.system import terminal

FRAMES, SIDE = 16, 112

# Frames to read of a video with a given number of frames.
PATTERNS: dict[str, Callable[[int, random.Random], list[int]]] = {
    "consecutive": lambda count, rng: _dense(count, 1, rng),
    "stride 2": lambda count, rng: _dense(count, 2, rng),
    "uniform": lambda count, rng: [(2 * i + 1) * count // (2 * FRAMES) for i in range(FRAMES)],
}


class Measured(NamedTuple):
    """CPU time of a reader for a clip, and the number of wrong frames."""

    cpu_ms: float
    wrong: int


def _dense(count: int, stride: int, rng: random.Random) -> list[int]:
    start = rng.randrange(max(count - FRAMES * stride, 0) + 1)
    return [(start + stride * i) % count for i in range(FRAMES)]


def measure_readers(
    videos: Sequence[Video], packed: Mapping[str, Video], repeats: int, folders: Mapping[str, Path]
) -> tuple[dict[str, dict[str, list[Measured]]], dict[str, str]]:
    """Measures all readers, alternating.

    Args:
      videos: to read.
      packed: id -> the same video, packed resized.
      repeats: of each clip by each reader.
      folders: reader -> the folder that holds its library, if that is elsewhere.

    Returns:
      Pattern -> reader -> measurements of each clip; reader -> the first of its errors.
    """
    with contextlib.ExitStack() as stack:
        readers = {}
        for name in READERS:
            if name == "decord2" and "decord2" not in folders:  # it would be decord again
                terminal.say(f"skipping {name} (give --decord2)")
                continue
            reader = ReaderProcess(name, folders.get(READERS[name].package or ""))
            stack.callback(reader.close)
            if reader.missing:
                terminal.say(f"skipping {name} ({reader.missing})")
            else:
                readers[name] = reader
        return _measure(videos, packed, repeats, readers)


def _measure(
    videos: Sequence[Video], packed: Mapping[str, Video], repeats: int, readers: Mapping[str, ReaderProcess]
) -> tuple[dict[str, dict[str, list[Measured]]], dict[str, str]]:
    taken: dict[str, dict[str, list[Measured]]] = {pattern: {name: [] for name in readers} for pattern in PATTERNS}
    errors: dict[str, str] = {}
    rng = random.Random(0)
    for video in terminal.track(videos, len(videos), "readers", "videos"):
        info = streams.probe(video.streams["rgb"], RGB)
        size = short_side_size(info.height, info.width, SIDE)
        truth = read_frames(video.path, range(info.frames), size)
        for pattern, choose in PATTERNS.items():
            indices = choose(info.frames, rng)
            for _ in range(repeats):
                for name in rng.sample(list(readers), len(readers)):
                    answer = readers[name].read(packed[video.id] if name == PACKED else video, indices, size)
                    # Where a reader has an error, all frames count as wrong.
                    wrong = FRAMES if answer.frames is None else _wrong(answer.frames, truth, indices)
                    taken[pattern][name].append(Measured(answer.cpu_ms, wrong))
                    if answer.frames is None:
                        errors.setdefault(name, f"{Path(video.path).name}, {pattern}: {answer.error}")
    return taken, errors


def _wrong(frames: np.ndarray, truth: np.ndarray, indices: Sequence[int]) -> int:
    """The number of frames that look more like another frame of the video than like the requested one."""
    small = truth[:, ::4, ::4].astype(np.int16)
    count = 0
    for frame, number in zip(frames[:, ::4, ::4].astype(np.int16), indices, strict=True):
        distance = np.abs(small - frame).mean(axis=(1, 2, 3))
        count += bool(distance[number] > distance.min() + 0.5)
    return count


def reader_table(taken: dict[str, dict[str, list[Measured]]]) -> pd.DataFrame:
    """One row per pattern and reader."""
    rows = []
    for pattern, readers in taken.items():
        ours = statistics.median(_times(readers["vidjax"]))
        for name, measured in readers.items():
            wrong = sum(m.wrong for m in measured) / (FRAMES * len(measured))
            low, median, high = statistics.quantiles(_times(measured), n=4, method="inclusive")
            times = (f"{median:.1f} ({low:.1f} to {high:.1f})", f"{median / ours:.2f}")
            rows.append((pattern, name, *times, f"{1000 * FRAMES / median:,.0f}", f"{100 * wrong:.1f}"))
    heads = ["frames", "reader", "CPU ms/clip (quartiles)", "over vidjax", "frames/s", "wrong frames %"]
    return pd.DataFrame(rows, columns=heads)


def _times(measured: Sequence[Measured]) -> list[float]:
    return [m.cpu_ms for m in measured if m.cpu_ms == m.cpu_ms] or [float("nan")] * 2


_EPOCHS = 10  # after this many, each of two processes has seen nearly every video


class Setting(NamedTuple):
    """Settings of the pipeline."""

    cache: str
    threads: int
    processes: int


SETTINGS = [
    *(Setting("none", threads, 0) for threads in range(5)),
    *(Setting("none", 1, processes) for processes in (1, 2)),
    *(Setting(cache, threads, 0) for cache in ("memory", "disk") for threads in range(5)),
    *(Setting(cache, 1, processes) for cache in ("memory", "disk") for processes in (1, 2)),
]


def measure_pipeline(
    videos: Sequence[Video], seconds: float, rounds: int
) -> dict[Setting, list[tuple[float, float | None]]]:
    """Setting -> (clips per second through Grain, and of as many threads of the bare reader) of each round."""
    clip = ClipSpec(frames=FRAMES, short_side=SIDE, crop=SIDE)
    measured: dict[Setting, list[tuple[float, float | None]]] = {setting: [] for setting in SETTINGS}
    # Threads that are still running when the last iterator is closed may write into the folder.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        caches: dict[str, Cache | None] = {
            "none": None,
            "memory": MemoryCache(10**10),
            "disk": DiskCache(Path(folder), 10**10),
        }
        for held in filter(None, caches.values()):
            for video in videos:
                held.video(video.streams["rgb"].file, Resize(SIDE))
        order = [setting for _ in range(rounds) for setting in SETTINGS]
        for setting in terminal.track(order, len(order), "pipeline", "measurements"):
            bare = None
            if setting.cache == "none":
                bare = _bare(videos, clip, max(setting.threads, 1) * max(setting.processes, 1), seconds)
            measured[setting].append((_clips_per_second(videos, clip, caches[setting.cache], setting, seconds), bare))
    return measured


def pipeline_table(measured: dict[Setting, list[tuple[float, float | None]]]) -> pd.DataFrame:
    """One row per setting."""
    rows = []
    for setting, rates in measured.items():
        through, bare = [rate for rate, _ in rates], [rate for _, rate in rates if rate is not None]
        ours = statistics.median(through)
        spread = f"{ours:,.0f} ({min(through):,.0f} to {max(through):,.0f})"
        beside = (f"{statistics.median(bare):,.0f}", f"{ours / statistics.median(bare):.2f}") if bare else ("-", "-")
        rows.append((*map(str, setting), spread, *beside))
    return pd.DataFrame(
        rows, columns=["cache", "threads", "processes", "clips/s (range)", "bare reader", "fraction of it"]
    )


def _clips_per_second(
    videos: Sequence[Video], clip: ClipSpec, cache: Cache | None, setting: Setting, seconds: float
) -> float:
    batch_size = 8
    with training_batches(
        videos,
        clip,
        batch_size=batch_size,
        seed=0,
        cache=cache,
        threads=setting.threads,
        workers=setting.processes,
    ) as batches:
        # Skip batches that are prefetched before the timer starts; each process also has its own memory cache to fill.
        ready = 2 * max(setting.threads, 1) * max(setting.processes, 1)
        for _ in range(ready + (_EPOCHS * len(videos) // batch_size if cache and setting.processes else 0)):
            next(batches)
        started, count = time.monotonic(), 0
        while time.monotonic() - started < seconds:
            next(batches)
            count += batch_size
        return count / (time.monotonic() - started)


def _bare(videos: Sequence[Video], clip: ClipSpec, threads: int, seconds: float) -> float:
    """Clips per second of threads that only read, the same clips and in the same order as the pipeline."""
    positions, started = itertools.count(), time.monotonic()
    deadline = started + seconds

    def work(_: int) -> int:
        count = 0
        while time.monotonic() < deadline:
            epoch, place = divmod(next(positions), len(videos))
            video = videos[epoch_order(len(videos), 0, epoch)[place]]
            info = streams.probe(video.streams["rgb"], RGB)
            rng = np.random.default_rng((0, epoch * len(videos) + place))
            indices = clip.training_indices(info.frames, 1, rng).tolist()
            streams.read_frames(video.streams["rgb"], RGB, indices, short_side_size(info.height, info.width, SIDE))
            count += 1
        return count

    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(work, range(threads))) / (time.monotonic() - started)


def make_videos(folder: Path, count: int) -> list[str]:
    """MPEG-4 in AVI and H.264 in MP4, 320 x 240, 180 frames of a drifting image."""
    rng = np.random.default_rng(0)
    kinds = (("avi", "mpeg4", {"b": "600k"}), ("mp4", "libx264", {"preset": "veryfast"}))
    paths = []
    for number in range(count):
        suffix, codec, options = kinds[number % 2]
        paths.append(str(folder / f"{number}.{suffix}"))
        coarse = rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)
        scene = np.kron(coarse, np.ones((12, 12, 1), np.uint8))
        with av.open(paths[-1], "w") as container:
            stream: Any = container.add_stream(codec, rate=25, options=options)
            stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
            for t in range(180):
                view = np.ascontiguousarray(scene[t : t + 240, t : t + 320])
                container.mux(stream.encode(av.VideoFrame.from_ndarray(view, format="rgb24")))
            container.mux(stream.encode())
    return paths


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=Path, metavar="FOLDER", help="folder of videos (default: generated videos)")
    parser.add_argument("--count", type=int, default=24, help="number of videos (default 24)")
    parser.add_argument("--repeats", type=int, default=3, help="reads of each clip by each reader (default 3)")
    parser.add_argument("--decord2", type=Path, metavar="FOLDER", help="folder that decord2 was installed to")
    parser.add_argument("--seconds", type=float, default=5.0, help="duration of each pipeline measurement (default 5)")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each pipeline setting (default 5)")
    parser.add_argument("--out", type=Path, metavar="JSON", help="write the results to this file")
    arguments = parser.parse_args()
    if arguments.out:
        report.check_writable(parser, arguments.out)
    with tempfile.TemporaryDirectory() as folder:
        paths = videos_below(arguments.videos)[0] if arguments.videos else make_videos(Path(folder), arguments.count)
        step = max(len(paths) // arguments.count, 1)
        chosen = paths[::step][: arguments.count]
        records = index.inspect_files(
            chosen, progress=lambda found, total: terminal.track(found, total, "checking", "files")
        )
        videos = [
            Video.of(path, path, 0, path, info=VideoInfo(r.frames, r.fps, r.height, r.width, r.table))
            for path, r in records.items()
            if r.verdict != "refused"
        ]
        # One class, all in training: only the reading is measured.
        pack(Source("videos", "1", ("",), tuple(videos), (), ()), Path(folder) / "packed", short_side=SIDE)
        packed = {video.id: video for video in packed_source.load(root=str(Path(folder) / "packed")).train}
        folders = {"decord2": arguments.decord2} if arguments.decord2 else {}
        taken, errors = measure_readers(videos, packed, arguments.repeats, folders)
        pipeline = measure_pipeline(videos, arguments.seconds, arguments.rounds)
        tables = {
            f"Reading {FRAMES} frames at {SIDE} pixels from {len(videos)} videos, one thread": reader_table(taken),
            "Through Grain, consecutive frames": pipeline_table(pipeline),
        }
        for title, frame in tables.items():
            terminal.table(frame, title)
        for name, error in errors.items():
            terminal.say(f"{name} failed, first at {error}")
        if arguments.out:
            samples = {
                "readers": {p: {name: _times(m) for name, m in readers.items()} for p, readers in taken.items()},
                "pipeline": [{**setting._asdict(), "rates": rates} for setting, rates in pipeline.items()],
            }
            about = f"{len(videos)} videos {f'of {arguments.videos.name}' if arguments.videos else 'generated'}"
            used = dict.fromkeys(package for name in taken["consecutive"] if (package := READERS[name].package))
            elsewhere = {
                each.name: each.version
                for found in folders.values()
                for each in importlib.metadata.distributions(path=[str(found)])
            }
            packages = ("av", *used, "grain", "numpy")
            report.write(arguments.out, tables, samples, about=about, packages=packages, elsewhere=elsewhere)


if __name__ == "__main__":
    main()

"""Reading clips from video files, beside plain decord, PyAV, OpenCV and torchcodec; then through the whole pipeline.

  pip install -r requirements-bench.txt
  python -m benchmarks.input                               on videos that it makes: MPEG-4 in AVI, H.264 in MP4
  python -m benchmarks.input --videos UCF-101 --count 40   on some of one's own
  python -m benchmarks.input --out input.json              also writes the numbers

Each reader reads the same clips of 16 frames at 112 pixels with one thread, in turns, in one process; the table shows
the median of its CPU time per clip, the ratio to vidjax, and how many of its frames were others than those of decoding
in order. The second table is clips per second through Grain, without a cache and with decoded videos in memory or on
disk, beside what as many threads of the bare reader give.
"""

import argparse
import importlib
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
import pandas as pd

from vidjax import files
from vidjax.data import index, reading
from vidjax.data.cache import Cache, MemoryCache
from vidjax.data.clips import Clip
from vidjax.data.decoding import read_frames, resize_frames, short_side_size
from vidjax.data.discovery import videos_below
from vidjax.data.disk_cache import DiskCache
from vidjax.data.pipeline import training_batches
from vidjax.data.records import Video, VideoInfo
from vidjax.data.resizing import Resize
from vidjax.reporting import terminal

FRAMES, SIDE = 16, 112
Size = tuple[int, int]
Reader = Callable[[Video, Sequence[int], Size], np.ndarray]

# What is asked of a video of so many frames.
PATTERNS: dict[str, Callable[[int, random.Random], list[int]]] = {
    "consecutive": lambda count, rng: _dense(count, 1, rng),
    "stride 2": lambda count, rng: _dense(count, 2, rng),
    "uniform": lambda count, rng: [(2 * i + 1) * count // (2 * FRAMES) for i in range(FRAMES)],
}


class Measured(NamedTuple):
    """What a reader took for a clip, and how many of its frames were wrong."""

    cpu_ms: float
    wrong: int


def _dense(count: int, stride: int, rng: random.Random) -> list[int]:
    start = rng.randrange(max(count - FRAMES * stride, 0) + 1)
    return [(start + stride * i) % count for i in range(FRAMES)]


def _vidjax(video: Video, indices: Sequence[int], size: Size) -> np.ndarray:
    return reading.read_frames(video, indices, size)


def _vidjax_in_order(video: Video, indices: Sequence[int], size: Size) -> np.ndarray:
    return read_frames(video.path, indices, size)


def _decord(video: Video, indices: Sequence[int], size: Size) -> np.ndarray:
    decord = importlib.import_module("decord")
    reader = decord.VideoReader(video.path, height=size[0], width=size[1], num_threads=1)
    return reader.get_batch(list(indices)).asnumpy()


def _pyav(video: Video, indices: Sequence[int], size: Size) -> np.ndarray:
    """In order, as its cookbook reads; only what is wanted is converted."""
    wanted, last, found = set(indices), max(indices), {}
    with av.open(video.path) as container:
        container.streams.video[0].thread_count = 1
        for number, frame in enumerate(container.decode(video=0)):
            if number in wanted:
                found[number] = frame.to_ndarray(format="rgb24", width=size[1], height=size[0])
            if number == last:
                break
    return np.stack([found[number] for number in indices])


def _opencv(video: Video, indices: Sequence[int], size: Size) -> np.ndarray:
    """In order; only what is wanted is retrieved."""
    cv2 = importlib.import_module("cv2")
    cv2.setNumThreads(1)
    capture = cv2.VideoCapture(video.path, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    wanted, found = set(indices), {}
    for number in range(max(indices) + 1):
        capture.grab()
        if number in wanted:
            _, pixels = capture.retrieve()
            small = cv2.resize(pixels, size[::-1], interpolation=cv2.INTER_AREA)
            found[number] = cv2.cvtColor(small, cv2.COLOR_BGR2RGB)
    capture.release()
    return np.stack([found[number] for number in indices])


def _torchcodec(video: Video, indices: Sequence[int], size: Size) -> np.ndarray:
    decoders = importlib.import_module("torchcodec.decoders")
    decoder = decoders.VideoDecoder(video.path, num_ffmpeg_threads=1, dimension_order="NHWC")
    return resize_frames(decoder.get_frames_at(list(indices)).data.numpy(), size)


READERS: dict[str, tuple[Reader, str | None]] = {
    "vidjax": (_vidjax, None),
    "vidjax, not inspected": (_vidjax_in_order, None),
    "decord": (_decord, "decord"),
    "PyAV": (_pyav, None),
    "OpenCV": (_opencv, "cv2"),
    "torchcodec": (_torchcodec, "torchcodec.decoders"),
}


def _importable(module: str | None) -> bool:
    try:
        return module is None or importlib.import_module(module) is not None
    except Exception as error:  # torchcodec raises what it likes where its libraries are missing
        terminal.say(f"left out: {module} ({str(error).splitlines()[0][:80]})")
        return False


def measure_readers(videos: Sequence[Video], repeats: int) -> dict[str, dict[str, list[Measured]]]:
    """Pattern -> reader -> what it took for each clip, readers in turns."""
    readers = {name: reader for name, (reader, module) in READERS.items() if _importable(module)}
    taken: dict[str, dict[str, list[Measured]]] = {pattern: {name: [] for name in readers} for pattern in PATTERNS}
    rng = random.Random(0)
    for video in terminal.track(videos, len(videos), "readers", "videos"):
        info = reading.probe(video)
        size = short_side_size(info.height, info.width, SIDE)
        truth = read_frames(video.path, range(info.frames), size)
        for pattern, choose in PATTERNS.items():
            indices = choose(info.frames, rng)
            for _ in range(repeats):
                for name in rng.sample(list(readers), len(readers)):
                    started = time.process_time()
                    try:
                        frames = readers[name](video, indices, size)
                    except Exception:  # of any library: then all of its frames are missing
                        taken[pattern][name].append(Measured(float("nan"), FRAMES))
                        continue
                    cpu = 1000 * (time.process_time() - started)
                    taken[pattern][name].append(Measured(cpu, _wrong(frames, truth, indices)))
    return taken


def _wrong(frames: np.ndarray, truth: np.ndarray, indices: Sequence[int]) -> int:
    """How many frames look more like another one of the video than like the one that was asked for."""
    small = truth[:, ::4, ::4].astype(np.int16)
    count = 0
    for frame, number in zip(frames[:, ::4, ::4].astype(np.int16), indices, strict=True):
        distance = np.abs(small - frame).mean(axis=(1, 2, 3))
        count += bool(distance[number] > distance.min() + 0.5)
    return count


def reader_table(taken: dict[str, dict[str, list[Measured]]]) -> pd.DataFrame:
    """A row for each pattern and reader."""
    rows = []
    for pattern, readers in taken.items():
        ours = _median(readers["vidjax"])
        for name, measured in readers.items():
            median, wrong = _median(measured), sum(m.wrong for m in measured) / (FRAMES * len(measured))
            rows.append((pattern, name, f"{median:.1f}", f"{median / ours:.2f}", f"{100 * wrong:.1f}"))
    return pd.DataFrame(rows, columns=["frames", "reader", "CPU ms/clip", "over vidjax", "wrong frames %"])


def _median(measured: Sequence[Measured]) -> float:
    values = [m.cpu_ms for m in measured if m.cpu_ms == m.cpu_ms]
    return statistics.median(values) if values else float("nan")


def measure_pipeline(videos: Sequence[Video], seconds: float) -> pd.DataFrame:
    """Clips per second through Grain."""
    clip = Clip(frames=FRAMES, short_side=SIDE, crop=SIDE)
    rows = []
    # A thread that is on its way when the last iterator is closed may still write into the folder.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        disk, memory = DiskCache(Path(folder), 10**10), MemoryCache(10**10)
        caches: dict[str, Cache | None] = {"none": None, "memory": memory, "disk": disk}
        for held in (disk, memory):
            for video in videos:
                held.video(video.path, Resize(SIDE))
        settings = [("none", threads, 0) for threads in range(5)] + [("none", 1, workers) for workers in (1, 2)]
        settings += [(cache, threads, 0) for cache in ("memory", "disk") for threads in (1, 2, 4)]
        for cache, threads, workers in terminal.track(settings, len(settings), "pipeline", "settings"):
            rate = _clips_per_second(videos, clip, caches[cache], threads, workers, seconds)
            bare = _bare(videos, max(threads, 1) * max(workers, 1), seconds) if cache == "none" else None
            share = f"{rate / bare:.2f}" if bare else "-"
            rows.append((cache, threads, workers, f"{rate:.0f}", f"{bare:.0f}" if bare else "-", share))
    return pd.DataFrame(rows, columns=["cache", "threads", "processes", "clips/s", "bare reader", "share"])


def _clips_per_second(
    videos: Sequence[Video], clip: Clip, cache: Cache | None, threads: int, workers: int, seconds: float
) -> float:
    batch_size = 8
    with training_batches(
        videos, clip, batch_size=batch_size, seed=0, cache=cache, threads=threads, workers=workers
    ) as batches:
        next(batches)  # what starts is not measured
        started, count = time.monotonic(), 0
        while time.monotonic() - started < seconds:
            next(batches)
            count += batch_size
        return count / (time.monotonic() - started)


def _bare(videos: Sequence[Video], threads: int, seconds: float) -> float:
    """Clips per second of as many threads that only read."""
    deadline = time.monotonic() + seconds

    def work(seed: int) -> int:
        rng, count = random.Random(seed), 0
        while time.monotonic() < deadline:
            video = rng.choice(videos)
            info = reading.probe(video)
            size = short_side_size(info.height, info.width, SIDE)
            reading.read_frames(video, PATTERNS["consecutive"](info.frames, rng), size)
            count += 1
        return count

    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(work, range(threads))) / seconds


def make_videos(folder: Path, count: int) -> list[str]:
    """MPEG-4 in AVI and H.264 in MP4, 320 x 240, 180 frames of a picture that drifts."""
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
    parser.add_argument("--videos", type=Path, metavar="FOLDER", help="of videos; default: some are made")
    parser.add_argument("--count", type=int, default=24, help="videos that are read (24)")
    parser.add_argument("--repeats", type=int, default=3, help="times that each clip is read by each reader (3)")
    parser.add_argument("--seconds", type=float, default=4.0, help="for each setting of the pipeline (4)")
    parser.add_argument("--out", type=Path, metavar="JSON", help="also write the numbers")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        paths = videos_below(arguments.videos)[0] if arguments.videos else make_videos(Path(folder), arguments.count)
        step = max(len(paths) // arguments.count, 1)
        chosen = paths[::step][: arguments.count]
        records = index.known(chosen, progress=lambda found, total: terminal.track(found, total, "checking", "files"))
        videos = [
            Video(path, path, 0, path, info=VideoInfo(r.frames, r.fps, r.height, r.width, r.table))
            for path, r in records.items()
            if r.verdict != "refused"
        ]
        taken = measure_readers(videos, arguments.repeats)
        readers = reader_table(taken)
        terminal.table(readers, f"{len(videos)} videos, clips of {FRAMES} frames at {SIDE} pixels, one thread")
        pipeline = measure_pipeline(videos, arguments.seconds)
        terminal.table(pipeline, "through Grain, consecutive frames")
        if arguments.out:
            tables = {"readers": readers, "pipeline": pipeline}
            files.write_json(arguments.out, {name: frame.to_dict("records") for name, frame in tables.items()})


if __name__ == "__main__":
    main()

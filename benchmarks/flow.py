"""Optical flow: how far each method is from a known motion, what it costs, and how fast its files are read.

  pip install -r requirements-bench.txt
  python -m benchmarks.flow --root UCF-101
  python -m benchmarks.flow --root UCF-101 --out flow.json

Errors are of frames made of blurred noise that moves by a known number of pixels, without a margin that moves out of
the picture, as mean end-point error (the distance of the found vector from the true one). Methods are given bytes, as
in `data.flow`, and the same frames in two other ranges in which Python has pictures. Costs are of one thread on real
clips, decoding left out. Reading compares training batches of frames alone with batches of frames and flow, both from
files.
"""

import argparse
import itertools
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks import report
from vidjax.data import computed, indexing, streams
from vidjax.data.clips import ClipSpec
from vidjax.data.flow import methods
from vidjax.data.flow.fields import FlowSettings
from vidjax.data.inputs import RGB
from vidjax.data.pipeline import training_batches
from vidjax.data.records import Source, Stream, Video
from vidjax.data.video.conversion import short_side_size
from vidjax.system import terminal

MOTIONS = ((0.5, 0.25), (3.0, -2.0), (8.0, -6.0), (16.0, 12.0))  # pixels to the right and downwards
RANGES = {"bytes": (1.0, np.uint8), "floats to 255": (1.0, np.float32), "floats to 1": (1 / 255, np.float32)}
_SIZE, _MARGIN, _UP = (240, 320), 32, 4  # rows and columns; frames are cut from a texture of so many times the pixels
_SHORT_SIDE, _FIELDS = 240, 4  # of real clips
_BATCH, _FRAMES = 8, 10  # of the batches that are read


def pair(motion: tuple[float, float], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two frames of bytes, of which the second has moved by `motion` pixels."""
    import cv2

    height, width = _SIZE
    noise = np.random.default_rng(seed).normal(size=((height + 64) * _UP, (width + 64) * _UP)).astype(np.float32)
    texture = cv2.GaussianBlur(noise, (0, 0), 2.0 * _UP)
    texture = np.clip(128 + 45 * texture / texture.std(), 0, 255)

    def frame(dx: float, dy: float) -> np.ndarray:
        top, left = round((32 - dy) * _UP), round((32 - dx) * _UP)
        large = texture[top : top + height * _UP, left : left + width * _UP]
        small: np.ndarray = cv2.resize(large, (width, height), interpolation=cv2.INTER_AREA)
        return small.round().astype(np.uint8)

    return frame(0.0, 0.0), frame(*motion)


def error(method: str, motion: tuple[float, float], kind: str) -> float | None:
    """Mean end-point error in pixels; None if the method refuses frames of that kind."""
    import cv2

    scale, dtype = RANGES[kind]
    first, second = ((frame * scale).astype(dtype) for frame in pair(motion))
    try:
        field = methods.METHODS[method]()(first, second)
    except cv2.error:
        return None
    inner = field[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN]
    return float(np.linalg.norm(inner - np.asarray(motion), axis=-1).mean())


def cost(method: str, clips: Sequence[Path], fields: int) -> list[float]:
    """Milliseconds of one thread for a field of each clip."""
    between = methods.METHODS[method]()
    found = []
    for clip in clips:
        stream = Stream(str(clip))
        about = streams.probe(stream, RGB)
        size = short_side_size(about.height, about.width, min(_SHORT_SIDE, about.height))
        numbers = range(min(fields + 1, about.frames))
        frames = [methods.gray_of(frame) for frame in streams.read_frames(stream, RGB, numbers, size)]
        began = time.thread_time()
        for first, second in itertools.pairwise(frames):
            between(first, second)
        found.append(1000 * (time.thread_time() - began) / (len(frames) - 1))
    return found


def reading(clips: Sequence[Path], short_side: int, seconds: float) -> dict[str, list[float]]:
    """Megabytes per second of training batches, of frames alone and of frames and flow, in turns."""
    videos = tuple(Video.of(path.stem, str(path), 0, path.stem) for path in clips)
    source = Source("clips", "all", ("any", "other"), videos, (), (), mirror="invariant")
    settings = FlowSettings("dis_ultrafast", short_side)
    with_flow = computed.with_streams(source, settings)
    with_flow = computed.compute(with_flow, settings, computed.missing(with_flow, settings))
    with_flow = indexing.with_file_info(with_flow)
    clip = ClipSpec(frames=_FRAMES, short_side=short_side, crop=short_side)
    speeds: dict[str, list[float]] = {"rgb": [], "rgb + flow": []}
    for _ in range(3):
        for name, inputs in {"rgb": (RGB,), "rgb + flow": (RGB, settings.input)}.items():
            with training_batches(with_flow.train, clip, inputs=inputs, batch_size=_BATCH, seed=0) as batches:
                next(batches)
                began, read = time.monotonic(), 0
                while time.monotonic() - began < seconds:
                    read += sum(array.nbytes for array in next(batches).inputs.values())
                speeds[name].append(read / 1e6 / (time.monotonic() - began))
    return speeds


def tables(
    errors: Mapping[str, Mapping[str, Sequence[float | None]]],
    costs: Mapping[str, Sequence[float]],
    speeds: Mapping[str, Sequence[float]],
) -> dict[str, pd.DataFrame]:
    """Title -> table."""
    motions = [f"{x:g}, {y:g}" for x, y in MOTIONS]
    rows = [
        [method, *(f"{value:.2f}" if value is not None else "refused" for value in errors[method]["bytes"])]
        for method in errors
    ]
    found = {
        "Mean end-point error of bytes, pixels, by the motion in pixels": pd.DataFrame(rows, columns=["", *motions])
    }
    rows = [[method, *(_worst(errors[method][kind]) for kind in RANGES)] for method in errors]
    found["The largest of these errors, by the range of the frames"] = pd.DataFrame(rows, columns=["", *RANGES])
    if costs:
        rows = [[method, report.spread(values)] for method, values in costs.items()]
        clips = len(next(iter(costs.values())))
        title = f"Milliseconds of one core for a field, frames of {_SHORT_SIDE} pixels, {clips} clips"
        found[title] = pd.DataFrame(rows, columns=["", "median (lowest to highest clip)"])
        rows = [[name, report.spread(values)] for name, values in speeds.items()]
        ratio = report.ratio(speeds["rgb + flow"], speeds["rgb"])
        found[f"MB/s of training batches; with flow {ratio} of those without"] = pd.DataFrame(
            rows, columns=["", "MB/s"]
        )
    return found


def _worst(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{max(known):.2f}" if len(known) == len(values) else "refused"


def main(argv: Sequence[str] | None = None) -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, help="folder of UCF101's clips; without it only errors are measured")
    parser.add_argument("--clips", type=int, default=8, help="number of clips, one of each class (default 8)")
    report.add_choice(parser, "--methods", methods.METHODS)
    parser.add_argument(
        "--seconds", type=float, default=5.0, help="duration of each measurement of reading (default 5)"
    )
    parser.add_argument("--out", type=Path, metavar="JSON", help="write the results to this file")
    arguments = parser.parse_args(argv)
    if arguments.out:
        report.check_writable(parser, arguments.out)
    errors = {m: {kind: [error(m, motion, kind) for motion in MOTIONS] for kind in RANGES} for m in arguments.methods}
    costs: dict[str, list[float]] = {}
    speeds: dict[str, list[float]] = {}
    if arguments.root is not None:
        folders = sorted(folder for folder in arguments.root.iterdir() if folder.is_dir())
        firsts = [sorted(folder.glob("*.avi")) for folder in folders]
        clips = [clip for of_class in itertools.zip_longest(*firsts) for clip in of_class if clip][: arguments.clips]
        for method in arguments.methods:
            terminal.say(f"{method}: {len(clips)} clips")
            costs[method] = cost(method, clips, _FIELDS)
        with tempfile.TemporaryDirectory() as folder:
            before = os.environ.get("VIDJAX_CACHE")
            os.environ["VIDJAX_CACHE"] = folder
            try:
                speeds = reading(clips, 112, arguments.seconds)
            finally:
                os.environ.pop("VIDJAX_CACHE") if before is None else os.environ.update(VIDJAX_CACHE=before)
    made = tables(errors, costs, speeds)
    for title, frame in made.items():
        terminal.table(frame, title)
    if arguments.out:
        samples: dict[str, Any] = {"errors": errors, "costs": costs, "speeds": speeds}
        about = "errors of made frames, 320 x 240; costs of one thread"
        report.write(
            arguments.out, made, samples, about=about, packages=("opencv-contrib-python-headless", "numpy", "av")
        )


if __name__ == "__main__":
    main()

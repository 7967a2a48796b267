"""Classifies videos with a trained network: one of your runs, or published weights.

A run is asked with its own views (clips and crops of each video, averaged as its config says), which
--config.evaluate.KEY=VALUE changes; the videos that it was trained on are not needed. Published weights of whole videos
(i3d-kinetics400) see all of the video at their frame rate, those of images 10 of its frames.

What is given may be a video file, a folder of images (the frames of one video), a folder of videos, which is searched
recursively, or a list NAME.csv: a column of paths, named `path` or `video` or else the first one, which start from the
folder of the list.

--every=1s (500ms, 2min, 30frames) classifies a long video over time: the clip in the middle of each interval, the
square in the middle of its frames. The video is decoded once, in order, in constant memory. A table is printed, and a
plot written.

Examples:
  python -m vidjax predict clip.mp4 --workdir=runs/motion
  python -m vidjax predict videos/ more.csv --workdir=runs/motion --csv=predictions.csv
  python -m vidjax predict match.mp4 --workdir=runs/motion --every=1s --strip=pictures
  python -m vidjax predict videos/*.avi animation.gif --pretrained=i3d-kinetics400 --json > predictions.json

--json prints a list of {"video": path, "predictions": [{"label": name, "probability": 0..1}, ...]} and nothing else,
with --every also "times": [{"time": seconds, "frame": number, "label": name, "probability": 0..1}, ...]; the
predictions are then the mean over time. Unreadable videos are named on stderr and skipped, and the exit status is 1.
--pretrained takes a name of `python -m vidjax weights list`, or the file or folder that `weights export` wrote. The
weights of I3D (Kinetics-400, 400 actions; 47 MB) come by: python -m vidjax weights fetch i3d-kinetics400
"""

import argparse
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vidjax.cli.network_arguments import add_network, add_videos, load_network
from vidjax.cli.prediction_output import Found, Row, as_json, clock, show, show_all, write_csv
from vidjax.data.video.discovery import image_files
from vidjax.errors import ConfigError, VideoError, printable
from vidjax.system import files, terminal

if TYPE_CHECKING:
    from vidjax.inference.classifier import Classifier, Prediction
    from vidjax.inference.over_time import Interval

_TABLES_UP_TO = 5  # videos that have a table each
_STRIP_FRAMES = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of the verb."""
    add_videos(parser)
    add_network(parser)
    parser.add_argument("--top", type=int, default=5, metavar="N", help="how many labels are shown (5)")
    parser.add_argument("--every", metavar="TIME", help="over time: 1s, 500ms, 2min or 30frames")
    parser.add_argument(
        "--plot",
        metavar="FILE.png",
        type=os.path.expanduser,
        help="of --every, for one video (default: VIDEO_over_time.png in this folder)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--csv", metavar="FILE", type=os.path.expanduser, help="write a table; - prints it alone")
    parser.add_argument(
        "--strip",
        metavar="FOLDER",
        type=os.path.expanduser,
        help="write a picture of each video: frames with the prediction under them (PNG)",
    )


def run(arguments: argparse.Namespace, overrides: Mapping[str, str]) -> int:
    """Prints the predictions; exit status 1 if a video cannot be read."""
    _check(arguments)
    interval = None
    if arguments.every:
        from vidjax.inference.over_time import Interval

        interval = Interval.read(arguments.every)
    from vidjax.inference.classifier import Classifier
    from vidjax.inference.videos import listed_videos

    classify = Classifier(load_network("predict", arguments, overrides))
    paths = listed_videos(arguments.videos)
    if arguments.plot and len(paths) > 1:
        raise ConfigError(f"--plot={arguments.plot}: names the plot of one video, and {len(paths)} are given")
    strips = _file_names(paths, arguments.strip, ".png") if arguments.strip else {}
    is_quiet, has_many = arguments.json or arguments.csv == "-", len(paths) > _TABLES_UP_TO
    found: Iterable[Found]
    if interval is not None:
        plots = {paths[0]: Path(arguments.plot)} if arguments.plot else _file_names(paths, "", "_over_time.png")
        found = (_over_time(classify, path, interval, arguments.every, plots[path], strips.get(path)) for path in paths)
    else:
        found = (Found(prediction, []) for prediction in classify.predictions(paths, _inspection, _computing))
    if has_many:
        found = terminal.track(found, len(paths), "predicting", "videos", stderr=True)
    done, failed = [], []
    for each in found:
        if each.prediction.error is not None:
            failed.append(VideoError(each.prediction.video, each.prediction.error))
            if not has_many:  # a bar is not interrupted
                print(f"error: {failed[-1]}", file=sys.stderr)
            continue
        done.append(each)
        _note_folder(each.prediction.video)
        if strips and interval is None:
            _write_strip(classify, each.prediction, strips[each.prediction.video])
        if not is_quiet and (each.rows or not has_many):
            show(each, arguments.top)
    if has_many:
        for error in failed:
            print(f"error: {error}", file=sys.stderr)
    if has_many and not is_quiet and interval is None and done:
        show_all(done)
    if arguments.json:
        print(files.to_json([as_json(each, arguments.top) for each in done]), end="")
    if arguments.csv:
        write_csv(done, arguments.csv, arguments.top)
    return 1 if failed else 0


def _check(arguments: argparse.Namespace) -> None:
    if arguments.top < 1:
        raise ConfigError(f"--top={arguments.top}: give at least 1")
    if arguments.plot and not arguments.every:
        raise ConfigError("--plot shows predictions over time: give --every, e.g. --every=1s")
    if arguments.json and arguments.csv == "-":
        raise ConfigError("--json and --csv=- both print alone: give one of them, or --csv=FILE")
    if arguments.csv and arguments.csv != "-":
        files.check_file(Path(arguments.csv), f"--csv={arguments.csv}")
    if arguments.strip:
        files.check_folder(Path(arguments.strip), f"--strip={arguments.strip}")
    if arguments.plot:
        files.check_file(Path(arguments.plot), f"--plot={arguments.plot}")
    elif arguments.every:
        files.check_folder(Path(), "this folder, where plots are written (--plot=FILE)")


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def _inspection(records: Iterable[Any], total: int) -> Iterator[Any]:
    if total <= _TABLES_UP_TO:
        return iter(records)
    return terminal.track(records, total, "checking each video once", "videos", stderr=True)


def _computing(videos: Iterable[Any], total: int, description: str) -> Iterator[Any]:
    return terminal.track(videos, total, description, "videos", stderr=True)


def _over_time(
    classify: "Classifier", path: str, interval: "Interval", every: str, plot: Path, strip: Path | None
) -> Found:
    """Classifies a video over time; writes its plot, and its strip where one is asked for."""
    from vidjax.inference.classifier import Prediction
    from vidjax.reporting import figures

    rows, probabilities, pictures = [], [], _FewPictures()
    started = logged = time.monotonic()
    try:
        for moment, found in classify.over_time(path, interval):
            if time.monotonic() - logged > terminal.LOG_SECONDS and moment.share:
                logged = time.monotonic()
                left = terminal.duration((logged - started) * (1 / moment.share - 1))
                _say(f"predicting {printable(path)}: {moment.share:.0%}, ETA {left}")
            best = int(found.argmax())
            rows.append(Row(moment.time, moment.frame, classify.classes[best], float(found[best])))
            probabilities.append(found.astype(np.float32))
            if strip:
                pictures.add(rows[-1], moment.picture)
    except VideoError as error:
        return Found(Prediction(path, classify.classes, None, error.reason), [])
    times = [float(row.frame) if row.time is None else row.time for row in rows]
    unit = "frame" if rows[0].time is None else "s"
    title = f"{printable(Path(path).name)}, every {every}"
    stacked = np.stack(probabilities)
    png = figures.probabilities_over_time(times, stacked, classify.classes, unit=unit, title=title)
    files.write_bytes(plot, png)
    _say(f"plot: {plot}")
    if strip:
        pictures.write(strip)
    mean = stacked.mean(axis=0, dtype=np.float64)
    return Found(Prediction(path, classify.classes, mean, seen=f"{len(rows)} clip{'s' * (len(rows) != 1)}"), rows)


class _FewPictures:
    """Keeps pictures that are evenly spaced, few however many come: every nth, n doubling."""

    def __init__(self) -> None:
        self._kept: list[tuple[Row, np.ndarray]] = []
        self._count, self._step = 0, 1

    def add(self, row: Row, picture: np.ndarray) -> None:
        """Adds the picture of the next moment."""
        if self._count % self._step == 0:
            self._kept.append((row, picture))
        self._count += 1
        if len(self._kept) > 2 * _STRIP_FRAMES:
            self._kept, self._step = self._kept[::2], 2 * self._step

    def write(self, path: Path) -> None:
        """Writes a strip, with the prediction under each picture."""
        from vidjax.reporting import pictures

        chosen = [self._kept[i] for i in _evenly(len(self._kept), _STRIP_FRAMES)]
        frames = np.stack([picture for _, picture in chosen])
        captions = [[clock(row), f"{row.label} {100 * row.probability:.0f}%"] for row, _ in chosen]
        files.write_bytes(path, pictures.captioned_strip(frames, captions))
        _say(f"strip: {path}")


def _write_strip(classify: "Classifier", prediction: "Prediction", file: Path) -> None:
    """Writes evenly spaced frames of a video with its prediction under them."""
    from vidjax.data.inputs import RGB
    from vidjax.data.records import Video
    from vidjax.evaluation import samples
    from vidjax.reporting import pictures

    spec = next((each for each in classify.network.inputs if each.reader == "video"), RGB)
    video = Video.of("", prediction.video, 0, "", stream=spec.stream_name)
    ((_, frames),) = samples.read_samples([video], spec, _STRIP_FRAMES)
    best = ", ".join(f"{label} {100 * probability:.1f}%" for label, probability in prediction.top(3))
    files.write_bytes(file, pictures.captioned_strip(frames, [[best]]))
    _say(f"strip: {file}")


def _file_names(paths: Iterable[str], folder: str, ending: str) -> dict[str, Path]:
    """A file for each video, under its name; a number tells equal names apart."""
    names: dict[str, Path] = {}
    for path in paths:
        stem, number = Path(path).stem, 1
        name = Path(folder) / f"{stem}{ending}"
        while path not in names and name in names.values():
            number += 1
            name = Path(folder) / f"{stem}_{number}{ending}"
        names.setdefault(path, name)
    return names


def _evenly(count: int, most: int) -> list[int]:
    return [int(i) for i in np.unique(np.linspace(0, count - 1, min(count, most)).round())]


def _note_folder(path: str) -> None:
    """Says of a folder how many images in it are taken for the frames of a video, and how many files are not."""
    folder = Path(path)
    if folder.is_dir() and (images := len(image_files(path))):
        others = sum(1 for entry in folder.iterdir()) - images
        left_out = f"; {others} other file{'s are' if others != 1 else ' is'} left out of it" if others else ""
        taken = f"{images} images are the frames" if images != 1 else "1 image is the frame"
        print(f"note: {path}: {taken} of one video{left_out}", file=sys.stderr)

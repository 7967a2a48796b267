r"""Finds the poses in the videos of a data set, once, and keeps them in the cache.

A run with data.pose=blazepose finds what is missing by itself when it begins; this does it before, without training,
and for a share of the videos where several machines have the same cache. It may be interrupted: the same command goes
on. Then it prints in how many frames of each class somebody was found.

Examples:
  python -m vidjax pose --config=configs/pose_lstm.py:ucf101 --config.data.root=UCF-101 \
      --config.data.splits=ucfTrainTestlist
  python -m vidjax pose --config=... --draw=poses     pictures of two videos of each class, with what was found
  python -m vidjax pose --config=... --csv=poses.csv  a row for each video
"""

import argparse
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from vidjax.cli.stream_arguments import add_computing, compute
from vidjax.errors import DataError
from vidjax.reporting import pictures
from vidjax.system import files, terminal

if TYPE_CHECKING:
    from vidjax.data.records import Source, Video

_DRAWN, _FRAMES, _SIDE = 2, 8, 240  # videos of each class, frames of each, pixels of their shorter side


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of the verb."""
    add_computing(parser, "pose")
    help_ = f"write pictures of {_DRAWN} videos of each class, with the joints that were found"
    parser.add_argument("--draw", metavar="FOLDER", type=os.path.expanduser, help=help_)
    help_ = "write a row for each video: frames, those with somebody, and the most people in one"
    parser.add_argument("--csv", metavar="FILE", type=os.path.expanduser, help=help_)


def run(arguments: argparse.Namespace, overrides: Mapping[str, str]) -> int:
    """Finds them, and prints what; returns the exit status."""
    if arguments.draw is not None:
        files.check_folder(Path(arguments.draw), f"--draw={arguments.draw}")
    if arguments.csv is not None:
        files.check_file(Path(arguments.csv), f"--csv={arguments.csv}")
    source, computation = compute(arguments, overrides, "pose", "blazepose")
    rows = _rows(source)
    if rows.empty:
        raise DataError("no video has poses")
    of_class = rows.groupby("class", sort=False)
    found = of_class[["frames", "found"]].sum()
    shares = pd.DataFrame({"videos": of_class.size(), "frames": found["frames"]})
    shares["somebody found"] = [f"{share:.0%}" for share in found["found"] / found["frames"]]
    shares["in the worst video"] = [f"{share:.0%}" for share in _shares(rows).groupby(rows["class"], sort=False).min()]
    terminal.table(shares.reset_index(), keys=1)
    if arguments.csv is not None:
        files.write_text(Path(arguments.csv), rows.to_csv(index=False))
    if arguments.draw is not None:
        drawn = set(rows.groupby("class", sort=False)["video"].head(_DRAWN))
        skeleton = computation.record()
        for video in (*source.train, *source.validation, *source.test):
            if video.id in drawn:
                path = Path(arguments.draw) / f"{video.id.replace('/', '_')}.png"
                files.write_bytes(path, _picture(video, skeleton["joints"], skeleton["bones"]))
        terminal.say(f"{arguments.draw}: {len(drawn)} pictures")
    return 0


def _rows(source: "Source") -> pd.DataFrame:
    """A row for each video that has a file of joints."""
    from vidjax.data.pose.poses import people_path

    rows = []
    for video in (*source.train, *source.validation, *source.test):
        path = Path(video.streams["pose"].path)
        if video.refusal(["pose"]) is not None or not path.exists():
            continue
        joints = np.load(path, mmap_mode="r")
        found = int(np.isfinite(joints[..., 0]).any(-1).sum())
        most = int(np.load(people_path(path)).max())
        rows.append((video.id, source.classes[video.label], len(joints), found, most))
    return pd.DataFrame(rows, columns=["video", "class", "frames", "found", "most_people"])


def _picture(video: "Video", names: list[str], bones: list[list[int]]) -> bytes:
    """Evenly spaced frames of a video with what was found, as a PNG file."""
    from vidjax.data import streams
    from vidjax.data.inputs import RGB
    from vidjax.data.video.conversion import short_side_size

    joints = np.load(video.streams["pose"].path)
    numbers = np.linspace(0, len(joints) - 1, _FRAMES).round().astype(int)
    about = streams.probe(video.streams[RGB.name], RGB)
    size = short_side_size(about.height, about.width, min(_SIDE, about.height, about.width))
    frames = streams.read_frames(video.streams[RGB.name], RGB, numbers.tolist(), size)
    return pictures.captioned_strip(pictures.with_skeleton(frames, joints[numbers], names, bones), [[video.id]])


def _shares(rows: pd.DataFrame) -> "pd.Series[float]":
    return rows["found"] / rows["frames"]

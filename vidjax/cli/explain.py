"""Shows what in a clip speaks for a class: Grad-CAM over the frames, for a run or for published weights.

The clip in the middle of the video is explained, for its most probable class or for --class=NAME. Two files are
written: VIDEO_explained.webp, the clip beside the same with the places in color, and VIDEO_explained.png, frames in a
strip. The map is that of the last layer whose output has places, before it is pooled; --layer=PATH takes another one.
Of SlowFast that is fast_res5; --layer=slow_res5 shows what its other stream sees.

Printed are the probability of the class and the deletion score: the area under its probability as the pixels are
replaced by the mean, the most important first. If the map shows what the network looks at, that is below the score of
the same map moved to other places, which is printed beside it.

Examples:
  python -m vidjax explain clip.mp4 --workdir=runs/motion
  python -m vidjax explain clip.mp4 --pretrained=i3d-kinetics400 --class="playing cricket" --out=pictures
"""

import argparse
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vidjax.cli.network_arguments import add_network, load_network
from vidjax.errors import printable
from vidjax.system import files, terminal

if TYPE_CHECKING:
    from vidjax.inference.explain import Explanation

_STRIP_FRAMES = 8
_FPS = 8.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of the verb."""
    parser.add_argument(
        "video", metavar="VIDEO", type=os.path.expanduser, help="a video file, a GIF or a folder of images"
    )
    add_network(parser)
    parser.add_argument("--class", dest="label", metavar="NAME", help="explain this class (default: the most probable)")
    parser.add_argument("--layer", metavar="PATH", help="module whose maps are shown, e.g. features/conv5")
    parser.add_argument(
        "--out", metavar="FOLDER", type=os.path.expanduser, default=".", help="where pictures are written (.)"
    )


def run(arguments: argparse.Namespace, overrides: Mapping[str, str]) -> int:
    """Writes the pictures and prints the scores."""
    from vidjax.inference.explain import explain

    files.check_folder(Path(arguments.out), f"--out={arguments.out}")
    network = load_network("explain", arguments, overrides)
    found = explain(network, arguments.video, arguments.label, arguments.layer)
    folder, stem = Path(arguments.out), Path(arguments.video).stem
    animation, strip = _pictures(found)
    for ending, content in (("webp", animation), ("png", strip)):
        files.write_bytes(folder / f"{stem}_explained.{ending}", content)
    other = "" if found.label == found.predicted else f" (most probable: {found.predicted})"
    terminal.say(f"{printable(arguments.video)}: {found.label}, probability {found.probability:.4f}{other}")
    places = f"{'x'.join(map(str, found.places))} place{'s' * (math.prod(found.places) != 1)}"
    terminal.say(f"layer: {found.layer.path}, {places}")
    terminal.say(
        f"deletion score: {found.deletion.area:.3f}; of the map elsewhere: {found.control.area:.3f} (lower is better)"
    )
    terminal.say(f"pictures: {folder / stem}_explained.webp and .png")
    return 0


def _pictures(found: "Explanation") -> tuple[bytes, bytes]:
    """An animated WebP file, and a PNG file."""
    from vidjax.reporting import pictures

    heat = pictures.with_heat(found.frames, found.maps)
    chosen = np.unique(np.linspace(0, len(heat) - 1, _STRIP_FRAMES).round().astype(int))
    caption = (
        f"{found.label} {100 * found.probability:.1f}%; deletion score {found.deletion.area:.3f},"
        f" of the map elsewhere {found.control.area:.3f}"
    )
    rows = pictures.side_by_side(found.frames[chosen], heat[chosen], axis=1)
    scale = max(1.0, 200 / found.frames.shape[2])
    animation = pictures.animation(pictures.side_by_side(found.frames, heat), _FPS, scale)
    return animation, pictures.captioned_strip(rows, [[caption]])

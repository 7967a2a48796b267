"""Writes the features that a trained network gives of videos, for a classifier, a search or a plot of your own.

Examples:
  python -m vidjax features my_videos --pretrained=i3d-kinetics400 --out=features.npz
  python -m vidjax features list.csv --workdir=runs/mine --clips=10 --out=features.safetensors

Clips are evenly spaced, as in testing; --clips=N takes another number of each video. What was computed is kept in the
cache folder, so the same command goes on after an interruption, and more videos add only what is new. Unreadable videos
are listed on stderr and left out, and the exit status is 1.

features.npz holds `features` float32 [videos, clips, places, size], `videos` (paths), `times` [videos, clips, 2] in
seconds, and `manifest` (JSON: network, weights, sampling, versions); features.safetensors the same, with `videos` and
`manifest` in its metadata. Places are positions in time and space that the network has not averaged.
"""

import argparse
import functools
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from vidjax.cli.network_arguments import add_network, add_videos, load_network
from vidjax.errors import ConfigError, VideoError
from vidjax.system import files, terminal


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of the verb."""
    add_videos(parser)
    add_network(parser)
    parser.add_argument(
        "--out", required=True, metavar="FILE", type=os.path.expanduser, help="FILE.npz or FILE.safetensors"
    )
    parser.add_argument("--clips", type=int, metavar="N", help="clips of each video (default: as in testing)")


def run(arguments: argparse.Namespace, overrides: Mapping[str, str]) -> int:
    """Writes the file; exit status 1 if a video cannot be read."""
    from vidjax.inference import extraction
    from vidjax.inference.videos import listed_videos

    if arguments.clips is not None and arguments.clips < 1:
        raise ConfigError(f"--clips={arguments.clips}: give at least 1")
    out = Path(arguments.out)
    extraction.check_format(out)
    files.check_file(out, f"--out={out}")
    network = load_network("features", arguments, overrides)
    found = extraction.extract(
        network,
        listed_videos(arguments.videos),
        clips=arguments.clips,
        progress=lambda records, total: terminal.track(records, total, "checking each video once", "videos"),
        computing=functools.partial(terminal.track, unit="videos"),
    )
    for path, reason in found.failed.items():
        print(f"error: {VideoError(path, reason)}", file=sys.stderr)
    found.write(out)
    videos, clips, places, size = found.features.shape
    counts = [(videos, "video"), (clips, "clip"), (places, "place"), (size, "number")]
    of, *shape = (f"{count} {noun}{'s' * (count != 1)}" for count, noun in counts)
    terminal.say(f"{out}: features of {of}, {' x '.join(shape)} each")
    return 1 if found.failed else 0

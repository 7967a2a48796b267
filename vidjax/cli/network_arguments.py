"""The arguments of the verbs that use a trained network, and the network that they choose."""

import argparse
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from vidjax.cli import refuse_overrides
from vidjax.errors import ConfigError

if TYPE_CHECKING:
    from vidjax.inference.network import TrainedNetwork


def add_videos(parser: argparse.ArgumentParser) -> None:
    """Declares the argument `videos`, for `inference.videos.listed_videos`."""
    parser.add_argument(
        "videos",
        nargs="+",
        metavar="VIDEO",
        type=os.path.expanduser,
        help="a video file, a GIF, a folder of images or of videos, or a list NAME.csv",
    )


def add_network(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments that choose a trained network."""
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--workdir", metavar="DIR", type=os.path.expanduser, help="the directory of a run")
    which.add_argument(
        "--pretrained",
        metavar="NAME",
        help="published weights: a name of `weights list`, or the file or folder that `weights export` wrote",
    )


def load_network(verb: str, arguments: argparse.Namespace, overrides: Mapping[str, str]) -> "TrainedNetwork":
    """The network that the arguments choose; says what there is to know of it on stderr.

    Args:
      verb: that uses it, for messages.
      arguments: as parsed.
      overrides: --config.KEY=VALUE; only a run takes some.

    Raises:
      VidjaxError: in one line, if there is no such network.
    """
    from vidjax import pretrained
    from vidjax.inference import network as networks
    from vidjax.system import compilation_cache, devices

    compilation_cache.enable()
    devices.available()  # before weights and videos are read
    if arguments.pretrained:
        refuse_overrides(verb, overrides, " with --pretrained")
        _refuse_run(arguments.pretrained)
        return networks.published(pretrained.load(arguments.pretrained))
    if not Path(arguments.workdir).is_dir():
        raise ConfigError(f"--workdir={arguments.workdir}: no such folder; give the directory of a run")
    network = networks.load_network(Path(arguments.workdir), overrides)
    for note in network.notes:
        print(f"note: {note}", file=sys.stderr)
    return network


def _refuse_run(source: str) -> None:
    """A run directory is no published weights; the folder that is exported from it has a config.json as well."""
    from vidjax.pretrained import CATALOG, hub

    folder = Path(source)
    if source not in CATALOG and (folder / "config.json").is_file() and not (folder / hub.FILE).is_file():
        raise ConfigError(f"--pretrained={source}: is the directory of a run: give it as --workdir={source}")

"""What the verbs that compute streams of videos once, flow and poses, have in common."""

import argparse
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from vidjax.cli.config_argument import add_data_config
from vidjax.errors import ConfigError, printable
from vidjax.system import terminal

if TYPE_CHECKING:
    from vidjax.data.computed import Computation
    from vidjax.data.records import Source

_SHOWN = 10  # refused videos


def add_computing(parser: argparse.ArgumentParser, name: str) -> None:
    """Declares --config, --shard and --threads."""
    add_data_config(parser)
    help_ = f"of the videos whose {name} is missing, every N-th from number I on (0/1: all)"
    parser.add_argument("--shard", metavar="I/N", default="0/1", help=help_)
    parser.add_argument("--threads", metavar="N", type=int, help="videos at once (default: one for each core)")


def compute(
    arguments: argparse.Namespace, overrides: Mapping[str, str], name: str, example: str
) -> tuple["Source", "Computation"]:
    """Computes what is missing of a stream, and prints where it is.

    Args:
      arguments: of `add_computing`.
      overrides: of the config.
      name: of the stream.
      example: a value of its option.

    Raises:
      ConfigError: if the config has no such stream.
    """
    from vidjax.config import data, loading

    found = re.fullmatch(r"(\d+)/(\d+)", arguments.shard)
    shard = (int(found[1]), int(found[2])) if found else (0, 0)
    if shard[0] >= shard[1]:
        raise ConfigError(f"--shard={arguments.shard}: give I/N with I from 0 to N - 1")
    if arguments.threads is not None and arguments.threads < 1:
        raise ConfigError(f"--threads={arguments.threads}: give at least 1")
    config = loading.load(arguments.config, dict(overrides))
    chosen = next((each for each in data.computations(config) if name == each.NAME), None)
    if chosen is None:
        raise ConfigError(f"the config has no data.{name}: give one, e.g. --config.data.{name}={example}")
    began = time.monotonic()
    source = data.with_computed(config, data.source(config), shard=shard, threads=arguments.threads, only=name)
    videos = [*source.train, *source.validation, *source.test]
    refused = {video.id: reason for video in videos if (reason := video.refusal([name])) is not None}
    for video, reason in list(refused.items())[:_SHOWN]:
        terminal.say(f"warning: {printable(video)} has no {name}: {reason}")
    if len(refused) > _SHOWN:
        terminal.say(f"warning: and {len(refused) - _SHOWN} more")
    there = [path for each in videos if (path := Path(each.streams[name].path)).parent == chosen.folder]
    stored = [path for path in there if path.exists()]
    size = sum(path.stat().st_size for path in stored) / 1e6
    terminal.say(
        f"{chosen.folder} holds {chosen.TITLE} of {len(stored)} of {len(videos)} videos by {chosen.method},"
        f" {size:,.0f} MB (this took {terminal.duration(time.monotonic() - began)})"
    )
    return source, chosen

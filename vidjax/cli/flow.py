r"""Computes the optical flow of the videos of a data set, once, and keeps it in the cache.

A run with data.flow=METHOD computes what is missing by itself when it begins; this does it before, without training,
and for a share of the videos where several machines have the same cache. It may be interrupted: the same command goes
on. Fields are stored in 8 bits, of frames resized to data.flow_short_side: 2 bytes a pixel.

Examples:
  python -m vidjax flow --config=configs/two_stream.py:ucf101 --config.data.root=UCF-101 \
      --config.data.splits=ucfTrainTestlist
  python -m vidjax flow --config=... --shard=0/8      on the first of eight machines
"""

import argparse
import re
import time
from collections.abc import Mapping

from vidjax.cli.config_argument import add_data_config
from vidjax.errors import ConfigError, printable
from vidjax.system import terminal

_SHOWN = 10  # refused videos


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of the verb."""
    add_data_config(parser)
    help_ = "of the videos whose flow is missing, every N-th from number I on (0/1: all)"
    parser.add_argument("--shard", metavar="I/N", default="0/1", help=help_)
    parser.add_argument("--threads", metavar="N", type=int, help="videos at once (default: one for each core)")


def run(arguments: argparse.Namespace, overrides: Mapping[str, str]) -> int:
    """Computes, and prints what; returns the exit status."""
    from vidjax.config import data, loading

    found = re.fullmatch(r"(\d+)/(\d+)", arguments.shard)
    shard = (int(found[1]), int(found[2])) if found else (0, 0)
    if shard[0] >= shard[1]:
        raise ConfigError(f"--shard={arguments.shard}: give I/N with I from 0 to N - 1")
    if arguments.threads is not None and arguments.threads < 1:
        raise ConfigError(f"--threads={arguments.threads}: give at least 1")
    config = loading.load(arguments.config, dict(overrides))
    settings = data.flow_settings(config)
    if settings is None:
        raise ConfigError("the config has no data.flow: name a method, e.g. --config.data.flow=dis_fast")
    began = time.monotonic()
    source = data.with_flow(config, data.source(config), shard=shard, threads=arguments.threads)
    videos = [*source.train, *source.validation, *source.test]
    refused = [video for video in videos if video.refused is not None]
    for video in refused[:_SHOWN]:
        terminal.say(f"warning: {printable(video.id)} has no flow: {video.refused}")
    if len(refused) > _SHOWN:
        terminal.say(f"warning: and {len(refused) - _SHOWN} more")
    stored = list(settings.folder.glob("*.npy"))
    size = sum(path.stat().st_size for path in stored) / 1e6
    terminal.say(
        f"{settings.folder} holds the flow of {len(stored)} videos by {settings.method}, {size:,.0f} MB"
        f" (this took {terminal.duration(time.monotonic() - began)})"
    )
    return 0

r"""Packs the videos of a data set into a few large files, which training reads from a disk or an object store.

OUT gets ArrayRecord shards: the videos as they are (nothing is re-encoded), each with its label and the findings of its
inspection. Training on them gives the same batches as training on the files. OUT must be new or empty.

With --short-side=N, frames are resized and stored one by one, without loss: larger, but several times as fast to read.
With data.short_side=N (or short_side_max=N) training again gives the same batches; a smaller one resizes twice, and
its pixels differ a little; a larger one is refused.

Examples:
  python -m vidjax pack packed/ucf101 --config=configs/early_fusion.py:ucf101 --config.data.root=UCF-101 \
      --config.data.splits=ucfTrainTestlist
  python launch.py --config=configs/early_fusion.py:ucf101 --config.data.name=packed --config.data.root=packed/ucf101

After `gcloud storage cp -r packed/ucf101 gs://BUCKET/`, --config.data.root=gs://BUCKET/ucf101 reads the same data from
there. For other object stores, mount the bucket (S3: with mount-s3) and give the folder.
"""

import argparse
import os
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from vidjax.cli.config_argument import add_data_config
from vidjax.errors import ConfigError, printable
from vidjax.system import terminal

_SHOWN = 10  # refused videos


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of the verb."""
    parser.add_argument("out", metavar="OUT", type=os.path.expanduser, help="new or empty folder on a local disk")
    add_data_config(parser)
    help_ = "resize frames to this shorter side, in pixels, and store each by itself (default: the files as they are)"
    parser.add_argument("--short-side", metavar="N", type=int, help=help_)
    parser.add_argument("--shard-megabytes", metavar="N", type=int, default=512, help="size of a shard (512)")


def run(arguments: argparse.Namespace, overrides: Mapping[str, str]) -> int:
    """Packs, and prints what; returns the exit status."""
    from vidjax.config import data, loading
    from vidjax.data.packed import packing
    from vidjax.data.sources import packed

    if arguments.shard_megabytes < 1:
        raise ConfigError(f"--shard-megabytes={arguments.shard_megabytes}: give at least 1")
    if arguments.short_side is not None and arguments.short_side < 1:
        raise ConfigError(f"--short-side={arguments.short_side}: give at least 1")
    if "://" in arguments.out:
        raise ConfigError(f"pack: OUT={arguments.out}: pack into a folder, then copy it to the object store")
    config = loading.load(arguments.config, dict(overrides))
    for computation in data.computations(config) if arguments.short_side is not None else []:
        name = computation.NAME
        raise ConfigError(f"--short-side={arguments.short_side} is for RGB alone: leave data.{name} out (None)")
    done = packing.pack(
        data.with_computed(config, data.source(config)),
        Path(arguments.out),
        short_side=arguments.short_side,
        shard_bytes=arguments.shard_megabytes * 1_000_000,
        inspect_progress=lambda records, total: terminal.track(records, total, "checking each video once", "videos"),
        pack_progress=lambda videos, total: terminal.track(videos, total, "packing", "videos"),
    )
    rows = [
        (name, str(part.videos), str(part.shards), f"{part.bytes / 1e6:,.1f}", str(len(part.refused)))
        for name, part in done.items()
    ]
    terminal.table(pd.DataFrame(rows, columns=["part", "videos", "shards", "MB", "refused"]), str(arguments.out))
    refused = [(identity, reason) for part in done.values() for identity, reason in part.refused.items()]
    for identity, reason in refused[:_SHOWN]:
        terminal.say(f"warning: {printable(identity)} is not packed: {reason}")
    if len(refused) > _SHOWN:
        verb = f"python -m vidjax check-data {arguments.out}"
        terminal.say(f"warning: and {len(refused) - _SHOWN} more; `{verb}` lists them")
    for note in packed.load(root=arguments.out).notes:
        terminal.say(f"note: {note}")
    more = "" if arguments.short_side is None else f" --config.data.short_side={arguments.short_side}"
    more += "".join(f" --config.data.{each.NAME}=None" for each in data.computations(config))  # is packed, too
    terminal.say(f"train on it with --config.data.name=packed --config.data.root={arguments.out}{more}")
    return 0

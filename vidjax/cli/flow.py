r"""Computes the optical flow of the videos of a data set, once, and keeps it in the cache.

A run with data.flow=METHOD computes what is missing by itself when it begins; this does it before, without training,
and for a share of the videos where several machines have the same cache. It may be interrupted: the same command goes
on. Fields are stored in 8 bits, of frames resized to data.flow_short_side: 2 bytes a pixel.

Examples:
  python -m vidjax flow --config=configs/two_stream.py:ucf101 --config.data.root=UCF-101 \
      --config.data.splits=ucfTrainTestlist
  python -m vidjax flow --config=... --shard=0/8             on the first of eight machines
  python -m vidjax flow --config=... --histogram=flow.png    how large displacements are
"""

import argparse
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from vidjax.cli.stream_arguments import add_computing, compute
from vidjax.errors import DataError
from vidjax.system import files, terminal


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of the verb."""
    add_computing(parser, "flow")
    help_ = "draw how many fields have which largest displacement, in pixels"
    parser.add_argument("--histogram", metavar="FILE.png", type=os.path.expanduser, help=help_)


def run(arguments: argparse.Namespace, overrides: Mapping[str, str]) -> int:
    """Computes, and prints what; returns the exit status."""
    out = arguments.histogram
    if out is not None:
        files.check_file(Path(out), f"--histogram={out}")
    source, computation = compute(arguments, overrides, "flow", "dis_fast")
    if out is None:
        return 0
    from vidjax.data.flow.fields import FlowSettings, largest
    from vidjax.reporting import figures

    assert isinstance(computation, FlowSettings)
    paths = (Path(v.streams["flow"].path) for v in (*source.train, *source.validation, *source.test))
    found = [largest(path, computation) for path in paths if path.suffix == ".npy" and path.exists()]
    if not found:
        raise DataError("--histogram: there is no flow yet")
    sizes, clipped = (np.concatenate(each) for each in zip(*found, strict=True))
    title = f"{len(sizes):,} fields of {len(found)} videos by {computation.method}"
    files.write_bytes(Path(out), figures.histogram(sizes, "largest displacement of a field, pixels", title))
    bounded = "" if computation.percentile is not None else f", {np.mean(clipped):.1%} reach the bound"
    terminal.say(f"{out}: median {np.median(sizes):.1f}, 99% below {np.percentile(sizes, 99):.1f} pixels{bounded}")
    return 0

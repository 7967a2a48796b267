"""Writes a trained network, one of your runs or published weights, as a file that runs without vidjax.

The suffix of --out names the format. FILE.stablehlo is for JAX (`jax.export`), on CPU, CUDA GPU and TPU; its metadata
are beside it, in FILE.stablehlo.json. FILE.onnx is for ONNX Runtime and whatever else reads ONNX; its metadata are
inside. The size of the batch is free in both.

Preprocessing is in the file: it takes the clips that a video decoder gives, uint8 [batch, frames, height, width, 3] in
RGB, of the size that data.frames and data.crop say, and returns probabilities [batch, classes]: center crop,
normalization, network, and the mean over frames or positions by evaluate.average. With --raw it takes what the network
sees, normalized floats, and returns its logits [batch, positions, classes].

Afterwards the file is read again, as its user would, and its output for generated clips, in batches of 3 and 1, is
compared with the network's. A file that differs by more than 1e-5, relative to max(1, |output|), is not kept.

Examples:
  python -m vidjax export --workdir=runs/motion --out=motion.onnx
  python -m vidjax export --workdir=runs/motion --out=motion.stablehlo --raw
  python -m vidjax export --pretrained=i3d-kinetics400 --out=i3d.onnx

What it needs besides: pip install -r requirements-export.txt
"""

import argparse
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from vidjax.cli.network_arguments import add_network, load_network
from vidjax.system import files, terminal

if TYPE_CHECKING:
    from vidjax.inference.export.card import Array, Card


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of the verb."""
    add_network(parser)
    parser.add_argument(
        "--out", required=True, metavar="FILE", type=os.path.expanduser, help="FILE.onnx or FILE.stablehlo"
    )
    parser.add_argument("--raw", action="store_true", help="without preprocessing: floats in, logits out")


def run(arguments: argparse.Namespace, overrides: Mapping[str, str]) -> int:
    """Writes the file, and says what is in it."""
    from vidjax.inference.export import exported_file

    out = Path(arguments.out)
    files.check_file(out, f"--out={out}")
    exported_file.check_path(out)
    network = load_network("export", arguments, overrides)
    written = exported_file.write(network, out, is_raw=arguments.raw)
    card = written.card
    terminal.say(f"{written.path}: {written.size / 1e6:.1f} MB, {card.model} of {card.network}{_which(card)}")
    for each in card.inputs:
        terminal.say(f"  input   {_describe(each)}")
    for each in card.outputs:
        terminal.say(f"  output  {_describe(each)}")
    if card.opset is not None:
        terminal.say(f"  opset   {card.opset}")
    if card.platforms is not None:
        terminal.say(f"  for     {', '.join(card.platforms)}")
    terminal.say(
        f"  check   read again, it differs from the network by at most {written.difference:.1e} on generated clips"
    )
    terminal.say("To use it without vidjax:")
    for line in written.snippet.splitlines():
        terminal.say(f"  {line}")
    return 0


def _which(card: "Card") -> str:
    return "" if card.step is None else f", {card.weights} weights of step {card.step}"


def _describe(array: "Array") -> str:
    return f"{array.name}: {array.dtype} [{', '.join(map(str, array.shape))}], {array.values}"

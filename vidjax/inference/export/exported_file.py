"""Writes an exported network, and makes sure that the file computes what the network does."""

import dataclasses
import importlib.metadata
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from vidjax.data.clips import ClipSpec
from vidjax.errors import ConfigError, ExportError
from vidjax.inference.export import onnx_export, stablehlo
from vidjax.inference.export.card import Array, Card
from vidjax.inference.export.program import Program, with_preprocessing, without_preprocessing
from vidjax.inference.network import TrainedNetwork
from vidjax.system import files, provenance

SUFFIXES = (".stablehlo", ".onnx")
TOLERANCE = 1e-5  # of the difference, relative to max(1, |value|)
_BATCHES = (3, 1)  # at which a file is run


class Exported(NamedTuple):
    """A file that was written.

    Attributes:
      path: of it.
      size: in bytes.
      card: what it says of itself.
      difference: the largest from the network's output, relative to max(1, |value|).
      snippet: lines of Python that run it.
    """

    path: Path
    size: int
    card: Card
    difference: float
    snippet: str


def check_path(path: Path) -> None:
    """Refuses a file of another format, or one that cannot be written since a package is missing.

    Raises:
      ConfigError: saying what to change or install.
    """
    if path.suffix not in SUFFIXES:
        raise ConfigError(f"--out={path}: the suffix names the format; give NAME{' or NAME'.join(SUFFIXES)}")
    (onnx_export if path.suffix == ".onnx" else stablehlo).check_packages()


def write(network: TrainedNetwork, path: Path, *, is_raw: bool = False) -> Exported:
    """Exports a network to a file, reads it again and compares its output with the network's on generated clips.

    Args:
      network: that is exported.
      path: of the file, whose suffix names the format: .stablehlo or .onnx. An existing file is replaced.
      is_raw: without preprocessing: from the model's inputs to its logits [B, N, K].

    Raises:
      ConfigError: as `check_path`.
      ExportError: if the network cannot be exported, or the file disagrees; nothing is written then.
    """
    check_path(path)
    program = without_preprocessing(network) if is_raw else with_preprocessing(network)
    card = _card(network, program, is_raw)
    partial = path.with_name(f"{path.stem}.{os.getpid()}.partial{path.suffix}")
    try:
        if path.suffix == ".onnx":
            card = dataclasses.replace(card, opset=onnx_export.OPSET)
            files.write_bytes(partial, onnx_export.serialize(program, card))
            difference, snippet = largest_difference(program, onnx_export.load(partial)), onnx_export.snippet
        else:
            serialized = stablehlo.serialize(program)
            card = dataclasses.replace(
                card, platforms=stablehlo.PLATFORMS, calling_convention=serialized.calling_convention
            )
            files.write_bytes(partial, serialized.content)
            difference, snippet = largest_difference(program, stablehlo.load(partial)), stablehlo.snippet
        if not difference <= TOLERANCE:
            raise ExportError(f"{path}: not written: its output differs from the network's by {difference:.1e}")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    if path.suffix == ".stablehlo":
        files.write_json(path.with_name(f"{path.name}.json"), card.to_json())
    return Exported(path, path.stat().st_size, card, difference, snippet(path, program.inputs))


def largest_difference(program: Program, function: Callable[[Mapping[str, np.ndarray]], np.ndarray]) -> float:
    """The largest difference of a file's output from the network's, relative to max(1, |value|); nan if any is."""
    inputs = program.example(max(_BATCHES))
    expected = program.run(inputs)
    differences = []
    for batch in _BATCHES:
        found = function({name: array[:batch] for name, array in inputs.items()})
        if found.shape != expected[:batch].shape:
            raise ExportError(f"the file's output has the shape {found.shape}, not {expected[:batch].shape}")
        differences.append(np.abs(found - expected[:batch]) / np.maximum(1, np.abs(expected[:batch])))
    return float(max(np.max(each) for each in differences))


def _card(network: TrainedNetwork, program: Program, is_raw: bool) -> Card:
    result: Any = jax.eval_shape(program.function, program.variables, program.specs(1))
    name, values = ("logits", "before the softmax") if is_raw else ("probabilities", "of each clip, summing to 1")
    if is_raw and network.average == "lengths":
        values = "lengths or activations of capsules"
    return Card(
        network=network.name,
        model=type(network.module).__name__,
        weights=network.weights,
        step=network.step,
        classes=list(network.classes),
        inputs=[
            Array(
                name=name,
                shape=["batch", *spec.shape],
                dtype=str(spec.dtype),
                values=_values(network, name, spec, is_raw),
            )
            for name, spec in sorted(program.inputs.items())
        ],
        outputs=[Array(name=name, shape=["batch", *result.shape[1:]], dtype=str(result.dtype), values=values)],
        clip=_clip(network.clip),
        test_clips=_test_clips(network),
        commit=provenance.commit(),
        versions={name: importlib.metadata.version(name) for name in ("jax", "flax")},
    )


def _clip(clip: ClipSpec) -> dict[str, Any]:
    """The options that are given, and the file's size, too, where it is kept: its absence would tell nobody."""
    given = {name: value for name, value in dataclasses.asdict(clip).items() if value is not None}
    return given if clip.resize != "short_side" else {"short_side": "keep", **given}


def _test_clips(network: TrainedNetwork) -> str:
    """What a video is tested on, in words."""
    clip, views = network.clip, network.views
    if clip.is_fixed:
        views = dataclasses.replace(views, clips=1)
    if clip.sampling == "segments":
        place = "each has one frame of each of `frames` equal parts of the video, "
        if views.clips == 1:
            place += "its center"
        else:
            place += f"clip v = 0, 1, ... the one at the fraction (v + 1/2) / {views.clips} of the part"
    elif clip.frame_number is not None:
        place = f"from frame {clip.frame_number} on, or the last start at which it fits"
    elif clip.is_fixed:
        place = f"the {clip.position} of the video"
    elif views.clips == 1:
        place = "the middle of the video"
    else:
        place = "evenly spaced, from the start of the video to the last start at which a clip fits"
    looped = "" if clip.sampling == "segments" else "; a shorter video is looped"
    whole = "; its authors test it on all frames of a video at once" if network.sees_whole_videos else ""
    return f"{views.describe()}, {place}{looped}{whole}"


_SEEN = {
    "gray": "then their luma",
    "difference": "then the difference to the frame before",
    "gradient": "then the gradient of their luma, to the right and downwards",
}


def _values(network: TrainedNetwork, name: str, spec: jax.ShapeDtypeStruct, is_raw: bool) -> str:
    """What the values of an input are, in words."""
    if name.endswith("_mask"):
        return "True where there are values"
    seen = next((f", {_SEEN[each.seen]}" for each in network.inputs if each.name == name and each.seen in _SEEN), "")
    if not is_raw:
        pairs = ", each frame after the one before it" if seen and "difference" in seen else ""
        return f"pixels in 0..255{pairs}" if spec.dtype == np.uint8 else "as they are read"
    for each in network.inputs:
        if each.name == name and each.is_float:
            common = (network.preprocessing.mean, network.preprocessing.std) if each.space == "image" else (0.0, 1.0)
            mean = common[0] if each.mean is None else each.mean
            std = common[1] if each.std is None else each.std
            return f"(v - {mean}) / {std} of values v as they are read{seen}"
    return "as they are read"

"""What an exported file says of itself."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from vidjax.evaluation.record import Record, nested, optional


@dataclasses.dataclass(frozen=True, kw_only=True)
class Array(Record):
    """An input or output.

    Attributes:
      name: of the argument.
      shape: "batch" is free.
      dtype: of its values.
      values: what they mean.
    """

    name: str
    shape: Sequence[int | str]
    dtype: str
    values: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Card(Record):
    """Metadata of an exported network: NAME.stablehlo.json, or the key "vidjax" in an ONNX file.

    Attributes:
      network: the run or the published weights.
      model: class of the module.
      weights: which of the run's, e.g. "ema"; "published".
      step: of the training; None for published ones.
      classes: K names, in label order.
      inputs: in the order of the arguments.
      outputs: one.
      clip: how clips are cut from a video, by the options of `data.clips.ClipSpec`; a `short_side` of "keep" leaves
        the frames at the file's size.
      test_clips: how many are averaged for a video, and where they lie in time, in words.
      commit: of vidjax's code that wrote it; None if it was installed.
      versions: of the packages that wrote it.
      platforms: of StableHLO, for which it was lowered.
      calling_convention: of StableHLO, `jax.export`'s.
      opset: of ONNX.
    """

    network: str
    model: str
    weights: str
    step: int | None
    classes: Sequence[str]
    inputs: Sequence[Array] = nested(Array)
    outputs: Sequence[Array] = nested(Array)
    clip: Mapping[str, Any]
    test_clips: str
    commit: str | None
    versions: Mapping[str, str]
    platforms: Sequence[str] | None = optional()
    calling_convention: int | None = optional()
    opset: int | None = optional()

"""The lines of `metrics.jsonl` and the meaning of their values. Reports read them, so nothing here imports JAX."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from vidjax.errors import DataError


def _of_step(meaning: str, **default: Any) -> Any:
    """A field that the training step computes under the same name."""
    return dataclasses.field(metadata={"of_step": meaning}, **default)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainLine:
    """Metrics of the training steps of one log window.

    The fields with a description make up `STEP_METRICS`: declare a new metric here and compute it in
    `training/step.py`. Norms are global L2 norms over all parameters that are not frozen.

    Attributes:
      step: steps done at the end of the window.
      learning_rate: of its last step.
      extra: metrics that only other versions log.
    """

    split: ClassVar[str] = "train"

    step: int
    loss: float = _of_step("mean loss over the clips")
    top1: float | None = _of_step("fraction of the clips whose class has the highest score", default=None)
    gradient_norm: float | None = _of_step("norm of the gradient of the batch, before clipping", default=None)
    update_norm: float | None = _of_step("norm of the parameter update of the step", default=None)
    parameter_norm: float | None = _of_step("norm of the parameters after the step", default=None)
    learning_rate: float | None = None
    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, step: int, means: Mapping[str, float], learning_rate: float) -> Self:
        """The line of a window, from the means of `STEP_METRICS` over its steps."""
        measured: dict[str, Any] = {**means}
        return cls(step=step, learning_rate=learning_rate, **measured)


# Name -> description of each metric that a training step computes.
STEP_METRICS: dict[str, str] = {
    field.name: field.metadata["of_step"] for field in dataclasses.fields(TrainLine) if "of_step" in field.metadata
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ValidationLine:
    """Metrics of a validation.

    Attributes:
      step: steps done before it.
      loss: mean over the views.
      clip_top1, video_top1: accuracy over views and over videos.
      mean_class_accuracy: mean of the accuracies of the classes.
      failed_videos: how many videos could not be read; None if all could.
      extra: metrics that only other versions log.
    """

    split: ClassVar[str] = "validation"

    step: int
    loss: float
    clip_top1: float
    video_top1: float
    mean_class_accuracy: float | None = None
    failed_videos: float | None = None
    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict)


MetricsLine = TrainLine | ValidationLine
_KINDS: dict[str, type[TrainLine] | type[ValidationLine]] = {kind.split: kind for kind in (TrainLine, ValidationLine)}


def values(line: MetricsLine) -> dict[str, float]:
    """Metric name -> value, for the metrics that the line has."""
    named = {field.name: getattr(line, field.name) for field in dataclasses.fields(line)}
    del named["step"], named["extra"]
    return {name: value for name, value in {**named, **line.extra}.items() if value is not None}


def to_json(line: MetricsLine) -> str:
    """The line of the file, without the newline."""
    return json.dumps({"step": line.step, "split": line.split, **values(line)})


def from_json(text: str) -> MetricsLine | None:
    """Reads a line; None for a split that this version does not know.

    Raises:
      ValueError: if it is not JSON, or lacks a required key of its split.
    """
    content = json.loads(text)
    if not isinstance(content, dict):
        raise ValueError("not a JSON object")
    if "split" not in content:
        raise ValueError("no split")
    kind = _KINDS.get(content.pop("split"))
    if kind is None:
        return None
    names = {field.name for field in dataclasses.fields(kind)} - {"extra"}
    known = {name: value for name, value in content.items() if name in names}
    extra = {name: value for name, value in content.items() if name not in names}
    try:
        return kind(**known, extra=extra)
    except TypeError as error:
        raise ValueError(f"{kind.split}: {error}") from error


def read(path: Path) -> list[MetricsLine]:
    """Reads `metrics.jsonl`; a last line that was cut short by a kill is ignored.

    Args:
      path: the file; if it does not exist, there are no lines.

    Raises:
      DataError: if any other line cannot be read.
    """
    if not path.is_file():
        return []
    texts = path.read_text(encoding="utf-8").splitlines()
    lines = []
    for number, text in enumerate(texts, start=1):
        try:
            line = from_json(text)
        except ValueError as error:
            if number < len(texts):
                raise DataError(f"{path}: line {number} is not a metrics line ({error})") from error
            continue
        if line is not None:
            lines.append(line)
    return lines

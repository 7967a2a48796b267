"""The lines of `metrics.jsonl`, and what the numbers in them are. Reports read them: nothing here imports JAX."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from vidjax.errors import DataError


def _of_step(meaning: str, **default: Any) -> Any:
    """A field that the training step computes, by that name."""
    return dataclasses.field(metadata={"of_step": meaning}, **default)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainLine:
    """What is logged of the training steps of a window.

    The fields that say what they are make up `STEP_METRICS`: a new one is declared here, and computed in
    `training/step.py`. Norms are global L2 norms over all parameters that are not frozen.

    Attributes:
      step: steps done at the end of the window.
      learning_rate: of its last step.
      extra: of a version that logs more.
    """

    split: ClassVar[str] = "train"

    step: int
    loss: float = _of_step("loss, mean over the clips")
    top1: float | None = _of_step("share of the clips whose class has the highest score", default=None)
    gradient_norm: float | None = _of_step("norm of the gradient of the batch, before it is clipped", default=None)
    update_norm: float | None = _of_step("norm of how far the step moves the parameters", default=None)
    parameter_norm: float | None = _of_step("norm of the parameters after the step", default=None)
    learning_rate: float | None = None
    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, step: int, means: Mapping[str, float], learning_rate: float) -> Self:
        """The line of a window, given what its steps have measured (`STEP_METRICS`)."""
        measured: dict[str, Any] = {**means}
        return cls(step=step, learning_rate=learning_rate, **measured)


# Name -> what it is, of all that a training step measures.
STEP_METRICS: dict[str, str] = {
    field.name: field.metadata["of_step"] for field in dataclasses.fields(TrainLine) if "of_step" in field.metadata
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ValidationLine:
    """What is logged of a validation.

    Attributes:
      step: steps done before it.
      loss: mean over the views.
      clip_top1, video_top1: shares of views and of videos.
      failed_videos: how many could not be read, where there are any.
      extra: of a version that logs more.
    """

    split: ClassVar[str] = "validation"

    step: int
    loss: float
    clip_top1: float
    video_top1: float
    failed_videos: float | None = None
    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict)


MetricsLine = TrainLine | ValidationLine
_KINDS: dict[str, type[TrainLine] | type[ValidationLine]] = {kind.split: kind for kind in (TrainLine, ValidationLine)}


def values(line: MetricsLine) -> dict[str, float]:
    """Name -> number, of what the line has."""
    named = {field.name: getattr(line, field.name) for field in dataclasses.fields(line)}
    del named["step"], named["extra"]
    return {name: value for name, value in {**named, **line.extra}.items() if value is not None}


def to_json(line: MetricsLine) -> str:
    """The line as it stands in the file, without its end."""
    return json.dumps({"step": line.step, "split": line.split, **values(line)})


def from_json(text: str) -> MetricsLine | None:
    """Reads a line; None for a split of a version that has more of them.

    Raises:
      ValueError: if it is no JSON, or lacks what every line of its split has.
    """
    content = json.loads(text)
    if not isinstance(content, dict):
        raise ValueError("no JSON object")
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
    """Reads `metrics.jsonl`; a last line cut short by a killed process is left out.

    Args:
      path: the file; where there is none, the answer is empty.

    Raises:
      DataError: if any line but the last cannot be read.
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
                raise DataError(f"{path}: line {number} is no line of metrics ({error})") from error
            continue
        if line is not None:
            lines.append(line)
    return lines

"""The metrics of a run: `metrics.jsonl`, and the same as TensorBoard events."""

import json
import math
import os
import sys
from pathlib import Path
from typing import Any

from vidjax.errors import DivergedError
from vidjax.system import files
from vidjax.training import metrics_line
from vidjax.training.metrics_line import MetricsLine


class MetricsLog:
    """Writes one JSON object a line (`metrics_line`).

    No wall-clock stands in it, so two equal runs write equal files. A resumed run takes off what was
    logged after the checkpoint that it starts from.

    Args:
      workdir: of the run.
      first_step: steps done in the checkpoint; later lines are removed.
    """

    def __init__(self, workdir: Path, first_step: int = 0):
        path = workdir / "metrics.jsonl"
        _truncate_after(path, first_step)
        self._file = path.open("a", buffering=1)
        self._events = _summary_writer()(str(workdir / "tensorboard"), purge_step=first_step + 1, flush_secs=30)

    def __enter__(self) -> "MetricsLog":
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()
        self._events.close()

    def write(self, line: MetricsLine) -> None:
        """Writes a line.

        Raises:
          DivergedError: if a number is not finite; the run has diverged.
        """
        values = metrics_line.values(line)
        for name, value in values.items():
            if not math.isfinite(value):
                told = name.replace("_", " ")
                raise DivergedError(f"the {line.split} {told} is {value} at step {line.step}: training has diverged")
        self._file.write(metrics_line.to_json(line) + "\n")
        for name, value in values.items():
            self._events.add_scalar(f"{line.split}/{name}", value, line.step)

    def flush(self) -> None:
        """Puts every line on disk: to be called before a checkpoint that follows them."""
        self._file.flush()
        os.fsync(self._file.fileno())


def _summary_writer() -> Any:
    """The writer of tensorboardX, without PyTorch: it would import that where it is installed, for seconds."""
    is_hidden = "torch" not in sys.modules
    if is_hidden:
        sys.modules["torch"] = None  # type: ignore[assignment]
    try:
        from tensorboardX import SummaryWriter
    finally:
        if is_hidden:
            del sys.modules["torch"]
    return SummaryWriter


def _truncate_after(path: Path, step: int) -> None:
    """Removes the lines after `step`, and a line that a kill cut short."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text().splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except json.JSONDecodeError:
            continue
    files.write_text(path, "".join(kept))

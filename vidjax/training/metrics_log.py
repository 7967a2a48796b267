"""Writes the metrics of a run to `metrics.jsonl` and as TensorBoard events."""

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
    """Writes one JSON object per line (`metrics_line`).

    Lines hold no wall-clock times, so equal runs write equal files. A resumed run removes the lines that were logged
    after the checkpoint that it starts from.

    Args:
      workdir: the run directory.
      first_step: step of that checkpoint; later lines are removed.
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
          DivergedError: if a value is not finite.
        """
        values = metrics_line.values(line)
        for name, value in values.items():
            if not math.isfinite(value):
                metric = name.replace("_", " ")
                raise DivergedError(f"{line.split} {metric} is {value} at step {line.step}: training diverged")
        self._file.write(metrics_line.to_json(line) + "\n")
        for name, value in values.items():
            self._events.add_scalar(f"{line.split}/{name}", value, line.step)

    def flush(self) -> None:
        """Syncs all lines to disk; call it before saving a checkpoint."""
        self._file.flush()
        os.fsync(self._file.fileno())


def _summary_writer() -> Any:
    """The writer of tensorboardX, which would spend seconds importing PyTorch if it is installed."""
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
    """Removes the lines after `step`, and a last line that was cut short by a kill."""
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

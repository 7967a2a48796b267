"""Early stopping and best-checkpoint tracking."""

import dataclasses
from collections.abc import Mapping
from typing import Any

# Metric name in the validation line of metrics.jsonl -> whether higher is better.
METRICS = {"video_top1": True, "clip_top1": True, "mean_class_accuracy": True, "loss": False}


@dataclasses.dataclass
class EarlyStopping:
    """Tracks one validation metric: early stopping and best-checkpoint tracking.

    Its state dict is saved with each checkpoint, so that a resumed run continues where it left off.

    Attributes:
      metric: a key of `METRICS`.
      patience: validations in a row without improvement after which training stops; None: never.
      best: the best value so far; of equal values the earliest counts.
      best_step: steps done at that validation; None before the first validation.
      validations_since_best: validations after it.
    """

    metric: str = "video_top1"
    patience: int | None = None
    best: float | None = None
    best_step: int | None = None
    validations_since_best: int = 0

    def update(self, step: int, values: Mapping[str, float]) -> bool:
        """Records a validation after `step` steps; returns whether it is the best so far."""
        value, sign = values[self.metric], 1 if METRICS[self.metric] else -1
        if self.best is None or sign * value > sign * self.best:
            self.best, self.best_step, self.validations_since_best = value, step, 0
            return True
        self.validations_since_best += 1
        return False

    @property
    def should_stop(self) -> bool:
        """Whether patience has run out."""
        return self.patience is not None and self.validations_since_best >= self.patience

    def state_dict(self) -> dict[str, Any]:
        """The state as JSON, under the keys that all checkpoints have."""
        return {"best": self.best, "best_step": self.best_step, "since": self.validations_since_best}

    def load_state_dict(self, state: Mapping[str, Any] | None) -> None:
        """Restores the state from a checkpoint; None, from a checkpoint without one, leaves a new tracker as it is."""
        if state is not None:
            self.best, self.best_step = state["best"], state["best_step"]
            self.validations_since_best = state["since"]

"""What a run keeps an eye on in its validations: the best one so far, and when to stop."""

import dataclasses
from typing import Any

# Name in the validation line of metrics.jsonl -> whether more is better.
METRICS = {"video_top1": True, "clip_top1": True, "loss": False}


@dataclasses.dataclass
class Monitor:
    """Follows one metric over the validations; its notes lie beside each checkpoint, so that a resumed run knows.

    Attributes:
      metric: a key of `METRICS`.
      stop_after: validations in a row that do not beat the best, after which training ends; None: never.
      best: value of the best validation; a tie goes to the earlier one.
      best_step: steps done at it; None before the first validation.
      since: validations after it.
    """

    metric: str = "video_top1"
    stop_after: int | None = None
    best: float | None = None
    best_step: int | None = None
    since: int = 0

    def add(self, step: int, values: dict[str, float]) -> bool:
        """Takes in a validation after `step` steps; returns whether it is the best so far."""
        value, sign = values[self.metric], 1 if METRICS[self.metric] else -1
        if self.best is None or sign * value > sign * self.best:
            self.best, self.best_step, self.since = value, step, 0
            return True
        self.since += 1
        return False

    @property
    def stops(self) -> bool:
        """Whether the best validation lies so far back that training ends."""
        return self.stop_after is not None and self.since >= self.stop_after

    def notes(self) -> dict[str, Any]:
        """What a resumed run must know, as JSON."""
        return {"best": self.best, "best_step": self.best_step, "since": self.since}

    def recall(self, notes: dict[str, Any] | None) -> None:
        """Takes up the notes of a checkpoint; None (one of an older version): starts anew."""
        for name, value in (notes or {}).items():
            setattr(self, name, value)

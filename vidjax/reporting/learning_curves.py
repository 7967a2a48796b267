"""Detects overfitting in the metrics log of a run."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from vidjax.evaluation.result import Result
from vidjax.training.metrics_line import MetricsLine

_MIN_VALIDATIONS = 3
_RISE = 0.2  # of the lowest validation loss; smaller rises are not reported
_FALL = 0.1  # of the training loss
_ADVICE = (
    "Train for fewer steps (config.train.epochs or config.train.steps), use early stopping with the best checkpoint"
    " (config.train.early_stopping_patience=5, config.train.monitor=loss, config.evaluate.weights=best), or add"
    " augmentation (config.preprocessing)."
)


class Overfitting(NamedTuple):
    """The minimum of the validation loss of a run, and its rise since then.

    Attributes:
      best_step, best_loss: of the lowest validation loss.
      last_step, last_loss: of the last validation.
      train_losses: training loss at `best_step` and at the end.
    """

    best_step: int
    best_loss: float
    last_step: int
    last_loss: float
    train_losses: tuple[float, float]


def overfitting(metrics: Sequence[MetricsLine]) -> Overfitting | None:
    """Checks whether the validation loss has risen while the training loss kept falling.

    Single validations are noisy if there are few validation videos, so windows of a quarter of the validations are
    compared: the last quarter (at least two validations) with the earlier quarter of the lowest mean. All of its losses
    must be higher than that mean, and their mean higher by a fifth and by more than the largest drop between two
    validations since then, a measure of the noise. Meanwhile the training loss must have fallen by a tenth.

    Args:
      metrics: the lines of `metrics.jsonl`.

    Returns:
      The rise; None if there is none, or fewer than three validations.
    """
    steps, losses = _losses(metrics, "validation")
    train_steps, train_losses = _losses(metrics, "train")
    if len(losses) < _MIN_VALIDATIONS or not len(train_losses):
        return None
    window, last = max(1, len(losses) // 4), max(2, len(losses) // 4)
    means = np.convolve(losses[:-last], np.ones(window) / window, "valid")
    lowest = int(means.argmin())
    falls = -np.diff(losses[lowest + window :])
    rises = losses[-last:] - means[lowest]
    if rises.min() <= 0 or rises.mean() <= max(_RISE * means[lowest], falls.max(initial=0.0)):
        return None
    best = lowest + int(losses[lowest : lowest + window].argmin())
    then = min(int(np.searchsorted(train_steps, steps[best])), len(train_losses) - 1)
    if train_losses[-1] > (1 - _FALL) * train_losses[then]:
        return None
    pair = (float(train_losses[then]), float(train_losses[-1]))
    return Overfitting(int(steps[best]), float(losses[best]), int(steps[-1]), float(losses[-1]), pair)


def _losses(metrics: Sequence[MetricsLine], split: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps [N] and finite losses [N] of one split."""
    found = [line for line in metrics if line.split == split and math.isfinite(line.loss)]
    return np.array([line.step for line in found]), np.array([line.loss for line in found], np.float64)


def overfitting_note(result: Result, metrics: Sequence[MetricsLine]) -> str:
    """A note that a run overfits and what to do about it; "" if it does not overfit.

    Args:
      result: of the run.
      metrics: the lines of `metrics.jsonl`.
    """
    risen = overfitting(metrics)
    if risen is None:
        return ""
    before, after = risen.train_losses
    sentence = (
        f"The run overfits: from step {risen.best_step} to {risen.last_step} the validation loss rose from"
        f" {risen.best_loss:.3g} to {risen.last_loss:.3g}, while the training loss fell from {before:.3g} to"
        f" {after:.3g}."
    )
    if result.weights != "best":
        return f"{sentence} {_ADVICE}"
    steps, losses = _losses(metrics, "validation")
    tested = f"The best weights (step {result.best_step}) were evaluated"
    if losses[steps == result.best_step].mean() > (risen.best_loss + risen.last_loss) / 2:
        advice = "config.train.monitor=loss selects them by the loss"
        return f"{sentence} {tested}, which are from after most of that rise; {advice}."
    return f"{sentence} {tested}."

"""Metrics of a predictions file. Every accuracy that vidjax reports is computed here."""

import dataclasses
import hashlib
from collections.abc import Sequence

import numpy as np

from vidjax.evaluation.predictions import PredictionsFile
from vidjax.evaluation.result import Groups


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassAccuracies:
    """Accuracies that follow from the counts of each class: fractions, nan if there are no videos.

    Attributes:
      video_top1: accuracy over all videos.
      mean_class_accuracy: mean over the classes that have videos.
      per_class_videos, per_class_correct: ints [K].
    """

    video_top1: float
    mean_class_accuracy: float
    per_class_videos: list[int]
    per_class_correct: list[int]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Accuracies(ClassAccuracies):
    """Accuracies over clips and over the videos that could be read: fractions, nan if there are no videos.

    Attributes:
      videos, failed_videos: counts.
      clip_top1, clip_top5: accuracy over all views.
      video_top5: accuracy over videos, by their averaged scores (top 5 of at most K classes).
      groups: as in `group_counts`.
    """

    videos: int
    failed_videos: int
    clip_top1: float
    clip_top5: float
    video_top5: float
    groups: Groups


def rank(scores: np.ndarray, label: int) -> int:
    """Rank of the true label among the scores [K], 0 = highest; ties are ordered by class index."""
    higher = int((scores > scores[label]).sum())
    return higher + int((scores[:label] == scores[label]).sum())


def confusion_counts(labels: Sequence[int] | np.ndarray, predicted: Sequence[int] | np.ndarray, k: int) -> np.ndarray:
    """Counts videos by true class (row) and predicted class (column): int [K, K].

    Args:
      labels: int [N], true classes.
      predicted: int [N], predicted classes.
      k: number of classes.
    """
    counts = np.zeros((k, k), np.int64)
    np.add.at(counts, (np.asarray(labels, np.int64), np.asarray(predicted, np.int64)), 1)
    return counts


def confusion_matrix(predictions: PredictionsFile) -> np.ndarray:
    """Counts the videos of a predictions file by true class (row) and predicted class (column): int [K, K]."""
    labels, predicted = _labels_and_predicted(predictions)
    return confusion_counts(labels, predicted, len(predictions.classes))


def class_accuracy(correct: Sequence[int] | np.ndarray, videos: Sequence[int] | np.ndarray) -> np.ndarray:
    """Accuracy of each class, nan if it has no videos: counts [K], [K] -> float64 [K]."""
    right, total = np.asarray(correct, np.float64), np.asarray(videos, np.float64)
    return np.divide(right, total, out=np.full(len(total), np.nan), where=total > 0)


def from_counts(correct: Sequence[int] | np.ndarray, videos: Sequence[int] | np.ndarray) -> ClassAccuracies:
    """Computes accuracies from the counts of each class.

    Args:
      correct: int [K], correctly classified videos of each class.
      videos: int [K], videos of each class.
    """
    right, total = np.asarray(correct, np.int64), np.asarray(videos, np.int64)
    accuracies = class_accuracy(right, total)
    return ClassAccuracies(
        video_top1=float(right.sum() / total.sum()) if total.any() else float("nan"),
        mean_class_accuracy=_mean(accuracies[total > 0]),
        per_class_videos=total.tolist(),
        per_class_correct=right.tolist(),
    )


def group_counts(
    labels: Sequence[int] | np.ndarray, groups: Sequence[str], correct: Sequence[bool] | np.ndarray
) -> Groups:
    """Counts videos by (class, group): the clusters of `statistics.bootstrap_interval`.

    Args:
      labels: int [N].
      groups: N names; videos of the same group are near-duplicates.
      correct: bool [N].
    """
    counts: dict[tuple[int, str], list[int]] = {}
    for label, group, right in zip(labels, groups, correct, strict=True):
        count = counts.setdefault((int(label), group), [0, 0])
        count[0] += 1
        count[1] += bool(right)
    ordered = sorted(counts.items())
    return Groups(
        label=[label for (label, _), _ in ordered],
        videos=[videos for _, (videos, _) in ordered],
        correct=[right for _, (_, right) in ordered],
        digest=[hashlib.sha256("\0".join(group for (_, group), _ in ordered).encode()).hexdigest()[:12]],
    )


def compute_accuracies(predictions: PredictionsFile) -> Accuracies:
    """Accuracies over clips and over the videos that could be read."""
    videos = predictions.videos
    view_ranks = np.array([r for video in videos for r in video.view_ranks])
    video_ranks = np.array([rank(np.asarray(video.scores), video.label) for video in videos])
    matrix = confusion_matrix(predictions)
    labels, predicted = _labels_and_predicted(predictions)
    return Accuracies(
        videos=len(videos),
        failed_videos=len(predictions.failed),
        clip_top1=_mean(view_ranks == 0),
        clip_top5=_mean(view_ranks < 5),
        video_top5=_mean(video_ranks < 5),
        **vars(from_counts(matrix.diagonal(), matrix.sum(axis=1))),
        groups=group_counts(labels, [video.group for video in videos], labels == predicted),
    )


def _labels_and_predicted(predictions: PredictionsFile) -> tuple[np.ndarray, np.ndarray]:
    """True and predicted class of each video, ints [N]."""
    labels = np.array([video.label for video in predictions.videos], np.int64)
    return labels, np.array([video.predicted for video in predictions.videos], np.int64)


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values)) if len(values) else float("nan")

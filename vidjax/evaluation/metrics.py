"""Metrics of a predictions file; every accuracy that vidjax shows is computed here."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from vidjax.evaluation.predictions import rank


def confusion_matrix(predictions: Mapping[str, Any]) -> np.ndarray:
    """Counts videos by true class (row) and predicted class (column): int [K, K]."""
    classes = len(predictions["classes"])
    matrix = np.zeros((classes, classes), int)
    for video in predictions["videos"]:
        matrix[video["label"], int(np.argmax(video["scores"]))] += 1
    return matrix


def summarise(predictions: Mapping[str, Any]) -> dict[str, Any]:
    """Accuracies at both levels, over the videos that could be read.

    Args:
      predictions: the content of a predictions file.

    Returns:
      videos, failed_videos: counts.
      clip_top1, clip_top5: share of all views.
      video_top1, video_top5: share of videos, by their averaged scores (top 5 of at most K classes).
      mean_class_accuracy: mean over the classes that have videos.
      per_class_videos, per_class_correct: ints [K].
      Accuracies are fractions; nan where there is no video.
    """
    videos = predictions["videos"]
    view_ranks = np.array([r for video in videos for r in video["view_ranks"]])
    video_ranks = np.array([rank(np.asarray(video["scores"]), video["label"]) for video in videos])
    matrix = confusion_matrix(predictions)
    totals, correct = matrix.sum(axis=1), matrix.diagonal()
    present = totals > 0
    return {
        "videos": len(videos),
        "failed_videos": len(predictions["failed"]),
        "clip_top1": _share(view_ranks == 0),
        "clip_top5": _share(view_ranks < 5),
        "video_top1": _share(video_ranks == 0),
        "video_top5": _share(video_ranks < 5),
        "mean_class_accuracy": _share(correct[present] / totals[present]),
        "per_class_videos": totals.tolist(),
        "per_class_correct": correct.tolist(),
    }


def _share(values: np.ndarray) -> float:
    return float(np.mean(values)) if len(values) else float("nan")

"""Confidence intervals of accuracies."""

import math
from collections.abc import Sequence

import numpy as np

LEVEL = 0.95  # of every interval that vidjax reports
_CHUNK = 2_000_000  # resampled clusters held in memory at a time


def bootstrap_interval(
    correct: Sequence[float] | np.ndarray,
    videos: Sequence[int] | np.ndarray,
    *,
    resamples: int = 10_000,
    seed: int = 0,
    level: float = LEVEL,
) -> tuple[float, float]:
    """Percentile bootstrap interval of the accuracy over videos, resampling whole clusters of videos.

    Predictions for videos of one cluster, e.g. the clips cut from one video of UCF101, are correlated: treating them as
    independent would make the interval too narrow. So each resample draws G of the G clusters with replacement; its
    accuracy is the fraction of correct videos in all drawn clusters (a ratio of sums).

    If a system was trained with several seeds, pass the mean over seeds of each cluster's correct videos. The interval
    then reflects the choice of test videos, not of seeds; for the latter see the standard deviation over seeds.

    With few clusters (fewer than about 30) percentile intervals are somewhat too narrow.

    Args:
      correct: float [G], correctly classified videos of each cluster.
      videos: int [G], videos of each cluster, at least 1.
      resamples: number of resamples.
      seed: of the resampling.
      level: coverage of the interval.

    Returns:
      Lower and upper bound, fractions.

    Raises:
      ValueError: if there are no clusters, or the lengths differ.

    References:
      Efron and Tibshirani, An Introduction to the Bootstrap, 1993, section 13.3.
      Field and Welsh, Bootstrapping clustered data, J. R. Statist. Soc. B 69, 2007.
    """
    right, total = np.asarray(correct, np.float64), np.asarray(videos, np.float64)
    if not len(total) or right.shape != total.shape:
        raise ValueError(f"correct {right.shape} and videos {total.shape} must have the same length, at least 1")
    rng = np.random.default_rng(seed)
    chunk = max(1, _CHUNK // len(total))
    shares = []
    for start in range(0, resamples, chunk):
        drawn = rng.integers(len(total), size=(min(chunk, resamples - start), len(total)))
        shares.append(right[drawn].sum(axis=1) / total[drawn].sum(axis=1))
    low, high = np.quantile(np.concatenate(shares), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def wilson_interval(correct: int, videos: int) -> tuple[float, float]:
    """95% score interval of a proportion (Wilson, JASA 22, 1927).

    Args:
      correct: number of successes.
      videos: number of independent trials, at least 1.

    Returns:
      Lower and upper bound, fractions.
    """
    z = 1.959964
    share = correct / videos
    center = (share + z * z / (2 * videos)) / (1 + z * z / videos)
    half = z / (1 + z * z / videos) * math.sqrt(share * (1 - share) / videos + z * z / (4 * videos**2))
    return max(0.0, center - half), min(1.0, center + half)

"""How far an accuracy can be trusted: intervals."""

import math
from collections.abc import Sequence

import numpy as np

LEVEL = 0.95  # of every interval that vidjax shows
_CHUNK = 2_000_000  # resampled clusters held in memory at a time


def bootstrap_interval(
    correct: Sequence[float] | np.ndarray,
    videos: Sequence[int] | np.ndarray,
    *,
    resamples: int = 10_000,
    seed: int = 0,
    level: float = LEVEL,
) -> tuple[float, float]:
    """Percentile bootstrap interval of the accuracy over videos, with whole clusters of videos resampled.

    Videos of one cluster, e.g. the clips cut from one video of UCF101, are right or wrong together: to treat them as
    independent makes an interval too narrow. So G clusters are drawn out of G, with replacement, again and again; the
    accuracy of a draw is the share of correct videos in all of its clusters (a ratio of sums).

    Where a system was trained with several seeds, give the mean over seeds of each cluster's correct videos. The
    interval is then about which videos were tested, not about which seeds were used; mean ± standard deviation over
    seeds says the latter.

    With few clusters (below about 30) percentile intervals are somewhat too narrow.

    Args:
      correct: float [G], correctly classified videos of each cluster.
      videos: int [G], videos of each cluster, at least 1.
      resamples: draws.
      seed: of the draws.
      level: share of the draws that lies inside.

    Returns:
      Lower and upper bound, fractions.

    Raises:
      ValueError: if there is no cluster, or the lengths differ.

    References:
      Efron and Tibshirani, An Introduction to the Bootstrap, 1993, section 13.3.
      Field and Welsh, Bootstrapping clustered data, J. R. Statist. Soc. B 69, 2007.
    """
    right, total = np.asarray(correct, np.float64), np.asarray(videos, np.float64)
    if not len(total) or right.shape != total.shape:
        raise ValueError(f"correct {right.shape} and videos {total.shape} must be of one length, at least 1")
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
    centre = (share + z * z / (2 * videos)) / (1 + z * z / videos)
    half = z / (1 + z * z / videos) * math.sqrt(share * (1 - share) / videos + z * z / (4 * videos**2))
    return max(0.0, centre - half), min(1.0, centre + half)

"""The deletion score: how fast the probability of a class falls as the pixels that speak for it are taken away.

A map that shows what the network looks at has a small area under the curve. It must be seen beside a control, and that
is the same map at other places: pixels in random order would be worse to lose whatever the map is worth, since they
tear holes into everything at once.

References:
  Petsiuk et al. 2018, "RISE: Randomized Input Sampling for Explanation of Black-box Models", BMVC, section 4.2.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np


class Deletion(NamedTuple):
    """A curve of deletion.

    Attributes:
      shares: float [steps + 1], of the pixels that are deleted, 0 to 1.
      probabilities: float [steps + 1], of the class.
    """

    shares: np.ndarray
    probabilities: np.ndarray

    @property
    def area(self) -> float:
        """Under the curve, 0 to 1: the deletion score."""
        return float(np.trapezoid(self.probabilities, self.shares))


def deletions(
    clip: np.ndarray, maps: Sequence[np.ndarray], probability: Callable[[np.ndarray], float], steps: int = 8
) -> list[Deletion]:
    """Deletes the most important pixels of a clip first, in all of its frames, by each of several maps.

    Args:
      clip: float [T, H, W, C], normalized, so that 0 is the mean.
      maps: of importance, float [T, H, W].
      probability: clips [1, T, H, W, C] -> probability of the class.
      steps: how often pixels are deleted.
    """
    shares = np.linspace(0, 1, steps + 1)
    whole, blank = probability(clip[None]), probability(np.zeros_like(clip)[None])  # where all curves begin and end
    curves = []
    for importance in maps:
        order = np.argsort(-importance.reshape(-1), kind="stable")
        between = []
        for share in shares[1:-1]:
            left = np.ones(order.size, clip.dtype)
            left[order[: round(share * order.size)]] = 0
            between.append(probability((clip * left.reshape(*importance.shape, 1))[None]))
        curves.append(Deletion(shares, np.array([whole, *between, blank])))
    return curves


def moved(importance: np.ndarray, seed: int) -> np.ndarray:
    """A map [T, H, W] shifted cyclically in time, down and across, by a quarter to three quarters of each length."""
    rng = np.random.default_rng(seed)
    shifts = [int(rng.integers(length // 4, max(3 * length // 4, length // 4 + 1))) for length in importance.shape]
    return np.roll(importance, shifts, axis=(0, 1, 2))

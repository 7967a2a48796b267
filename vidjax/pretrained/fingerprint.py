"""Whether a network with published weights still gives what it gave: its largest logits for a generated clip."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vidjax.pretrained import Pretrained
from vidjax.pretrained.info import ExpectedInput

TOP = 5
_MAX_FRAMES = 16
_TOLERANCE = 0.01  # of the largest logit; a wrong value range, padding or epsilon changes more

Fingerprint = tuple[tuple[int, float], ...]


class Comparison(NamedTuple):
    """Of two fingerprints.

    Attributes:
      difference: the largest, between logits at the same rank.
      agree: whether labels are the same, and logits within rounding.
    """

    difference: float
    agree: bool


def clip(expected: ExpectedInput) -> np.ndarray:
    """A moving checkerboard over slopes of color, the same on every machine: uint8 [1, T, crop, crop, 3].

    T is at most 16.
    """
    frames = min(expected.frames, _MAX_FRAMES)
    t, y, x, channel = np.indices((frames, expected.crop, expected.crop, 3))
    checks = (x // 16 + y // 16 + t) % 2
    slopes = (y * (channel + 1) + x * (3 - channel)) // 3 + 5 * t
    return ((slopes + 80 * checks) % 256).astype(np.uint8)[None]


def record(network: Pretrained) -> Fingerprint:
    """The labels of the largest logits, averaged over positions, with these logits, highest first."""
    module, variables, info = network
    expected = info.preprocessing
    mean, std = (jnp.asarray(values, jnp.float32) for values in (expected.mean, expected.std))

    def forward(variables: dict, frames: jax.Array) -> jax.Array:
        with jax.default_matmul_precision("highest"):
            output = module.apply(variables, (frames.astype(jnp.float32) - mean) / std)
        logits: jax.Array = output.logits.mean(axis=(0, 1))  # type: ignore[union-attr]
        return logits

    logits = np.asarray(jax.jit(forward)(variables, clip(expected)))
    best = np.argsort(-logits, kind="stable")[:TOP]
    return tuple((int(label), float(logits[label])) for label in best)


def compare(expected: Fingerprint, found: Fingerprint) -> Comparison:
    """Whether two fingerprints are of the same network and weights."""
    difference = max(abs(a - b) for (_, a), (_, b) in zip(expected, found, strict=True))
    largest = max(1.0, *(abs(logit) for _, logit in expected))
    same = [label for label, _ in expected] == [label for label, _ in found]
    return Comparison(difference, same and difference <= _TOLERANCE * largest)

"""How scores are averaged: over the N positions of a model's output, and over the views of a video."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np


def probabilities(logits: jax.Array) -> jax.Array:
    """Softmax over the last axis, in at least float32."""
    return jax.nn.softmax(logits.astype(jnp.promote_types(logits.dtype, jnp.float32)), axis=-1)


def mean_probabilities(logits: jax.Array) -> jax.Array:
    """Softmax, then mean over N: logits [B, N, K] -> probabilities [B, K]."""
    return probabilities(logits).mean(axis=1)


def mean_logits(logits: jax.Array) -> jax.Array:
    """Mean over N: logits [B, N, K] -> logits [B, K]; the softmax is applied after the mean over views."""
    return logits.astype(jnp.promote_types(logits.dtype, jnp.float32)).mean(axis=1)


def mean_lengths(lengths: jax.Array) -> jax.Array:
    """Mean over N: non-negative capsule lengths or activations [B, N, K] -> [B, K]."""
    return lengths.astype(jnp.promote_types(lengths.dtype, jnp.float32)).mean(axis=1)


# Name of the averaging rule -> average over the N positions, computed on the device.
AVERAGES: dict[str, Callable[[jax.Array], jax.Array]] = {
    "probabilities": mean_probabilities,
    "logits": mean_logits,
    "lengths": mean_lengths,
}


def of_one_view(scores: jax.Array, average: str) -> jax.Array:
    """What `average_views` makes of videos with a single view, on the device.

    Args:
      scores: float [B, K]: probabilities, logits or lengths, by the averaging rule.
      average: a key of `AVERAGES`.

    Returns:
      float [B, K] of the same type, each row summing to 1.
    """
    if average == "logits":
        return jax.nn.softmax(scores, axis=-1)
    return scores / jnp.maximum(scores.sum(-1, keepdims=True), jnp.finfo(scores.dtype).tiny)


def average_views(scores: np.ndarray, average: str) -> np.ndarray:
    """Averages the scores of a video's views into probabilities.

    Args:
      scores: float [V, K]: probabilities, logits or lengths, by the averaging rule.
      average: a key of `AVERAGES`.

    Returns:
      float64 [K], summing to 1 (lengths are divided by their sum, which keeps their order).
    """
    mean = scores.astype(np.float64).mean(axis=0)
    if average == "logits":
        mean = np.exp(mean - mean.max())
    return mean / max(mean.sum(), np.finfo(np.float64).tiny)

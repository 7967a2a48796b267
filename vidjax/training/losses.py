"""Losses: functions of a model's `Output` and the labels, one number per example."""

import jax
import jax.numpy as jnp
import optax

from vidjax.models.output import Output


def cross_entropy(output: Output, label: jax.Array, *, label_smoothing: float = 0.0) -> jax.Array:
    """Softmax cross-entropy; each of the N positions is held to the label, then averaged.

    Args:
      output: logits float [B, N, K].
      label: int [B].
      label_smoothing: e; the target is 1 - e + e / K for the label and e / K elsewhere
        (Szegedy et al. 2016, section 7).

    Returns:
      float [B].
    """
    logits = output.logits.astype(jnp.promote_types(output.logits.dtype, jnp.float32))
    classes = logits.shape[-1]
    target = optax.smooth_labels(jax.nn.one_hot(label, classes, dtype=logits.dtype), label_smoothing)
    return optax.softmax_cross_entropy(logits, target[:, None, :]).mean(axis=1)


LOSSES = {"cross_entropy": cross_entropy}

"""Losses: functions of a model's `Output` and the labels, one number per example."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from vidjax.models.output import Output
from vidjax.preprocessing.mixing import MixedLabels
from vidjax.preprocessing.pipeline import Labels


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


def per_example(loss: Callable[[Output, jax.Array], jax.Array], output: Output, label: Labels) -> jax.Array:
    """A loss against labels that may be mixed: then the mean of the losses of both labels, weighted by their shares.

    Of the cross-entropy this is the cross-entropy against the mixed targets, since it is linear in them.

    Args:
      loss: takes labels int [B].
      output: of the model.
      label: int [B], or `MixedLabels`.

    Returns:
      float [B].
    """
    if not isinstance(label, MixedLabels):
        return loss(output, label)
    return label.weight * loss(output, label.label) + (1 - label.weight) * loss(output, label.partner)


def dominant_label(label: Labels) -> jax.Array:
    """The label that an accuracy is counted by, int [B]: of a mixed example, the one with the larger share."""
    return label.dominant if isinstance(label, MixedLabels) else label


LOSSES = {"cross_entropy": cross_entropy}

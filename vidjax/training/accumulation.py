"""Gradient accumulation over the microbatches of a batch."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from vidjax.data.records import Batch
from vidjax.training.state import Metrics, TrainState


def accumulate_gradients(
    gradients_of: Callable[[Any, Any, Batch], tuple[Any, Any, Metrics]],
    state: TrainState,
    batch: Batch,
    num_microbatches: int,
    group_size: int,
) -> tuple[Any, Any, Metrics]:
    """Mean gradient, final model state and summed metrics over the microbatches of a batch, computed in sequence.

    Each microbatch takes every `num_microbatches`-th run of `group_size` consecutive examples, so that its examples are
    the same on any number of devices.

    Args:
      gradients_of: (params, model state, batch) -> (mean gradient, new model state, metrics).
      state: the training state.
      batch: the whole batch.
      num_microbatches: 1: no accumulation.
      group_size: consecutive examples that must stay in one microbatch.
    """
    if num_microbatches == 1:
        return gradients_of(state.params, state.model_state, batch)

    def split(x: jax.Array) -> jax.Array:
        size, *rest = x.shape
        groups = x.reshape(size // (num_microbatches * group_size), num_microbatches, group_size, *rest)
        strided = jnp.moveaxis(groups, 1, 0)
        return strided.reshape(num_microbatches, size // num_microbatches, *rest)

    def add(carry: tuple[Any, Any], microbatch: Batch) -> tuple[tuple[Any, Any], Metrics]:
        total, model_state = carry
        gradients, model_state, metrics = gradients_of(state.params, model_state, microbatch)
        return (jax.tree.map(jnp.add, total, gradients), model_state), metrics

    split_batch = jax.tree.map(split, batch)
    first = jax.tree.map(lambda x: x[0], split_batch)
    _, changed, _ = jax.eval_shape(gradients_of, state.params, state.model_state, first)
    model_state = jax.tree.map(lambda x, like: x.astype(like.dtype), state.model_state, changed)
    start = (jax.tree.map(jnp.zeros_like, state.params), model_state)
    (total, model_state), metrics = jax.lax.scan(add, start, split_batch)
    gradients = jax.tree.map(lambda g: g / num_microbatches, total)
    return gradients, model_state, jax.tree.map(lambda m: m.sum(axis=0), metrics)

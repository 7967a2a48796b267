"""Gradient accumulation: a batch in microbatches, one after the other."""

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
    parts: int,
    unit: int,
) -> tuple[Any, Any, Metrics]:
    """Mean gradient, model state and summed metrics over the parts of a batch, one part at a time.

    Each part has every `parts`-th run of `unit` neighbours: the same examples, however many devices share the batch.
    """
    if parts == 1:
        return gradients_of(state.params, state.model_state, batch)

    def split(x: jax.Array) -> jax.Array:
        size, *rest = x.shape
        strided = jnp.moveaxis(x.reshape(size // (parts * unit), parts, unit, *rest), 1, 0)
        return strided.reshape(parts, size // parts, *rest)

    def add(carry: tuple[Any, Any], part: Batch) -> tuple[tuple[Any, Any], Metrics]:
        total, model_state = carry
        gradients, model_state, metrics = gradients_of(state.params, model_state, part)
        return (jax.tree.map(jnp.add, total, gradients), model_state), metrics

    split_batch = jax.tree.map(split, batch)
    first = jax.tree.map(lambda x: x[0], split_batch)
    _, changed, _ = jax.eval_shape(gradients_of, state.params, state.model_state, first)
    model_state = jax.tree.map(lambda x, like: x.astype(like.dtype), state.model_state, changed)
    start = (jax.tree.map(jnp.zeros_like, state.params), model_state)
    (total, model_state), metrics = jax.lax.scan(add, start, split_batch)
    return jax.tree.map(lambda g: g / parts, total), model_state, jax.tree.map(lambda m: m.sum(axis=0), metrics)

"""Precise batch normalization statistics, recomputed over many batches for the weights to be evaluated."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from vidjax.data.records import Batch
from vidjax.preprocessing.pipeline import Preprocessing
from vidjax.training import parameter_groups
from vidjax.training.state import TrainState
from vidjax.training.step import apply_training

# Of one batch, by module path: {"mean", "var"} of each normalization layer.
Moments = Mapping[str, Any]


def make_moments_step(
    model: nn.Module, preprocessing: Preprocessing, *, seed: int
) -> Callable[[TrainState, Batch], Moments]:
    """Builds (state, batch) -> moments of the batch at each normalization layer; the state is not changed.

    Args:
      model: with `layers.BatchNorm`.
      preprocessing: as in training.
      seed: as in training.
    """
    augmentation_key, dropout_key = jax.random.split(jax.random.key(seed))

    def moments_step(state: TrainState, batch: Batch) -> Moments:
        inputs, _ = preprocessing.training(batch, augmentation_key)
        variables = {"params": state.params, **state.model_state}
        collections = [*state.model_state, "batch_moments"]
        _, changed = apply_training(model, variables, inputs, batch.index, dropout_key, collections)
        return changed.get("batch_moments", {})

    return moments_step


def with_precise_stats(
    state: TrainState, batches: Sequence[Moments], frozen: parameter_groups.Frozen = parameter_groups.NOTHING
) -> TrainState:
    """The state with the mean of the batch means, and the variance over the examples of all batches.

    Args:
      state: its "batch_stats" are replaced.
      batches: of equal size.
      frozen: which parameters are not trained; their statistics are kept.

    Raises:
      ValueError: if a normalization layer of the model has no moments because it is not `vidjax.layers.BatchNorm`.

    References:
      Wu & Johnson 2021, "Rethinking 'Batch' in BatchNorm", section 3.1.
    """
    # In float64: the variance of means that are far from zero would lose digits.
    of_batches = jax.tree.map(lambda *values: np.stack(values).astype(np.float64), *batches)

    def replaced(stats: Any, moments: Any) -> Any:
        if not isinstance(stats, Mapping):
            raise ValueError("a model without normalization")
        if set(stats) == {"mean", "var"}:
            whole = {"mean": moments["mean"].mean(0), "var": moments["var"].mean(0) + moments["mean"].var(0)}
            return {name: value.astype(stats[name].dtype) for name, value in whole.items()}
        return {name: replaced(stats[name], moments.get(name, {})) for name in stats}

    try:
        stats = replaced(state.model_state["batch_stats"], of_batches)
    except (KeyError, ValueError) as error:
        raise ValueError("the model has batch statistics of other layers than vidjax.layers.BatchNorm") from error
    stats = parameter_groups.restore_frozen(frozen, state.params, state.model_state["batch_stats"], stats)
    return state.replace(model_state={**state.model_state, "batch_stats": stats})  # type: ignore[attr-defined]

"""The pure steps: `train_step(state, batch) -> (state, metrics)` and `eval_step(state, batch) -> predictions`."""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from vidjax.data.records import Batch
from vidjax.evaluation.scores import probabilities
from vidjax.models.output import Output
from vidjax.preprocessing.pipeline import Preprocessing
from vidjax.training.state import TrainState

Metrics = dict[str, tuple[jax.Array, jax.Array]]  # name -> (sum, count), divided once, at the end
LossFunction = Callable[[Output, jax.Array], jax.Array]
TrainStep = Callable[[TrainState, Batch], tuple[TrainState, Metrics]]
EvalStep = Callable[[TrainState, Batch], "Predictions"]


class Predictions(NamedTuple):
    """What an evaluation step gives, for the whole global batch.

    Attributes:
      scores: float [B, K], logits or probabilities as the averaging rule has them.
      loss: float [B].
      index: int32 [B], global view number.
      mask: bool [B], False for padding and for what could not be read.
    """

    scores: jax.Array
    loss: jax.Array
    index: jax.Array  # type: ignore[assignment]  # a tuple's method of that name is not wanted here
    mask: jax.Array


def make_train_step(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    loss: LossFunction,
    preprocessing: Preprocessing,
    *,
    seed: int,
    axis_name: str | None = None,
) -> TrainStep:
    """Builds the training step.

    Args:
      model: created with the same `axis_name`.
      optimizer: the optimizer.
      loss: per-example loss.
      preprocessing: what happens to a batch on the device.
      seed: keys augmentation and dropout, each folded with the global example number.
      axis_name: the device axis, where each device holds a part of the batch under `pmap`.
    """
    augmentation_key, dropout_key = jax.random.split(jax.random.key(seed))

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        inputs, label = preprocessing.training(batch, augmentation_key)

        def objective(params: Any) -> tuple[jax.Array, tuple[Output, Any, jax.Array]]:
            variables = {"params": params, **state.model_state}
            arguments = {**inputs, **_example_ids(model, batch.index), "train": True}
            output, model_state = _apply(
                model, variables, arguments, rngs={"dropout": dropout_key}, mutable=list(state.model_state)
            )
            losses = loss(output, label)
            return losses.mean(), (output, model_state, losses)

        gradients, (output, model_state, losses) = jax.grad(objective, has_aux=True)(state.params)
        if axis_name is not None:
            gradients = jax.lax.pmean(gradients, axis_name)
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        correct = probabilities(output.logits).mean(axis=1).argmax(axis=-1) == label
        metrics = {"loss": _sum_and_count(losses), "top1": _sum_and_count(correct)}
        if axis_name is not None:
            metrics = jax.lax.psum(metrics, axis_name)
        return TrainState(state.step + 1, params, model_state, opt_state), metrics

    return train_step


def make_eval_step(
    model: nn.Module,
    loss: LossFunction,
    preprocessing: Preprocessing,
    average: Callable[[jax.Array], jax.Array],
    *,
    axis_name: str | None = None,
) -> EvalStep:
    """Builds the evaluation step.

    Args:
      model: as in training.
      loss: as in training.
      preprocessing: as in training.
      average: logits [B, N, K] -> scores [B, K].
      axis_name: the device axis under `pmap`; the predictions of all devices are gathered.
    """

    def eval_step(state: TrainState, batch: Batch) -> Predictions:
        inputs = preprocessing.evaluation(batch)
        output = _apply(model, {"params": state.params, **state.model_state}, {**inputs, "train": False})
        predictions = Predictions(average(output.logits), loss(output, batch.label), batch.index, batch.mask)
        if axis_name is not None:
            predictions = jax.lax.all_gather(predictions, axis_name, tiled=True)
        return predictions

    return eval_step


def _apply(model: nn.Module, variables: Any, arguments: dict[str, Any], **options: Any) -> Any:
    """`model.apply` with the model's own arguments, by name, told apart from Flax's."""
    return model.apply(variables, **arguments, **options)


def _sum_and_count(values: jax.Array) -> tuple[jax.Array, jax.Array]:
    dtype = jnp.promote_types(values.dtype, jnp.float32)
    return values.sum(dtype=dtype), jnp.asarray(values.size, dtype)


def _example_ids(model: nn.Module, index: jax.Array) -> dict[str, jax.Array]:
    """The example numbers, for a model that draws at random per example."""
    takes = "example_ids" in inspect.signature(type(model).__call__).parameters
    return {"example_ids": index} if takes else {}

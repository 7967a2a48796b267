"""The pure steps: `train_step(state, batch) -> (state, metrics)` and `eval_step(state, batch) -> predictions`."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from vidjax.data.records import Batch
from vidjax.evaluation.scores import probabilities
from vidjax.models import calling
from vidjax.models.output import Output
from vidjax.preprocessing.pipeline import Preprocessing
from vidjax.training import frozen_norms, parameter_groups
from vidjax.training.accumulation import accumulate_gradients
from vidjax.training.losses import bind_step, dominant_label, per_example
from vidjax.training.state import Metrics, TrainState, Variables, update_ema

LossFunction = Callable[[Output, jax.Array], jax.Array]
TrainStep = Callable[[TrainState, Batch], tuple[TrainState, Metrics]]
EvalStep = Callable[[TrainState, Batch], Any]  # usually `StepScores`


class StepScores(NamedTuple):
    """Output of an evaluation step for the whole global batch.

    Attributes:
      scores: float [B, K], logits, probabilities or lengths, by the averaging rule.
      loss: float [B].
      index: int32 [B], global view number.
      mask: bool [B], False for padding and for videos that could not be read.
    """

    scores: jax.Array
    loss: jax.Array
    index: jax.Array  # type: ignore[assignment]  # hides the method of tuples
    mask: jax.Array


def make_train_step(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    loss: LossFunction,
    preprocessing: Preprocessing,
    *,
    seed: int,
    axis_name: str | None = None,
    num_microbatches: int = 1,
    freeze: parameter_groups.Frozen = parameter_groups.NOTHING,
    use_frozen_statistics: bool = False,
    ema_decay: float | None = None,
) -> TrainStep:
    """Builds the training step.

    Args:
      model: created with the same `axis_name`.
      optimizer: created with the same `freeze`.
      loss: per-example loss; one that takes `step` is given the training steps before this one.
      preprocessing: applied to each batch on the device.
      seed: of the random keys of augmentation and dropout, which are folded with the global example number.
      axis_name: the mapped axis under `pmap`, where each device holds a part of the batch.
      num_microbatches: of gradient accumulation, to save memory; the gradient is that of the whole batch, but batch
        normalization sees one microbatch at a time.
      freeze: which parameters are not trained.
      use_frozen_statistics: whether frozen batch normalization uses its running statistics in training, too.
      ema_decay: of the averaged weights, if the state has them.
    """
    augmentation_key, dropout_key = jax.random.split(jax.random.key(seed))
    evaluated = freeze if use_frozen_statistics else parameter_groups.NOTHING

    # The scopes are those that `operation_kinds` knows: `python -m vidjax benchmark` tells the time in each.
    def gradients_of(step: jax.Array, params: Any, model_state: Any, batch: Batch) -> tuple[Any, Any, Metrics]:
        with jax.named_scope("preprocessing"):
            inputs, label = preprocessing.training(batch, augmentation_key)

        def objective(params: Any) -> tuple[jax.Array, tuple[Output, Any, jax.Array]]:
            variables = {"params": params, **model_state}
            output, changed = apply_training(
                model, variables, inputs, batch.index, dropout_key, list(model_state), evaluated
            )
            with jax.named_scope("loss"):
                losses = per_example(bind_step(loss, step), output, label)
                return losses.mean(), (output, changed, losses)

        gradients, (output, changed, losses) = jax.grad(objective, has_aux=True)(params)
        with jax.named_scope("loss"):
            correct = probabilities(output.logits).mean(axis=1).argmax(axis=-1) == dominant_label(label)
            return gradients, changed, {"loss": _sum_and_count(losses), "top1": _sum_and_count(correct)}

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        group_size = 2 if preprocessing.mixing.active else 1  # mixing pairs neighbors
        gradients, model_state, metrics = accumulate_gradients(
            functools.partial(gradients_of, state.step), state, batch, num_microbatches, group_size
        )
        if axis_name is not None:
            gradients = jax.lax.pmean(gradients, axis_name)
            metrics = jax.lax.psum(metrics, axis_name)
        with jax.named_scope("optimizer"):
            updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
            if state.plateau is not None:
                updates = jax.tree.map(lambda update: state.plateau.scale * update, updates)
            params = optax.apply_updates(state.params, updates)
        # Computed from arrays that the step stores anyway: reading the updates would split a loop that XLA fuses.
        with jax.named_scope("norms"):
            norms = {
                "gradient_norm": parameter_groups.global_norm(gradients, freeze),
                "update_norm": parameter_groups.global_norm(jax.tree.map(jnp.subtract, params, state.params), freeze),
                "parameter_norm": parameter_groups.global_norm(params, freeze),
            }
        for name in state.model_state:
            kept = parameter_groups.restore_frozen(freeze, state.params, state.model_state[name], model_state[name])
            model_state = {**model_state, name: kept}
        metrics |= {name: (norm, jnp.ones_like(norm)) for name, norm in norms.items()}  # one value for the whole step
        step, average = state.step + 1, state.ema
        if average is not None and ema_decay is not None:
            with jax.named_scope("average"):
                average = update_ema(average, Variables(params, model_state), step, ema_decay)
        return TrainState(step, params, model_state, opt_state, average, state.plateau), metrics

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

    def eval_step(state: TrainState, batch: Batch) -> StepScores:
        inputs = preprocessing.evaluation(batch)
        output = calling.apply(model, {"params": state.params, **state.model_state}, {**inputs, "train": False})
        predictions = StepScores(
            average(output.logits), bind_step(loss, state.step)(output, batch.label), batch.index, batch.mask
        )
        if axis_name is not None:
            predictions = jax.lax.all_gather(predictions, axis_name, tiled=True)
        return predictions

    return eval_step


def apply_training(
    model: nn.Module,
    variables: Any,
    inputs: dict[str, jax.Array],
    index: jax.Array,
    key: jax.Array,
    mutable: list[str],
    evaluated: parameter_groups.Frozen = parameter_groups.NOTHING,
) -> tuple[Output, Any]:
    """Applies a model in training mode.

    Args:
      model: the model.
      variables: its parameters and other collections.
      inputs: by name, with their masks.
      index: the global example numbers.
      key: of dropout.
      mutable: collections that are updated.
      evaluated: the parameters whose batch normalization behaves as in evaluation.

    Returns:
      Its output, and the updated collections.
    """
    arguments = {**inputs, "example_ids": index, "train": True}
    with frozen_norms.frozen_normalization(evaluated):
        output, changed = calling.apply(model, variables, arguments, rngs={"dropout": key}, mutable=mutable)
    return output, changed


def _sum_and_count(values: jax.Array) -> tuple[jax.Array, jax.Array]:
    dtype = jnp.promote_types(values.dtype, jnp.float32)
    return values.sum(dtype=dtype), jnp.asarray(values.size, dtype)

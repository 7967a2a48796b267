"""The state of a training run: all that a step changes."""

import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import optax
from flax.errors import LazyInitError

from vidjax.layers.convolution import native_operations
from vidjax.training.compiler_options import accepted_options

# Name, of `metrics_line.STEP_METRICS` -> (sum, count), divided once, at the end.
Metrics = dict[str, tuple[jax.Array, jax.Array]]


@flax.struct.dataclass
class Variables:
    """What an evaluation needs.

    Attributes:
      params: trainable parameters.
      model_state: other variables of the model, by collection ("batch_stats").
    """

    params: Any
    model_state: Any


@flax.struct.dataclass
class TrainState:
    """What a checkpoint holds.

    Random numbers are functions of (seed, example number), so no generator state is kept.

    Attributes:
      step: int32 [], steps done.
      params: trainable parameters.
      model_state: other variables of the model, by collection ("batch_stats").
      opt_state: of the optimizer.
      ema: averaged `Variables`; None where they are not kept.
      plateau: state of `schedules.Plateau.controller`, whose `scale` multiplies the rate; None for other schedules.
    """

    step: jax.Array
    params: Any
    model_state: Any
    opt_state: Any
    ema: Variables | None = None
    plateau: Any = None

    @property
    def weights(self) -> Variables:
        """Those of the last step."""
        return Variables(self.params, self.model_state)

    def with_weights(self, weights: Variables) -> "TrainState":
        """The same state, evaluated with other weights."""
        return self.replace(params=weights.params, model_state=weights.model_state)  # type: ignore[attr-defined]


def make_init(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    inputs: dict[str, jax.ShapeDtypeStruct],
    seed: int,
    *,
    ema: bool = False,
    plateau: optax.GradientTransformation | None = None,
) -> Callable[[], TrainState]:
    """Builds the function that initialises parameters and optimizer from the seed, compiled.

    Args:
      model: the model.
      optimizer: the optimizer.
      inputs: shape and dtype of each modality as the model sees it, batch dimension included.
      seed: of the parameters.
      ema: keep averaged weights, too.
      plateau: what lowers the rate after validations.
    """

    def initial_state() -> TrainState:
        variables = dict(_initial_variables(model, inputs, seed))
        params = variables.pop("params", {})
        # A copy, since a step may reuse the memory of its arguments once.
        average = jax.tree.map(jnp.copy, Variables(params, variables)) if ema else None
        controller = plateau.init(params) if plateau is not None else None
        return TrainState(jnp.zeros((), jnp.int32), params, variables, optimizer.init(params), average, controller)

    # For a CPU, XLA optimises the draws of the parameters for up to a second each, though they are made only once: at
    # its first level they compile seven times faster, to the same numbers.
    options = accepted_options({"xla_backend_optimization_level": 1}) if jax.default_backend() == "cpu" else None
    return jax.jit(initial_state, compiler_options=options)


def _initial_variables(model: nn.Module, inputs: dict[str, jax.ShapeDtypeStruct], seed: int) -> Any:
    arguments: Any = inputs
    try:
        with native_operations():  # which are traced fastest; none of them is computed
            return model.lazy_init(jax.random.key(seed), **arguments)
    except LazyInitError:  # a model whose variables depend on the values of its input
        zeros: Any = {name: jnp.zeros(spec.shape, spec.dtype) for name, spec in inputs.items()}
        return model.init(jax.random.key(seed), **zeros)


def update_ema(average: Variables, weights: Variables, step: jax.Array, decay: float) -> Variables:
    """The exponential moving average of the weights after each step so far.

    After step t it is sum_i decay^(t - i) * w_i / sum_i decay^(t - i), i = 1..t: the weights of the sum are
    normalised as Adam does, so that a short run is not held at its random start. Batch statistics are averaged
    like parameters.

    Args:
      average: after step t - 1.
      weights: w_t.
      step: t, int32 [], from 1 on.
      decay: above 0 and below 1.
    """
    share = (1 - decay) / -jnp.expm1(step.astype(float) * math.log(decay))

    def move(old: jax.Array, new: jax.Array) -> jax.Array:
        if not jnp.issubdtype(new.dtype, jnp.floating):
            return new
        return old + (share * (new - old)).astype(old.dtype)

    return jax.tree.map(move, average, weights)


def validated(state: TrainState) -> TrainState:
    """The state with the weights that validation scores: the averaged ones where they are kept."""
    return state.with_weights(state.ema) if state.ema is not None else state

"""The training state: everything that a step changes."""

import math
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import optax
from flax.errors import LazyInitError

from vidjax.layers.convolution import native_operations
from vidjax.training.initial_values import Initialization

# Name (a key of `metrics_line.STEP_METRICS`) -> (sum, count), divided only when a log window ends.
Metrics = dict[str, tuple[jax.Array, jax.Array]]


@flax.struct.dataclass
class Variables:
    """The variables of a model, as an evaluation needs them.

    Attributes:
      params: trainable parameters.
      model_state: other variables of the model, by collection ("batch_stats").
    """

    params: Any
    model_state: Any


@flax.struct.dataclass
class TrainState:
    """The state that checkpoints store.

    Random numbers are functions of (seed, example number), so there is no generator state.

    Attributes:
      step: int32 [], steps done so far.
      params: trainable parameters.
      model_state: other variables of the model, by collection ("batch_stats").
      opt_state: of the optimizer.
      ema: averaged `Variables`; None without EMA.
      plateau: state of `schedules.Plateau.controller`, whose `scale` multiplies the learning rate; None for other
        schedules.
    """

    step: jax.Array
    params: Any
    model_state: Any
    opt_state: Any
    ema: Variables | None = None
    plateau: Any = None

    @property
    def weights(self) -> Variables:
        """The weights after the last step."""
        return Variables(self.params, self.model_state)

    def with_weights(self, weights: Variables) -> "TrainState":
        """The same state with other weights."""
        return self.replace(params=weights.params, model_state=weights.model_state)  # type: ignore[attr-defined]


def make_init(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    inputs: dict[str, jax.ShapeDtypeStruct],
    seed: int,
    *,
    ema: bool = False,
    plateau: optax.GradientTransformation | None = None,
) -> Initialization[TrainState]:
    """How parameters and optimizer state are initialized from the seed.

    Args:
      model: the model.
      optimizer: the optimizer.
      inputs: shape and dtype of each input as the model sees it, including the batch dimension.
      seed: of the parameters.
      ema: whether the state has averaged weights.
      plateau: controller that lowers the learning rate after validations.
    """

    def initial_state() -> TrainState:
        variables = dict(initial_variables(model, inputs, seed))
        params = variables.pop("params", {})
        # A copy: a step donates the buffers of its state, each only once.
        average = jax.tree.map(jnp.copy, Variables(params, variables)) if ema else None
        controller = plateau.init(params) if plateau is not None else None
        return TrainState(jnp.zeros((), jnp.int32), params, variables, optimizer.init(params), average, controller)

    return Initialization(initial_state)


def initial_variables(model: nn.Module, inputs: dict[str, jax.ShapeDtypeStruct], seed: int) -> Any:
    """The variables that a model draws from a seed for inputs of these shapes and dtypes."""
    arguments: Any = inputs
    try:
        with native_operations():  # the fastest to trace; none of them is executed
            return model.lazy_init(jax.random.key(seed), **arguments)
    except LazyInitError:  # the variables depend on the values of the input
        zeros: Any = {name: jnp.zeros(spec.shape, spec.dtype) for name, spec in inputs.items()}
        return model.init(jax.random.key(seed), **zeros)


def update_ema(average: Variables, weights: Variables, step: jax.Array, decay: float) -> Variables:
    """Updates the exponential moving average of the weights.

    After step t it is sum_i decay^(t - i) * w_i / sum_i decay^(t - i), i = 1..t: bias-corrected as in Adam, so that
    short runs are not pulled towards their random initialization. Batch statistics are averaged like parameters.

    Args:
      average: after step t - 1.
      weights: w_t.
      step: t, int32 [], from 1 on.
      decay: in (0, 1).
    """
    share = (1 - decay) / -jnp.expm1(step.astype(float) * math.log(decay))

    def move(old: jax.Array, new: jax.Array) -> jax.Array:
        if not jnp.issubdtype(new.dtype, jnp.floating):
            return new
        return old + (share * (new - old)).astype(old.dtype)

    return jax.tree.map(move, average, weights)


def validated(state: TrainState) -> TrainState:
    """The state with the weights that validation uses: the averaged ones if there are any."""
    return state.with_weights(state.ema) if state.ema is not None else state

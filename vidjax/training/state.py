"""The state of a training run: all that a step changes."""

from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import optax


@flax.struct.dataclass
class TrainState:
    """What a checkpoint holds.

    Random numbers are functions of (seed, example number), so no generator state is kept.

    Attributes:
      step: int32 [], steps done.
      params: trainable parameters.
      model_state: other variables of the model, by collection ("batch_stats").
      opt_state: of the optimizer.
    """

    step: jax.Array
    params: Any
    model_state: Any
    opt_state: Any


def init_state(
    model: nn.Module, optimizer: optax.GradientTransformation, inputs: dict[str, jax.ShapeDtypeStruct], seed: int
) -> TrainState:
    """Initialises parameters and optimizer from the seed.

    Args:
      model: the model.
      optimizer: the optimizer.
      inputs: shape and dtype of each modality as the model sees it, batch dimension included.
      seed: of the parameters.
    """

    def build() -> TrainState:
        zeros: Any = {name: jnp.zeros(spec.shape, spec.dtype) for name, spec in inputs.items()}
        variables = dict(model.init(jax.random.key(seed), **zeros))
        params = variables.pop("params", {})
        return TrainState(jnp.zeros((), jnp.int32), params, variables, optimizer.init(params))

    return jax.jit(build)()

"""Training steps in JAX, with vidjax's layers or with XLA's native operations."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from benchmarks import networks
from benchmarks.mobilenet import MobileNetV2
from benchmarks.networks import CLASSES, Network
from vidjax.layers.convolution import native_operations
from vidjax.layers.recurrent import LSTM
from vidjax.models import create
from vidjax.models.output import Output
from vidjax.training.compiler_options import CPU_OPTIONS, accepted_options
from vidjax.training.initial_values import Initialization


class LSTMClassifier(nn.Module):
    """An LSTM layer and a classifier of its last state.

    Attributes:
      features: hidden units.
      native: whether to use flax's layer.
    """

    features: int
    native: bool

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> Output:
        """Maps float [B, T, D] to logits [B, 1, K]."""
        layer: Any = nn.RNN(nn.OptimizedLSTMCell(self.features)) if self.native else LSTM(self.features, name="lstm")
        return Output(nn.Dense(CLASSES, name="classes")(layer(x)[:, -1:]))


def build(network: Network, native: bool) -> nn.Module:
    """The network, without dropout."""
    match network.name:
        case "early_fusion":
            options: dict[str, Any] = {"normalization": "batch", "width_multiplier": network.width, "dropout": 0.0}
            return create(network.name, CLASSES, **options)
        case "mobilenet_v2":
            return MobileNetV2(CLASSES)
        case "lstm":
            return LSTMClassifier(round(network.width), native)
    return create(network.name, CLASSES, dropout=0.0)


def prepare(network: Network, native: bool, variables: Any = None) -> Callable[[], float]:
    """Builds a training step.

    Args:
      network: the network.
      native: whether to use XLA's native operations and flax's LSTM.
      variables: initial variables; random by default.

    Returns:
      A function that takes one step on the network's batch, waits for it and returns the loss before the step; compiled
      on its first call.
    """
    model, optimizer = build(network, native), optax.sgd(networks.LEARNING_RATE, networks.MOMENTUM)
    clip, label = (jnp.asarray(array) for array in networks.batch(network))

    def start() -> tuple[Any, Any, Any]:
        with native_operations():
            model_state = dict(variables or model.lazy_init(jax.random.key(0), jax.eval_shape(lambda: clip)))
        params = model_state.pop("params")
        return params, model_state, optimizer.init(params)

    def step(state: tuple[Any, Any, Any], clip: jax.Array, label: jax.Array) -> tuple[Any, jax.Array]:
        params, model_state, opt_state = state

        def objective(params: Any) -> tuple[jax.Array, Any]:
            output, changed = model.apply(
                {"params": params, **model_state}, clip, train=True, mutable=list(model_state)
            )
            logits = output.logits.mean(axis=1)
            return optax.softmax_cross_entropy_with_integer_labels(logits, label).mean(), changed

        with native_operations(native):
            (loss, model_state), gradients = jax.value_and_grad(objective, has_aux=True)(params)
        updates, opt_state = optimizer.update(gradients, opt_state, params)
        return (optax.apply_updates(params, updates), model_state, opt_state), loss

    # Both initialize as training does; the native step is compiled with XLA's default options.
    state = Initialization(start)()
    compiled = jax.jit(step, donate_argnums=0, compiler_options=None if native else accepted_options(CPU_OPTIONS))

    def take() -> float:
        nonlocal state
        state, loss = jax.block_until_ready(compiled(state, clip, label))
        return float(loss)

    return take

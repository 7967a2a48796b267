"""What the optimizers share: how a direction becomes a step, and what Optax does not have."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from optax import GradientTransformation as Optimizer
from optax import ScalarOrSchedule as Rate


def chain_update(direction: Optimizer, rate: Rate, l2: float, weight_decay: float, decay_all: bool) -> Optimizer:
    """The step -rate * d(g + l2 * w) - rate * weight_decay * w of a direction d.

    Args:
      direction: d.
      rate: a number or a schedule.
      l2: coupled decay.
      weight_decay: decoupled decay.
      decay_all: decays biases and the scales of normalisations, too.
    """
    parts = []
    if l2:
        parts.append(add_decay(l2, decay_all))
    parts.append(direction)
    if weight_decay:
        parts.append(add_decay(weight_decay, decay_all))
    parts.append(optax.scale_by_learning_rate(rate))
    return optax.chain(*parts)


def add_decay(strength: float, decay_all: bool) -> Optimizer:
    """Adds strength * w to the update of each kernel; of every parameter where `decay_all` is set."""
    return optax.add_decayed_weights(strength, None if decay_all else _is_kernel)


def _is_kernel(params: Any) -> Any:
    """True for kernels and matrices; biases and the scales of normalisations are vectors."""
    return jax.tree.map(lambda p: p.ndim > 1, params)


def label_kernels(params: Any) -> Any:
    """Labels for `optax.partition`: "kernel" for kernels and matrices, else "rest"."""
    return jax.tree.map(lambda kernel: "kernel" if kernel else "rest", _is_kernel(params))


def as_matrices(params: Any) -> Any:
    """How Muon reads each parameter as a matrix [inputs, outputs]; None for what has one axis."""

    def dimensions(p: jax.Array) -> optax.contrib.MuonDimensionNumbers | None:
        return optax.contrib.MuonDimensionNumbers(tuple(range(p.ndim - 1)), p.ndim - 1) if p.ndim > 1 else None

    return jax.tree.map(dimensions, params)


class _AdagradState(NamedTuple):
    """Sum of the squared gradients so far."""

    total: Any


def scale_by_adagrad(eps: float, initial: float) -> Optimizer:
    """Adagrad's direction g / (sqrt(s) + eps): Optax has eps inside the root.

    Args:
      eps: against division by zero.
      initial: s at the start.
    """

    def init(params: Any) -> _AdagradState:
        return _AdagradState(jax.tree.map(lambda p: jnp.full_like(p, initial), params))

    def update(updates: Any, state: _AdagradState, params: Any = None) -> tuple[Any, _AdagradState]:
        del params
        total = jax.tree.map(lambda s, g: s + g * g, state.total, updates)
        return jax.tree.map(lambda g, s: g / (jnp.sqrt(s) + eps), updates, total), _AdagradState(total)

    return Optimizer(init, update)


class _CenteredRMSState(NamedTuple):
    """Running means of the gradient and of its square."""

    mean: Any
    square: Any


def scale_by_centered_rms(decay: float, eps: float) -> Optimizer:
    """The direction g / (sqrt(n - m^2) + eps) of centered RMSprop; n and m are running means of g^2 and g.

    Under a steady gradient n - m^2 rounds to less than 0, whose root Optax takes.

    Args:
      decay: of both means.
      eps: against division by zero.
    """

    def init(params: Any) -> _CenteredRMSState:
        zeros = jax.tree.map(jnp.zeros_like, params)
        return _CenteredRMSState(zeros, zeros)

    def update(updates: Any, state: _CenteredRMSState, params: Any = None) -> tuple[Any, _CenteredRMSState]:
        del params
        mean = jax.tree.map(lambda m, g: decay * m + (1 - decay) * g, state.mean, updates)
        square = jax.tree.map(lambda n, g: decay * n + (1 - decay) * g * g, state.square, updates)

        def direction(g: jax.Array, m: jax.Array, n: jax.Array) -> jax.Array:
            return g / (jnp.sqrt(jnp.maximum(n - m * m, 0)) + eps)

        return jax.tree.map(direction, updates, mean, square), _CenteredRMSState(mean, square)

    return Optimizer(init, update)

"""Building blocks of the optimizers: weight decay, and transformations that Optax lacks."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from optax import GradientTransformation as Optimizer
from optax import ScalarOrSchedule as Rate


def chain_update(direction: Optimizer, rate: Rate, l2: float, weight_decay: float, decay_all: bool) -> Optimizer:
    """The update -rate * d(g + l2 * w) - rate * weight_decay * w of a direction d.

    Args:
      direction: d.
      rate: a number or a schedule.
      l2: coupled weight decay.
      weight_decay: decoupled weight decay.
      decay_all: also decay biases and normalization scales.
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
    """Adds strength * w to the update of each kernel, or of every parameter if `decay_all` is set."""
    return optax.add_decayed_weights(strength, None if decay_all else _is_kernel)


def _is_kernel(params: Any) -> Any:
    """True for kernels and matrices; biases and normalization scales are vectors."""
    return jax.tree.map(lambda p: p.ndim > 1, params)


def label_kernels(params: Any) -> Any:
    """Labels for `optax.partition`: "kernel" for kernels and matrices, else "rest"."""
    return jax.tree.map(lambda kernel: "kernel" if kernel else "rest", _is_kernel(params))


def as_matrices(params: Any) -> Any:
    """How Muon reads each parameter as a matrix [inputs, outputs]; None for parameters with one axis."""

    def dimensions(p: jax.Array) -> optax.contrib.MuonDimensionNumbers | None:
        return optax.contrib.MuonDimensionNumbers(tuple(range(p.ndim - 1)), p.ndim - 1) if p.ndim > 1 else None

    return jax.tree.map(dimensions, params)


class _AdagradState(NamedTuple):
    """Sum of the squared gradients so far."""

    total: Any


def scale_by_adagrad(eps: float, initial: float) -> Optimizer:
    """Adagrad's direction g / (sqrt(s) + eps), whereas Optax has eps inside the root.

    Args:
      eps: avoids division by zero.
      initial: initial s.
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

    With constant gradients n - m^2 may round to a negative number, whose root Optax takes.

    Args:
      decay: of both means.
      eps: avoids division by zero.
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

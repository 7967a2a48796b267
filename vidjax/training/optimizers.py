"""Optimizers, by name, with every keyword declared.

Two things are called weight decay. `l2` is coupled: l2 * w is added to the gradient before the
optimizer sees it, so momentum and adaptive scaling act on it too (the "weight decay" of Karpathy 2014
and of most papers with SGD). `weight_decay` is decoupled: learning rate * weight_decay * w is taken off
the parameter beside the optimizer's own step (Loshchilov & Hutter 2019). Neither touches biases and the
scales of normalisations unless `decay_all` is set.
"""

from collections.abc import Callable
from typing import Any

import jax
import optax

from vidjax import options as _options
from vidjax.errors import ConfigError


def sgd(
    learning_rate: optax.ScalarOrSchedule, *, l2: float = 0.0, weight_decay: float = 0.0, decay_all: bool = False
) -> optax.GradientTransformation:
    """Plain stochastic gradient descent."""
    return _assemble(optax.identity(), learning_rate, l2, weight_decay, decay_all)


def momentum(
    learning_rate: optax.ScalarOrSchedule,
    *,
    momentum: float = 0.9,
    nesterov: bool = False,
    l2: float = 0.0,
    weight_decay: float = 0.0,
    decay_all: bool = False,
) -> optax.GradientTransformation:
    """SGD with (heavy-ball or Nesterov) momentum: v = momentum * v + g; w -= rate * v."""
    return _assemble(optax.trace(momentum, nesterov), learning_rate, l2, weight_decay, decay_all)


def adam(
    learning_rate: optax.ScalarOrSchedule,
    *,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    l2: float = 0.0,
    decay_all: bool = False,
) -> optax.GradientTransformation:
    """Adam (Kingma & Ba 2015), with coupled L2 by option."""
    return _assemble(optax.scale_by_adam(b1, b2, eps), learning_rate, l2, 0.0, decay_all)


def adamw(
    learning_rate: optax.ScalarOrSchedule,
    *,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 1e-2,
    decay_all: bool = False,
) -> optax.GradientTransformation:
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019). The default is PyTorch's; Optax has 1e-4."""
    return _assemble(optax.scale_by_adam(b1, b2, eps), learning_rate, 0.0, weight_decay, decay_all)


OPTIMIZERS: dict[str, Callable[..., optax.GradientTransformation]] = {
    "sgd": sgd,
    "momentum": momentum,
    "adam": adam,
    "adamw": adamw,
}


def create(
    name: str, learning_rate: optax.ScalarOrSchedule, *, clip_norm: float | None = None, **options: Any
) -> optax.GradientTransformation:
    """Builds the optimizer `name`.

    Args:
      name: a key of `OPTIMIZERS`.
      learning_rate: a number or a schedule.
      clip_norm: gradients of a larger global L2 norm are scaled down to it, before anything else.
      **options: what the optimizer takes; one that is None takes the optimizer's default.

    Raises:
      ConfigError: for an unknown name or an option that the optimizer does not take.
    """
    if clip_norm is not None and clip_norm <= 0:
        raise ConfigError(f"optimizer.clip_norm={clip_norm}: give a number above 0, or none")
    optimizer = _options.build("optimizer", OPTIMIZERS, name, learning_rate, options=options)
    return optax.chain(optax.clip_by_global_norm(clip_norm), optimizer) if clip_norm else optimizer


def _assemble(
    direction: optax.GradientTransformation,
    learning_rate: optax.ScalarOrSchedule,
    l2: float,
    weight_decay: float,
    decay_all: bool,
) -> optax.GradientTransformation:
    mask = None if decay_all else _is_kernel
    parts = []
    if l2:
        parts.append(optax.add_decayed_weights(l2, mask))
    parts.append(direction)
    if weight_decay:
        parts.append(optax.add_decayed_weights(weight_decay, mask))
    parts.append(optax.scale_by_learning_rate(learning_rate))
    return optax.chain(*parts)


def _is_kernel(params: Any) -> Any:
    """True for kernels and matrices; biases and the scales of normalisations are vectors."""
    return jax.tree.map(lambda p: p.ndim > 1, params)

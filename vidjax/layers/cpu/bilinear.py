"""Custom gradients for functions that are linear in an input and in a kernel."""

import functools
from collections.abc import Callable
from typing import Any

import jax
from jax.custom_derivatives import SymbolicZero
from jax.tree_util import Partial

Gradient = Callable[[Any, tuple[int, ...], jax.Array, jax.Array], jax.Array]


def custom_bilinear(of_input: Gradient, of_kernel: Gradient) -> Callable[[Callable], Callable]:
    """Decorator that gives function(geometry, x, kernel) custom gradients, which are only traced if they are needed.

    Args:
      of_input: (geometry, shape of x, kernel, gradient of the output) -> gradient of x.
      of_kernel: (geometry, shape of the kernel, x, gradient of the output) -> gradient of the kernel.
    """

    def decorate(function: Callable[[Any, jax.Array, jax.Array], jax.Array]) -> Callable:
        differentiable = jax.custom_vjp(function, nondiff_argnums=(0,))

        def forward(geometry: Any, x: Any, kernel: Any) -> tuple[jax.Array, tuple]:
            gradients = (
                Partial(functools.partial(of_input, geometry, x.value.shape), kernel.value) if x.perturbed else None,
                Partial(functools.partial(of_kernel, geometry, kernel.value.shape), x.value)
                if kernel.perturbed
                else None,
            )
            return differentiable(geometry, x.value, kernel.value), gradients

        def backward(geometry: Any, gradients: tuple, gradient: Any) -> tuple:
            if isinstance(gradient, SymbolicZero):
                return None, None
            return tuple(None if of_one is None else of_one(gradient) for of_one in gradients)

        differentiable.defvjp(forward, backward, symbolic_zeros=True)
        return differentiable

    return decorate

"""Max pooling by slices: XLA's windowed reductions are slow on CPUs, and their gradients even slower."""

import functools

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Float

from vidjax.layers.shapes import Array

Pairs = tuple[tuple[int, int], ...]


def max_pool(
    x: Float[Array, "n *spatial channels"], window: tuple[int, ...], strides: tuple[int, ...], padding: Pairs
) -> Float[Array, "n *out_spatial channels"]:
    """Max pooling, one axis at a time; among equal values, the first one gets the gradient.

    Differentiable in reverse mode only; windows that contain NaN have no gradient.

    Args:
      x: float [N, *spatial, C].
      window: extent along each spatial axis.
      strides: between windows.
      padding: (before, after) for each spatial axis, not negative.

    Returns:
      float [N, *spatial', C].
    """
    # From the last axis on: among equal values the first one in memory order wins, as in XLA's own operation.
    for axis in reversed(range(len(window))):
        if window[axis] > 1 or strides[axis] > 1 or any(padding[axis]):
            x = _max_along(axis + 1, window[axis], strides[axis], padding[axis], x)
    return x


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2, 3))
def _max_along(axis: int, extent: int, stride: int, padding: tuple[int, int], x: jax.Array) -> jax.Array:
    return functools.reduce(jnp.maximum, _slices(axis, extent, stride, padding, x))


def _max_along_forward(axis: int, extent: int, stride: int, padding: tuple[int, int], x: jax.Array) -> tuple:
    largest = _max_along(axis, extent, stride, padding, x)
    return largest, (x, largest)


def _max_along_backward(axis: int, extent: int, stride: int, padding: tuple[int, int], residuals: tuple, g: jax.Array):
    x, largest = residuals
    slices, transposed = jax.vjp(functools.partial(_slices, axis, extent, stride, padding), x)
    shares, is_open = [], jnp.ones(g.shape, bool)
    for values in slices:
        is_first = is_open & (values == largest)
        shares.append(jnp.where(is_first, g, 0))
        is_open &= ~is_first
    return transposed(shares)


_max_along.defvjp(_max_along_forward, _max_along_backward)


def _slices(axis: int, extent: int, stride: int, padding: tuple[int, int], x: jax.Array) -> list[jax.Array]:
    """The first value of each window, the second one, and so on."""
    widths = [(0, 0)] * x.ndim
    widths[axis] = padding
    x = jnp.pad(x, widths, constant_values=-jnp.inf)
    count = (x.shape[axis] - extent) // stride + 1
    return [lax.slice_in_dim(x, i, i + (count - 1) * stride + 1, stride, axis) for i in range(extent)]

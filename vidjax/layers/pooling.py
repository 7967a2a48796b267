"""Pooling by slices: XLA's windowed reductions are slow on a CPU, and their gradients above all."""

import functools
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Float

from vidjax.layers.convolution import is_native_only
from vidjax.layers.shapes import Array

Pairs = tuple[tuple[int, int], ...]


def avg_pool(
    x: Float[Array, "n *spatial channels"], window: Sequence[int], strides: Sequence[int] | None = None
) -> Float[Array, "n *out_spatial channels"]:
    """The mean of each window, without padding; summed in at least float32, along one axis after the other.

    Args:
      x: float [N, *spatial, C].
      window: extent along each spatial axis.
      strides: between windows; None for 1.

    Returns:
      float [N, *spatial', C].
    """
    kind = x.dtype
    x = x.astype(jnp.promote_types(kind, jnp.float32))
    for axis, (extent, step) in enumerate(zip(window, strides or (1,) * len(window), strict=True), start=1):
        if extent == x.shape[axis]:
            x = x.mean(axis, keepdims=True)
            continue
        reach = (x.shape[axis] - extent) // step * step + 1
        slices = (lax.slice_in_dim(x, start, start + reach, step, axis) for start in range(extent))
        x = functools.reduce(jnp.add, slices) / extent
    return x.astype(kind)


def max_pool(
    x: Float[Array, "n *spatial channels"],
    window: Sequence[int],
    strides: Sequence[int] | None = None,
    padding: str | Sequence[tuple[int, int]] = "VALID",
) -> Float[Array, "n *out_spatial channels"]:
    """The largest value of each window, as `flax.linen.max_pool`: of equal ones, the first has the gradient.

    Where it is not native, it has gradients in reverse mode only, and none for a window that holds NaN.

    Args:
      x: float [N, *spatial, C].
      window: extent along each spatial axis.
      strides: between windows; None for 1.
      padding: "SAME", "VALID" or (before, after) for each spatial axis.

    Returns:
      float [N, *spatial', C].
    """
    window, strides = tuple(window), tuple(strides or (1,) * len(window))
    if is_native_only() or x.ndim != len(window) + 2:
        return nn.max_pool(x, window, strides, padding)
    if isinstance(padding, str):
        padding = lax.padtype_to_pads(x.shape[1:-1], window, strides, padding)
    pads = tuple((int(before), int(after)) for before, after in padding)
    is_empty = any(length + sum(pair) < k for length, pair, k in zip(x.shape[1:], pads, window))
    if is_empty or min(map(min, pads)) < 0:
        return nn.max_pool(x, window, strides, pads)
    return _max_pool(window, strides, pads, x)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def _max_pool(window: tuple[int, ...], strides: tuple[int, ...], padding: Pairs, x: jax.Array) -> jax.Array:
    cpu, native = forms(window, strides, padding)
    return lax.platform_dependent(x, cpu=cpu, default=native)


def _forward(window: tuple[int, ...], strides: tuple[int, ...], padding: Pairs, x: jax.Array) -> tuple:
    return _max_pool(window, strides, padding, x), x


def _backward(window: tuple[int, ...], strides: tuple[int, ...], padding: Pairs, x: jax.Array, g: jax.Array) -> tuple:
    cpu, native = (lambda x, g, form=form: jax.vjp(form, x)[1](g)[0] for form in forms(window, strides, padding))
    return (lax.platform_dependent(x, g, cpu=cpu, default=native),)


_max_pool.defvjp(_forward, _backward)


def forms(window: tuple[int, ...], strides: tuple[int, ...], padding: Pairs) -> tuple:
    """The form for CPUs and the native one, as functions of x, whatever the platform; arguments as of `max_pool`."""

    def by_axis(x: jax.Array) -> jax.Array:
        # From the last axis on, so that of equal values the first in the order of the array wins, as it does natively.
        for axis in reversed(range(len(window))):
            if window[axis] > 1 or strides[axis] > 1 or any(padding[axis]):
                x = _max_along(axis + 1, window[axis], strides[axis], padding[axis], x)
        return x

    return by_axis, functools.partial(nn.max_pool, window_shape=window, strides=strides, padding=padding)


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
    """The first value of each window, the second, and so on."""
    widths = [(0, 0)] * x.ndim
    widths[axis] = padding
    x = jnp.pad(x, widths, constant_values=-jnp.inf)
    count = (x.shape[axis] - extent) // stride + 1
    return [lax.slice_in_dim(x, i, i + (count - 1) * stride + 1, stride, axis) for i in range(extent)]

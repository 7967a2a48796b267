"""Average and max pooling, with fast implementations for CPUs, where XLA's windowed reductions are slow."""

import functools
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Float

from vidjax.layers.convolution import is_native_only
from vidjax.layers.cpu import pooling as cpu_pooling
from vidjax.layers.cpu.pooling import Pairs
from vidjax.layers.shapes import Array


@jax.named_scope("avg_pool")
def avg_pool(
    x: Float[Array, "n *spatial channels"], window: Sequence[int], strides: Sequence[int] | None = None
) -> Float[Array, "n *out_spatial channels"]:
    """Average pooling without padding, one axis at a time; sums are accumulated in at least float32.

    Args:
      x: float [N, *spatial, C].
      window: extent along each spatial axis.
      strides: between windows; None: 1.

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


@jax.named_scope("max_pool")
def max_pool(
    x: Float[Array, "n *spatial channels"],
    window: Sequence[int],
    strides: Sequence[int] | None = None,
    padding: str | Sequence[tuple[int, int]] = "VALID",
) -> Float[Array, "n *out_spatial channels"]:
    """Max pooling with the values of `flax.linen.max_pool`; among equal values, the first one gets the gradient.

    The implementation for CPUs is differentiable in reverse mode only; windows that contain NaN have no gradient.

    Args:
      x: float [N, *spatial, C].
      window: extent along each spatial axis.
      strides: between windows; None: 1.
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


# On accelerators XLA's own max pooling is compiled, which is not the faster one everywhere: on an H200, for overlapping
# windows at stride 1 (I3D's 3x3x3/1 in bfloat16) value and gradient take 7.64 ms, those of the implementation for CPUs
# 1.27 ms, a sixth. For the other pools measured the ratio is between 0.8 and 1.7 (results/benchmarks/accelerator.json).
@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def _max_pool(window: tuple[int, ...], strides: tuple[int, ...], padding: Pairs, x: jax.Array) -> jax.Array:
    cpu, native = implementations(window, strides, padding)
    return lax.platform_dependent(x, cpu=cpu, default=native)


def _forward(window: tuple[int, ...], strides: tuple[int, ...], padding: Pairs, x: jax.Array) -> tuple:
    return _max_pool(window, strides, padding, x), x


def _backward(window: tuple[int, ...], strides: tuple[int, ...], padding: Pairs, x: jax.Array, g: jax.Array) -> tuple:
    cpu, native = (
        lambda x, g, pool=pool: jax.vjp(pool, x)[1](g)[0] for pool in implementations(window, strides, padding)
    )
    return (lax.platform_dependent(x, g, cpu=cpu, default=native),)


_max_pool.defvjp(_forward, _backward)


def implementations(window: tuple[int, ...], strides: tuple[int, ...], padding: Pairs) -> tuple:
    """Max pooling for CPUs and XLA's own, as functions of x on any platform; arguments as in `max_pool`."""
    cpu = functools.partial(cpu_pooling.max_pool, window=window, strides=strides, padding=padding)
    return cpu, functools.partial(nn.max_pool, window_shape=window, strides=strides, padding=padding)

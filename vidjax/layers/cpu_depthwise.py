"""Depthwise convolutions and their gradients, [N, T, H, W, C] by [kt, kh, kw, 1, C], as a CPU computes them fast.

For each tap of the kernel the input is shifted, multiplied and added up, all of which XLA fuses. The gradient of the
input is such a sum too, of the gradient with the strides' zeros between its pixels.
"""

import functools
import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

from vidjax.layers.cpu_plane import Geometry

_ROWS = 14  # of a gradient at once: more compile longer and leave the processor's second-level cache


def depthwise(geometry: Geometry, x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Each channel by itself, [N, T, H, W, C] by [kt, kh, kw, 1, C * multiplier]; both of one type."""
    multiplier = kernel.shape[-1] // x.shape[-1]
    return _each(geometry, jnp.repeat(x, multiplier, axis=-1) if multiplier > 1 else x, kernel)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _each(geometry: Geometry, x: jax.Array, kernel: jax.Array) -> jax.Array:
    padded = jnp.pad(x, ((0, 0), *geometry.padding, (0, 0)))
    return _sum_of_taps(padded, kernel, geometry.dilation, geometry.strides)


def _sum_of_taps(padded: jax.Array, kernel: jax.Array, dilation: Sequence[int], strides: Sequence[int]) -> jax.Array:
    spans = [step * (extent - 1) for step, extent in zip(dilation, kernel.shape)]
    products = []
    for place in itertools.product(*map(range, kernel.shape[:3])):
        starts = [step * tap for step, tap in zip(dilation, place)]
        ends = [start + length - span for start, length, span in zip(starts, padded.shape[1:], spans)]
        windows = [slice(*each) for each in zip(starts, ends, strides)]
        products.append(padded[:, *windows] * kernel[place][0])
    return functools.reduce(jnp.add, products)


def _backward(geometry: Geometry, residuals: tuple, gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, kernel = residuals
    around = [(0, 0, 0)]
    for axis, (before, _) in enumerate(geometry.padding):
        stride, span = geometry.strides[axis], geometry.dilation[axis] * (kernel.shape[axis] - 1)
        reach = (gradient.shape[1 + axis] - 1) * stride + 1
        around.append((span - before, x.shape[1 + axis] + before - reach, stride - 1))
    apart = lax.pad(gradient, jnp.zeros((), gradient.dtype), (*around, (0, 0, 0)))
    of_input = _sum_of_taps(apart, jnp.flip(kernel, (0, 1, 2)), geometry.dilation, (1, 1, 1))
    return of_input, _kernel_gradient(geometry, x, gradient, kernel.shape)


_each.defvjp(lambda geometry, *both: (_each(geometry, *both), both), _backward)


def _kernel_gradient(geometry: Geometry, x: jax.Array, gradient: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """For some rows of a frame at once, so that they stay in the cache, the sum over these rows; then over the rest."""
    n, frames, height, width, channels = gradient.shape
    # As even as they can be: what fills up the last block is computed for nothing.
    blocks = -(-height // _ROWS)
    rows = -(-height // blocks)
    gradient = jnp.pad(gradient, ((0, 0), (0, 0), (0, blocks * rows - height), (0, 0), (0, 0)))
    (dilation_in_time, dilation_down, dilation_across) = geometry.dilation
    (stride_in_time, down, across) = geometry.strides
    seen_rows = (rows - 1) * down + dilation_down * (shape[1] - 1) + 1
    in_time, (top, bottom), aside = geometry.padding
    missing = max(0, (blocks - 1) * rows * down + seen_rows - (x.shape[2] + top + bottom))
    x = jnp.pad(x, ((0, 0), in_time, (top, bottom + missing), aside, (0, 0)))
    seen_frames = dilation_in_time * (shape[0] - 1) + 1

    def of_block(item: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, ...]:
        number, of_output = item  # [rows, W', C]
        clip, frame, block = number // blocks // frames, number // blocks % frames, number % blocks
        start = (clip, frame * stride_in_time, block * rows * down, 0, 0)
        seen = lax.dynamic_slice(x, start, (1, seen_frames, seen_rows, *x.shape[3:]))[0]
        sums = []
        for tap_in_time, tap_down, tap_across in itertools.product(*map(range, shape[:3])):
            first = dilation_across * tap_across
            columns = slice(first, first + (width - 1) * across + 1, across)
            window = seen[dilation_in_time * tap_in_time, dilation_down * tap_down :, columns]
            sums.append(functools.reduce(jnp.add, (window[row * down] * of_output[row] for row in range(rows))))
        return tuple(sums)

    items = (jnp.arange(n * frames * blocks), gradient.reshape(-1, rows, width, channels))
    return jnp.stack([of_tap.sum((0, 1)) for of_tap in lax.map(of_block, items)]).reshape(shape)

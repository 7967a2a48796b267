"""Depthwise convolutions and their gradients, [N, T, H, W, C] by [kt, kh, kw, 1, C], as a CPU computes them fast.

For each tap of the kernel the input is shifted, multiplied and added up. Shifts are paddings, by negative widths too:
XLA computes them within the sum of a kernel in space, where it would write a padded input to memory first.
"""

import functools
import itertools
from collections.abc import Iterator, Sequence

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
    return _forward(geometry, x, kernel)


def _forward(geometry: Geometry, x: jax.Array, kernel: jax.Array) -> jax.Array:
    products = [seen * kernel[place][0] for place, seen in _taps(geometry, x, kernel.shape[:3])]
    return functools.reduce(jnp.add, products)


def _taps(geometry: Geometry, x: jax.Array, extent: Sequence[int]) -> Iterator[tuple[tuple[int, ...], jax.Array]]:
    """Place of each tap, and what it sees of x, [N, T', H', W', C]."""
    padding = geometry.padding
    if extent[0] > 1:  # the sum of so many paddings is slow
        x, padding = jnp.pad(x, ((0, 0), *padding, (0, 0))), ((0, 0),) * 3
    spans = [step * (k - 1) for step, k in zip(geometry.dilation, extent)]
    for place in itertools.product(*map(range, extent)):
        offsets = [step * k for step, k in zip(geometry.dilation, place)]
        around = [
            (before - offset, after - span + offset, 0)
            for (before, after), offset, span in zip(padding, offsets, spans)
        ]
        shifted = lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), *around, (0, 0, 0)))
        yield place, lax.slice(shifted, (0,) * 5, shifted.shape, (1, *geometry.strides, 1))


def _backward(geometry: Geometry, residuals: tuple, gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, kernel = residuals
    _, transposed = jax.vjp(lambda x: _forward(geometry, x, kernel), x)
    return *transposed(gradient), _kernel_gradient(geometry, x, gradient, kernel.shape)


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

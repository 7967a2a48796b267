"""Depthwise convolutions [N, T, H, W, C] by [kt, kh, kw, 1, C] and their gradients, implemented for CPUs.

The input is shifted and multiplied for each tap of the kernel, and the products are summed, all of which XLA fuses. The
input gradient is the same kind of sum, over the gradient dilated by the strides.
"""

import functools
import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Float

from vidjax.layers.cpu.bilinear import custom_bilinear
from vidjax.layers.cpu.geometry import ConvolutionGeometry
from vidjax.layers.shapes import Array

_ROWS = 14  # of a gradient per block: with more, compilation is slower and the block exceeds the L2 cache


def depthwise(
    geometry: ConvolutionGeometry,
    x: Float[Array, "n time height width channels"],
    kernel: Float[Array, "kernel_time kernel_height kernel_width 1 features"],
) -> Float[Array, "n out_time out_height out_width features"]:
    """Depthwise convolution [N, T, H, W, C] by [kt, kh, kw, 1, C * multiplier]; both of the same type."""
    multiplier = kernel.shape[-1] // x.shape[-1]
    return _per_multiplier(geometry, jnp.repeat(x, multiplier, axis=-1) if multiplier > 1 else x, kernel)


def _sum_of_taps(padded: jax.Array, kernel: jax.Array, dilation: Sequence[int], strides: Sequence[int]) -> jax.Array:
    spans = [step * (extent - 1) for step, extent in zip(dilation, kernel.shape)]
    products = []
    for place in itertools.product(*map(range, kernel.shape[:3])):
        starts = [step * tap for step, tap in zip(dilation, place)]
        ends = [start + length - span for start, length, span in zip(starts, padded.shape[1:], spans)]
        windows = [slice(*each) for each in zip(starts, ends, strides)]
        products.append(padded[:, *windows] * kernel[place][0])
    return functools.reduce(jnp.add, products)


def _input_gradient(
    geometry: ConvolutionGeometry, shape: tuple[int, ...], kernel: jax.Array, gradient: jax.Array
) -> jax.Array:
    around = [(0, 0, 0)]
    for axis, (before, _) in enumerate(geometry.padding):
        stride, span = geometry.strides[axis], geometry.dilation[axis] * (kernel.shape[axis] - 1)
        reach = (gradient.shape[1 + axis] - 1) * stride + 1
        around.append((span - before, shape[1 + axis] + before - reach, stride - 1))
    apart = lax.pad(gradient, jnp.zeros((), gradient.dtype), (*around, (0, 0, 0)))
    return _sum_of_taps(apart, jnp.flip(kernel, (0, 1, 2)), geometry.dilation, (1, 1, 1))


def _kernel_gradient(
    geometry: ConvolutionGeometry, shape: tuple[int, ...], x: jax.Array, gradient: jax.Array
) -> jax.Array:
    """Sums over blocks of rows that fit the cache, then over blocks and columns."""
    n, frames, height, width, channels = gradient.shape
    # Blocks as even as possible, since padding the last one wastes work.
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
        outputs = [of_output[row] for row in range(rows)]

        # `lax` operations, because there are hundreds of them and those of `jnp` take three times as long to trace.
        @functools.cache
        def window(tap_in_time: int, row: int, tap_across: int) -> jax.Array:
            frame_seen, first = dilation_in_time * tap_in_time, dilation_across * tap_across
            ends = (frame_seen + 1, row + 1, first + (width - 1) * across + 1, channels)
            return lax.squeeze(lax.slice(seen, (frame_seen, row, first, 0), ends, (1, 1, across, 1)), (0, 1))

        sums = []
        for tap_in_time, tap_down, tap_across in itertools.product(*map(range, shape[:3])):
            numbers = (dilation_down * tap_down + row * down for row in range(rows))
            windows = (window(tap_in_time, number, tap_across) for number in numbers)
            sums.append(functools.reduce(lax.add, map(lax.mul, windows, outputs)))
        return tuple(sums)

    items = (jnp.arange(n * frames * blocks), gradient.reshape(-1, rows, width, channels))
    return jnp.stack([of_tap.sum((0, 1)) for of_tap in lax.map(of_block, items)]).reshape(shape)


@custom_bilinear(_input_gradient, _kernel_gradient)
def _per_multiplier(geometry: ConvolutionGeometry, x: jax.Array, kernel: jax.Array) -> jax.Array:
    padded = jnp.pad(x, ((0, 0), *geometry.padding, (0, 0)))
    return _sum_of_taps(padded, kernel, geometry.dilation, geometry.strides)

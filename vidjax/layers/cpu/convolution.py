"""Convolutions and their gradients, decomposed into operations that are fast on XLA's CPU back end.

Convolutions have three spatial axes here, [N, T, H, W, C]; missing ones have length 1. They are decomposed into matrix
products and 2D convolutions (`vidjax.layers.cpu.conv2d`), which XLA delegates to libraries:

- kernels of extent 1: a matrix product over channels;
- kernels along time only: a 2D convolution of [N, T, H * W, C];
- kernels in space only: a 2D convolution, with time folded into the batch;
- kernels in both: one spatial convolution per temporal tap, summed; with few channels, one spatial convolution of the
  frames of all taps, stacked on channels; with hardly any channels, one spatial convolution to the results of all taps,
  which are then summed;
- depthwise: a shift, a multiplication and an addition per tap (`vidjax.layers.cpu.depthwise`).

The thresholds were measured on x86-64 (AVX-512) against XLA's native operations and oneDNN.
"""

import dataclasses
import functools
import math
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Float, Shaped

from vidjax.layers.cpu.bilinear import custom_bilinear
from vidjax.layers.cpu.conv2d import conv2d, is_large, kernel_gradient, kernel_gradient_by_images
from vidjax.layers.cpu.depthwise import depthwise
from vidjax.layers.cpu.geometry import ConvolutionGeometry
from vidjax.layers.shapes import Array

# Up to this many channels of all temporal taps together, taps are stacked rather than summed.
_MAX_STACKED_CHANNELS = 64
# Up to this many channels, and features of all temporal taps, each frame is convolved to the results of all taps.
_FEW_CHANNELS, _MAX_TAP_FEATURES = 4, 20
_MAX_SPLIT_GROUPS = 8  # up to this many groups, each is convolved separately
_MAX_UNROLLED_TAPS = 64  # of a depthwise kernel: taps are unrolled, and more take seconds to compile


def supports(
    x: Shaped[Array, "n *spatial channels"],
    kernel: Shaped[Array, "*kernel group_channels features"],
    geometry: ConvolutionGeometry,
) -> bool:
    """Whether `forward` supports these arguments; other cases are rare and left to XLA."""
    rank, groups = x.ndim - 2, geometry.groups
    return (
        1 <= rank <= 3
        and all(isinstance(length, int) for length in x.shape)  # exported shapes may be symbolic
        and jnp.issubdtype(x.dtype, jnp.floating)
        and all(min(pair) >= 0 for pair in geometry.padding)
        and (
            groups <= _MAX_SPLIT_GROUPS
            or (groups == x.shape[-1] and math.prod(kernel.shape[:-2]) <= _MAX_UNROLLED_TAPS)
        )
        and math.prod(x.shape) * math.prod(kernel.shape) > 0
        and all(
            length + sum(pair) > step * (extent - 1)
            for length, pair, step, extent in zip(x.shape[1:], geometry.padding, geometry.dilation, kernel.shape)
        )
    )


def forward(
    geometry: ConvolutionGeometry,
    x: Float[Array, "n *spatial channels"],
    kernel: Float[Array, "*kernel group_channels features"],
) -> Float[Array, "n *out_spatial features"]:
    """The convolution.

    Args:
      geometry: as accepted by `supports`.
      x: float [N, *spatial, C], with one to three spatial axes.
      kernel: float [*extent, C / groups, features].

    Returns:
      float [N, *spatial', features], of the type of x; sums of narrow types are accumulated in float32.
    """
    missing = 5 - x.ndim
    wide = jnp.promote_types(x.dtype, jnp.float32)
    x5 = x.reshape(x.shape[0], *(1,) * missing, *x.shape[1:]).astype(wide)
    kernel5 = kernel.reshape(*(1,) * missing, *kernel.shape).astype(wide)
    full = dataclasses.replace(
        geometry,
        strides=(1,) * missing + geometry.strides,
        padding=((0, 0),) * missing + geometry.padding,
        dilation=(1,) * missing + geometry.dilation,
    )
    y = _grouped(x5, kernel5, full)
    return y.reshape(y.shape[0], *y.shape[1 + missing :]).astype(x.dtype)


def gradient_of_input(
    geometry: ConvolutionGeometry,
    shape: tuple[int, ...],
    kernel: Float[Array, "*kernel group_channels features"],
    gradient: Float[Array, "n *out_spatial features"],
) -> Float[Array, "n *spatial channels"]:
    """The gradient of `forward` with respect to its input, which has this shape."""
    # The forward result for the zeros is unused and eliminated by XLA.
    _, transposed = jax.vjp(lambda x: forward(geometry, x, kernel), jnp.zeros(shape, gradient.dtype))
    (result,) = transposed(gradient)
    return result


def gradient_of_kernel(
    geometry: ConvolutionGeometry,
    shape: tuple[int, ...],
    x: Float[Array, "n *spatial channels"],
    gradient: Float[Array, "n *out_spatial features"],
) -> Float[Array, "*kernel group_channels features"]:
    """The gradient of `forward` with respect to its kernel, which has this shape."""
    _, transposed = jax.vjp(lambda kernel: forward(geometry, x, kernel), jnp.zeros(shape, gradient.dtype))
    (result,) = transposed(gradient)
    return result


def _grouped(x: jax.Array, kernel: jax.Array, geometry: ConvolutionGeometry) -> jax.Array:
    x, geometry = _slice_strided_axes(x, kernel, geometry)
    if geometry.groups == 1:
        return _dense(x, kernel, geometry)
    if geometry.groups == x.shape[-1]:
        return depthwise(geometry, x, kernel)
    inputs, kernels = jnp.split(x, geometry.groups, -1), jnp.split(kernel, geometry.groups, -1)
    return jnp.concatenate([_dense(*pair, geometry) for pair in zip(inputs, kernels)], -1)


def _slice_strided_axes(
    x: jax.Array, kernel: jax.Array, geometry: ConvolutionGeometry
) -> tuple[jax.Array, ConvolutionGeometry]:
    """Along axes where the kernel has extent 1, slices the input by the stride, so that no stride is left."""
    idle = [extent == 1 for extent in kernel.shape[:3]]
    padding = [pair if is_idle else (0, 0) for pair, is_idle in zip(geometry.padding, idle)]
    strides = [stride if is_idle else 1 for stride, is_idle in zip(geometry.strides, idle)]
    if any(map(any, padding)):
        x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    if set(strides) != {1}:
        x = lax.slice(x, (0,) * 5, x.shape, (1, *strides, 1))
    left = dataclasses.replace(
        geometry,
        strides=tuple(1 if is_idle else stride for stride, is_idle in zip(geometry.strides, idle)),
        padding=tuple((0, 0) if is_idle else pair for pair, is_idle in zip(geometry.padding, idle)),
        dilation=tuple(1 if is_idle else step for step, is_idle in zip(geometry.dilation, idle)),
    )
    return x, left


def _dense(x: jax.Array, kernel: jax.Array, geometry: ConvolutionGeometry) -> jax.Array:
    n, _, h, w, c = x.shape
    extent, *space, _, features = kernel.shape
    if extent > 1 and space == [1, 1]:
        along = dataclasses.replace(
            geometry,
            strides=(geometry.strides[0], 1),
            padding=(geometry.padding[0], (0, 0)),
            dilation=(geometry.dilation[0], 1),
        )
        return conv2d(along, x.reshape(n, -1, h * w, c), kernel[:, 0]).reshape(n, -1, h, w, features)
    if extent == 1:
        return _in_space(geometry, x, kernel[0])
    if not list(_temporal_taps(x, extent, geometry)):  # all taps are on padding
        x, geometry = _padded_in_time(x, geometry)
    if extent * c <= _MAX_STACKED_CHANNELS:
        return _stacked(geometry, x, kernel)
    parts = [
        (tap, _in_space(geometry, _frames(x, tap), kernel[tap.number])) for tap in _temporal_taps(x, extent, geometry)
    ]
    return _sum(parts)


def _in_space(geometry: ConvolutionGeometry, x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Spatial convolution [N, t, H, W, c] by [kh, kw, c, features]."""
    y = conv2d(_of_space(geometry), x.reshape(-1, *x.shape[2:]), kernel)
    return y.reshape(*x.shape[:2], *y.shape[1:])


def _of_space(geometry: ConvolutionGeometry) -> ConvolutionGeometry:
    return dataclasses.replace(
        geometry, strides=geometry.strides[1:], padding=geometry.padding[1:], dilation=geometry.dilation[1:]
    )


def _stacked_forward(geometry: ConvolutionGeometry, x: jax.Array, kernel: jax.Array) -> jax.Array:
    extent, *space, c, features = kernel.shape
    if c <= _FEW_CHANNELS and extent * features <= _MAX_TAP_FEATURES:
        of_taps = _in_space(geometry, x, jnp.moveaxis(kernel, 0, 3).reshape(*space, c, extent * features))
        shares = jnp.split(of_taps, extent, -1)
        return _sum([(tap, _frames(shares[tap.number], tap)) for tap in _temporal_taps(x, extent, geometry)])
    return _in_space(geometry, _stacked_frames(geometry, x, extent), _stacked_taps(kernel))


def _stacked_frames(geometry: ConvolutionGeometry, x: jax.Array, extent: int) -> jax.Array:
    """The input frames of the taps of each output frame, [N, t, H, W, extent * C]."""
    x, geometry = _padded_in_time(x, geometry)
    return jnp.concatenate([_frames(x, tap) for tap in _temporal_taps(x, extent, geometry)], -1)


def _stacked_taps(kernel: jax.Array) -> jax.Array:
    extent, *space, c, features = kernel.shape
    return jnp.moveaxis(kernel, 0, 2).reshape(*space, extent * c, features)


def _stacked_input_gradient(
    geometry: ConvolutionGeometry, shape: tuple[int, ...], kernel: jax.Array, gradient: jax.Array
) -> jax.Array:
    zeros = jnp.zeros(shape, gradient.dtype)  # the forward result for them is unused and eliminated by XLA
    _, transposed = jax.vjp(lambda x: _stacked_forward(geometry, x, kernel), zeros)
    (of_input,) = transposed(gradient)
    return of_input


def _stacked_kernel_gradient(
    geometry: ConvolutionGeometry, shape: tuple[int, ...], x: jax.Array, gradient: jax.Array
) -> jax.Array:
    extent, *space, c, features = shape
    count, seen = math.prod(gradient.shape[:2]), x.size // math.prod(x.shape[:2]) * min(extent, x.shape[1])
    if geometry.strides[0] == 1 and is_large(count, seen + gradient.size // count, x.dtype):
        return kernel_gradient_by_images(geometry, shape, x, gradient)
    frames = _stacked_frames(geometry, x, extent)
    images, gradients = (array.reshape(-1, *array.shape[2:]) for array in (frames, gradient))
    of_taps = kernel_gradient(_of_space(geometry), (*space, extent * c, features), images, gradients)
    return jnp.moveaxis(of_taps.reshape(*space, extent, c, features), 2, 0)


@custom_bilinear(_stacked_input_gradient, _stacked_kernel_gradient)
def _stacked(geometry: ConvolutionGeometry, x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Convolution [N, T, H, W, C] by [kt, kh, kw, C, features] with few channels, as a single spatial convolution."""
    return _stacked_forward(geometry, x, kernel)


def _padded_in_time(x: jax.Array, geometry: ConvolutionGeometry) -> tuple[jax.Array, ConvolutionGeometry]:
    x = jnp.pad(x, ((0, 0), geometry.padding[0], (0, 0), (0, 0), (0, 0)))
    return x, dataclasses.replace(geometry, padding=((0, 0), *geometry.padding[1:]))


@dataclasses.dataclass(frozen=True)
class _Tap:
    """The input frames of a temporal tap of the kernel.

    Attributes:
      number: index of the tap.
      first, end: range of output frames for which the tap is on an input frame, not on padding.
      count: total number of output frames.
      start, step: input frame for output frame `first`, and distance between input frames.
    """

    number: int
    first: int
    end: int
    count: int
    start: int
    step: int


def _temporal_taps(x: jax.Array, extent: int, geometry: ConvolutionGeometry) -> Iterator[_Tap]:
    step, dilation = geometry.strides[0], geometry.dilation[0]
    before, after = geometry.padding[0]
    length = x.shape[1]
    count = (length + before + after - dilation * (extent - 1) - 1) // step + 1
    for number in range(extent):
        offset = number * dilation - before
        first = max(0, -(offset // step))
        end = min(count, (length - 1 - offset) // step + 1)
        if first < end:
            yield _Tap(number, first, end, count, first * step + offset, step)


def _frames(x: jax.Array, tap: _Tap) -> jax.Array:
    return lax.slice_in_dim(x, tap.start, tap.start + (tap.end - tap.first - 1) * tap.step + 1, tap.step, axis=1)


def _sum(parts: Sequence[tuple["_Tap", jax.Array]]) -> jax.Array:
    """Sums the results of the temporal taps, [N, frames of the tap, H, W, features], at their output frames."""
    around = ((tap.first, tap.count - tap.end) for tap, _ in parts)
    padded = [jnp.pad(part, ((0, 0), pair, (0, 0), (0, 0), (0, 0))) for (_, part), pair in zip(parts, around)]
    return functools.reduce(jnp.add, padded)

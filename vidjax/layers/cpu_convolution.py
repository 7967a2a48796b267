"""Convolutions and their gradients in forms that XLA's CPU back end computes fast.

Every convolution has three spatial axes here, [N, T, H, W, C]; missing ones have length 1. It is taken apart until only
matrix products and 2D convolutions are left, which XLA hands to libraries:

- a kernel of extent 1: a matrix product of channels;
- along time alone: a 2D convolution of [N, T, H * W, C];
- in space alone: a 2D convolution, with time folded into the batch;
- in both: for each temporal tap one in space, added up, or, where there are few channels, one in space of the taps'
  frames stacked on channels;
- depthwise: for each tap a shift, a multiplication and an addition, which XLA fuses;
- the gradient of the input of a strided one: a matrix product for all taps, whose parts are spread over the strides
  and added up, never a convolution of a dilated array;
- the gradient of the kernel, of large images: one after the other, a matrix product of what all taps see and the
  gradient.

The rules, and what each gains, were measured on x86-64 (AVX-512) against XLA's native operations and oneDNN.
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

# Channels, of all temporal taps together, up to which these are stacked rather than added up.
_STACKED = 64
# Bytes of an image and its gradient above which kernel gradients are computed image after image: below it, XLA's own
# is as fast and compiles faster; above it, what it gathers no longer stays in the processor's second-level cache.
_LARGE_IMAGE = 1 << 19
_SPLIT = 8  # groups up to which each is convolved by itself


@dataclasses.dataclass(frozen=True)
class Geometry:
    """How a kernel moves over its input; one number for each spatial axis.

    Attributes:
      strides: steps between two windows.
      padding: zeros before and after.
      dilation: steps between two taps of the kernel.
      groups: of channels.
      precision: of the products, as `jax.lax` takes it.
    """

    strides: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]
    groups: int = 1
    precision: Any = None


def channels_last(rank: int) -> lax.ConvDimensionNumbers:
    """Dimension numbers of [N, *spatial, C] and kernels [*spatial, C, features]."""
    data = (0, rank + 1, *range(1, rank + 1))
    return lax.ConvDimensionNumbers(data, (rank + 1, rank, *range(rank)), data)


def covers(x: jax.Array, kernel: jax.Array, geometry: Geometry) -> bool:
    """Whether `forward` takes these; what it does not is rare enough to be left to XLA."""
    rank, groups = x.ndim - 2, geometry.groups
    return (
        1 <= rank <= 3
        and jnp.issubdtype(x.dtype, jnp.floating)
        and all(min(pair) >= 0 for pair in geometry.padding)
        and (groups <= _SPLIT or groups == x.shape[-1])
        and math.prod(x.shape) * math.prod(kernel.shape) > 0
        and all(
            length + sum(pair) > step * (extent - 1)
            for length, pair, step, extent in zip(x.shape[1:], geometry.padding, geometry.dilation, kernel.shape)
        )
    )


def forward(x: jax.Array, kernel: jax.Array, *, geometry: Geometry) -> jax.Array:
    """The convolution.

    Args:
      x: float [N, *spatial, C], with one to three spatial axes.
      kernel: float [*extent, C / groups, features].
      geometry: as `covers` takes it.

    Returns:
      float [N, *spatial', features], of the type of x; narrow types are added up in float32.
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


def input_gradient(gradient: jax.Array, kernel: jax.Array, *, shape: tuple[int, ...], geometry: Geometry) -> jax.Array:
    """The gradient of `forward` in its input, which has this shape."""
    # What is computed forward of the zeros is not used, and falls away.
    _, transposed = jax.vjp(lambda x: forward(x, kernel, geometry=geometry), jnp.zeros(shape, gradient.dtype))
    (result,) = transposed(gradient)
    return result


def kernel_gradient(x: jax.Array, gradient: jax.Array, *, shape: tuple[int, ...], geometry: Geometry) -> jax.Array:
    """The gradient of `forward` in its kernel, which has this shape."""
    _, transposed = jax.vjp(lambda kernel: forward(x, kernel, geometry=geometry), jnp.zeros(shape, gradient.dtype))
    (result,) = transposed(gradient)
    return result


def _grouped(x: jax.Array, kernel: jax.Array, geometry: Geometry) -> jax.Array:
    x, geometry = _without_idle_axes(x, kernel, geometry)
    if geometry.groups == 1:
        return _dense(x, kernel, geometry)
    if geometry.groups == x.shape[-1]:
        return _depthwise(geometry, x, kernel)
    inputs, kernels = jnp.split(x, geometry.groups, -1), jnp.split(kernel, geometry.groups, -1)
    return jnp.concatenate([_dense(*pair, geometry) for pair in zip(inputs, kernels)], -1)


def _without_idle_axes(x: jax.Array, kernel: jax.Array, geometry: Geometry) -> tuple[jax.Array, Geometry]:
    """Where the kernel has extent 1, what it skips is left out beforehand."""
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


def _dense(x: jax.Array, kernel: jax.Array, geometry: Geometry) -> jax.Array:
    n, t, h, w, c = x.shape
    extent, *plane, _, features = kernel.shape
    if extent > 1 and plane == [1, 1]:
        along = dataclasses.replace(
            geometry,
            strides=(geometry.strides[0], 1),
            padding=(geometry.padding[0], (0, 0)),
            dilation=(geometry.dilation[0], 1),
        )
        return _plane(along, x.reshape(n, t, h * w, c), kernel[:, 0]).reshape(n, -1, h, w, features)
    space = dataclasses.replace(
        geometry, strides=geometry.strides[1:], padding=geometry.padding[1:], dilation=geometry.dilation[1:]
    )

    def in_space(frames: jax.Array, taps: jax.Array) -> jax.Array:
        """[N, t, H, W, c] by [kh, kw, c, features]."""
        y = _plane(space, frames.reshape(-1, h, w, frames.shape[-1]), taps)
        return y.reshape(n, -1, *y.shape[1:])

    if extent == 1:
        return in_space(x, kernel[0])
    if extent * c <= _STACKED:
        x = jnp.pad(x, ((0, 0), geometry.padding[0], (0, 0), (0, 0), (0, 0)))
        unpadded = _without_time_padding(geometry)
        frames = [_frames(x, tap) for tap in _temporal_taps(x, extent, unpadded)]
        stacked = jnp.moveaxis(kernel, 0, 2).reshape(*plane, extent * c, features)
        return in_space(jnp.concatenate(frames, -1), stacked)
    taps = list(_temporal_taps(x, extent, geometry))
    if not taps:  # all lie on padding
        x, geometry = jnp.pad(x, ((0, 0), geometry.padding[0], *3 * [(0, 0)])), _without_time_padding(geometry)
        taps = list(_temporal_taps(x, extent, geometry))
    y: Any = 0
    for tap in taps:
        part = in_space(_frames(x, tap), kernel[tap.number])
        y += jnp.pad(part, ((0, 0), (tap.first, tap.count - tap.end), (0, 0), (0, 0), (0, 0)))
    return y


def _without_time_padding(geometry: Geometry) -> Geometry:
    return dataclasses.replace(geometry, padding=((0, 0), *geometry.padding[1:]))


@dataclasses.dataclass(frozen=True)
class _Tap:
    """What a temporal tap of the kernel sees.

    Attributes:
      number: of the tap.
      first, end: output frames for which it lies on an input frame, not on padding.
      count: of all output frames.
      start, step: the input frame of output frame `first`, and from one to the next.
    """

    number: int
    first: int
    end: int
    count: int
    start: int
    step: int


def _temporal_taps(x: jax.Array, extent: int, geometry: Geometry) -> Iterator[_Tap]:
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


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _plane(geometry: Geometry, x: jax.Array, kernel: jax.Array) -> jax.Array:
    """A convolution [N, H, W, C] by [kh, kw, C, features]."""
    if kernel.shape[:2] == (1, 1):
        return _product(x, kernel[0, 0], geometry)
    return _native_plane(geometry, x, kernel)


def _native_plane(geometry: Geometry, x: jax.Array, kernel: jax.Array) -> jax.Array:
    return lax.conv_general_dilated(
        x,
        kernel,
        geometry.strides,
        geometry.padding,
        rhs_dilation=geometry.dilation,
        dimension_numbers=channels_last(2),
        precision=geometry.precision,
    )


def _plane_forward(geometry: Geometry, x: jax.Array, kernel: jax.Array) -> tuple:
    return _plane(geometry, x, kernel), (x, kernel)


def _plane_backward(geometry: Geometry, residuals: tuple, gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, kernel = residuals
    return _plane_input(geometry, gradient, kernel, x), _plane_kernel(geometry, x, gradient, kernel)


_plane.defvjp(_plane_forward, _plane_backward)


def _plane_input(geometry: Geometry, gradient: jax.Array, kernel: jax.Array, x: jax.Array) -> jax.Array:
    if kernel.shape[:2] == (1, 1):
        return _product(gradient, kernel[0, 0].T, geometry)
    if geometry.strides == (1, 1):
        (result,) = jax.linear_transpose(lambda x: _native_plane(geometry, x, kernel), x)(gradient)
        return result

    def seen(x: jax.Array) -> list[jax.Array]:
        padded = jnp.pad(x, ((0, 0), *geometry.padding, (0, 0)))
        return [tap for _, tap in _taps(geometry, padded, kernel.shape[:2])]

    columns = _product(gradient, kernel.reshape(-1, kernel.shape[-1]).T, geometry)
    shares = jnp.split(columns, math.prod(kernel.shape[:2]), -1)
    (result,) = jax.linear_transpose(seen, x)(shares)
    return result


def _plane_kernel(geometry: Geometry, x: jax.Array, gradient: jax.Array, kernel: jax.Array) -> jax.Array:
    rows, columns, channels, features = kernel.shape

    def add(total: jax.Array, pair: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        """One image at a time: what its product needs stays in the processor's cache."""
        image, of_image = pair
        taps = [tap for _, tap in _taps(geometry, image, kernel.shape[:2])]
        seen = jnp.concatenate(taps, -1).reshape(-1, rows * columns * channels)
        return total + _product(of_image.reshape(-1, features).T, seen, geometry), None

    if kernel.shape[:2] == (1, 1):
        return _product(x.reshape(-1, channels).T, gradient.reshape(-1, features), geometry)[None, None]
    if (x[0].size + gradient[0].size) * x.dtype.itemsize < _LARGE_IMAGE:
        (result,) = jax.linear_transpose(lambda kernel: _native_plane(geometry, x, kernel), kernel)(gradient)
        return result
    padded = jnp.pad(x, ((0, 0), *geometry.padding, (0, 0)))
    total = jnp.zeros((features, rows * columns * channels), x.dtype)
    total, _ = lax.scan(add, total, (padded, gradient))
    return total.T.reshape(kernel.shape)


def _taps(geometry: Geometry, x: jax.Array, extent: Sequence[int]) -> Iterator[tuple[tuple[int, ...], jax.Array]]:
    """Place of each tap of a kernel, and what it sees of x [..., *padded spatial, C]: [..., *spatial', C]."""
    leading = x.ndim - 1 - len(extent)
    spans = [step * (k - 1) for step, k in zip(geometry.dilation, extent)]
    for place in itertools.product(*map(range, extent)):
        starts = [step * k for step, k in zip(geometry.dilation, place)]
        ends = [start + length - span for start, length, span in zip(starts, x.shape[leading:-1], spans)]
        windows = tuple(slice(*each) for each in zip(starts, ends, geometry.strides))
        yield place, x[(slice(None),) * leading + windows]


def _product(left: jax.Array, right: jax.Array, geometry: Geometry) -> jax.Array:
    return jnp.matmul(left, right, precision=geometry.precision)


def _depthwise(geometry: Geometry, x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Each channel by itself, [N, T, H, W, C] by [kt, kh, kw, 1, C * multiplier]."""
    multiplier = kernel.shape[-1] // x.shape[-1]
    x = jnp.pad(x, ((0, 0), *geometry.padding, (0, 0)))
    if multiplier > 1:
        x = jnp.repeat(x, multiplier, axis=-1)
    products = [tap * kernel[place][0] for place, tap in _taps(geometry, x, kernel.shape[:3])]
    return functools.reduce(jnp.add, products)

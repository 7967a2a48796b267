"""2D convolutions [N, H, W, C] by [kh, kw, C, features] and their gradients, implemented for CPUs.

- 1x1 kernels: a matrix product over channels;
- few features: adjacent columns are folded into channels, to fill the vector registers;
- input gradients of strided convolutions: one matrix product for all taps, whose parts are summed and interleaved,
  instead of a convolution of a dilated array;
- kernel gradients on large images: image by image, a matrix product of the gradient and the inputs of all taps, so that
  the gathered inputs stay in the processor's cache.
"""

import dataclasses
import itertools
import math
from collections.abc import Iterator

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Float

from vidjax.layers.cpu.bilinear import custom_bilinear
from vidjax.layers.cpu.geometry import ConvolutionGeometry, channels_last
from vidjax.layers.shapes import Array

# Bytes of an image with its gradient, and of all images, from which kernel gradients are computed image by image.
# Below, XLA's operation is as fast and compiles faster; above, the inputs that it gathers exceed the CPU's caches.
_LARGE_IMAGE, _LARGE_BATCH = 1 << 16, 3 << 20
_MAX_GATHER_BYTES = 1 << 22  # bytes to gather from one image at a time
_LANES = 16  # float32 numbers in the widest vector register
_FEW_CHANNELS = 4  # up to this many channels, XLA's convolution is slow for any number of features
_MAX_BLOCK_COLUMNS = 4  # with more, the additional arithmetic costs more than is saved
_MIN_BLOCKED_PIXELS = 1 << 15  # of a batch, from which filling the registers is worth the longer compilation


def _blocked(geometry: ConvolutionGeometry, x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Convolution that folds adjacent columns into channels when there are few features or channels."""
    rows, columns, channels, features = kernel.shape
    length, (before, after), stride = x.shape[2], geometry.padding[1], geometry.strides[1]
    width = (length + before + after - columns) // stride + 1
    together = min(_MAX_BLOCK_COLUMNS, max(_LANES // features, 2 if channels <= _FEW_CHANNELS else 1))
    pixels = x.shape[0] * x.shape[1] * length // math.prod(geometry.strides)
    if together == 1 or pixels < _MIN_BLOCKED_PIXELS or geometry.dilation[1] != 1 or width < together:
        return _native(geometry, x, kernel)
    block = stride * together  # input columns per block
    blocks = -(-width // together)
    seen = -(-(block - stride + columns) // block)  # input blocks per output block
    total = block * (blocks + seen - 1)
    x = lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), (0, 0, 0), (before, total - length - before, 0), (0, 0, 0)))
    shifts = (stride * number for number in range(together))
    shifted = [jnp.pad(kernel, ((0, 0), (s, seen * block - s - columns), (0, 0), (0, 0))) for s in shifts]
    wide = jnp.stack(shifted, axis=3).reshape(rows, seen, block * channels, together * features)
    over_blocks = dataclasses.replace(geometry, strides=(geometry.strides[0], 1), padding=(geometry.padding[0], (0, 0)))
    y = _native(over_blocks, x.reshape(*x.shape[:2], blocks + seen - 1, block * channels), wide)
    return y.reshape(*y.shape[:2], blocks * together, features)[:, :, :width]


def _native(geometry: ConvolutionGeometry, x: jax.Array, kernel: jax.Array) -> jax.Array:
    """XLA's convolution, avoiding its slow paths.

    With negative padding before and positive padding after an axis it reads uninitialized memory. Without any padding
    it is up to three times slower; in that case one extra window is computed.
    """
    around = ((0, 0), *geometry.padding, (0, 0))
    x = x[tuple(slice(max(0, -before), length - max(0, -after)) for (before, after), length in zip(around, x.shape))]
    padding = [(max(0, before), max(0, after)) for before, after in geometry.padding]
    lengths = [length + sum(pair) for length, pair in zip(x.shape[1:], padding)]
    spans = [step * (extent - 1) + 1 for step, extent in zip(geometry.dilation, kernel.shape)]
    outputs = [(length - span) // step + 1 for length, span, step in zip(lengths, spans, geometry.strides)]
    if not any(map(any, padding)):
        longer = outputs.index(max(outputs))
        padding[longer] = (0, geometry.strides[longer])
    y = lax.conv_general_dilated(
        x,
        kernel,
        geometry.strides,
        padding,
        rhs_dilation=geometry.dilation,
        dimension_numbers=channels_last(2),
        precision=geometry.precision,
    )
    return y[:, : outputs[0], : outputs[1]]


def _input_gradient(
    geometry: ConvolutionGeometry, shape: tuple[int, ...], kernel: jax.Array, gradient: jax.Array
) -> jax.Array:
    if kernel.shape[:2] == (1, 1):
        return product(gradient, kernel[0, 0].T, geometry)
    if geometry.strides == (1, 1):
        spans = [step * (extent - 1) for step, extent in zip(geometry.dilation, kernel.shape)]
        mirrored = tuple((span - before, span - after) for span, (before, after) in zip(spans, geometry.padding))
        kernel = jnp.flip(kernel, (0, 1)).swapaxes(2, 3)
        return _blocked(dataclasses.replace(geometry, padding=mirrored), gradient, kernel)
    return _interleaved(geometry, shape, kernel, gradient)


def _interleaved(
    geometry: ConvolutionGeometry, shape: tuple[int, ...], kernel: jax.Array, gradient: jax.Array
) -> jax.Array:
    """The input gradient [N, H, W, C] of a strided convolution.

    For each phase of the strides (rows or columns 0, s, 2s, ...; 1, s + 1, 2s + 1, ...; and so on) the contributions of
    the taps at that phase are summed; then the phases are interleaved.
    """
    n, *sizes, channels = shape
    outputs = gradient.shape[1:3]
    columns = product(gradient, kernel.reshape(-1, kernel.shape[-1]).T, geometry)
    lengths = [-(-(size + sum(pair)) // step) for size, pair, step in zip(sizes, geometry.padding, geometry.strides)]
    phases: dict[tuple[int, ...], jax.Array] = {}
    for number, place in enumerate(itertools.product(*map(range, kernel.shape[:2]))):
        offsets = [tap * step for tap, step in zip(place, geometry.dilation)]
        phase = tuple(offset % step for offset, step in zip(offsets, geometry.strides))
        firsts = [offset // step for offset, step in zip(offsets, geometry.strides)]
        around = [(first, length - first - out) for first, length, out in zip(firsts, lengths, outputs)]
        share = jnp.pad(columns[..., number * channels :][..., :channels], ((0, 0), *around, (0, 0)))
        phases[phase] = phases[phase] + share if phase in phases else share
    nothing = jnp.zeros((n, *lengths, channels), gradient.dtype)
    every = [phases.get(phase, nothing) for phase in itertools.product(*map(range, geometry.strides))]
    down, across = geometry.strides
    apart = jnp.stack(every, axis=3).reshape(n, *lengths, down, across, channels)
    whole = apart.transpose(0, 1, 3, 2, 4, 5).reshape(n, lengths[0] * down, lengths[1] * across, channels)
    starts = [before for before, _ in geometry.padding]
    # Pixels after the last window have zero gradient.
    missing = [max(0, start + size - full) for start, size, full in zip(starts, sizes, whole.shape[1:3])]
    whole = jnp.pad(whole, ((0, 0), *((0, count) for count in missing), (0, 0)))
    (top, left), (height, width) = starts, sizes
    return whole[:, top : top + height, left : left + width]


def kernel_gradient(
    geometry: ConvolutionGeometry,
    shape: tuple[int, ...],
    x: Float[Array, "n height width channels"],
    gradient: Float[Array, "n out_height out_width features"],
) -> Float[Array, "kernel_height kernel_width channels features"]:
    """The gradient of `conv2d` with respect to its kernel, which has this shape."""
    if shape[:2] == (1, 1):
        channels, features = shape[2:]
        return product(x.reshape(-1, channels).T, gradient.reshape(-1, features), geometry)[None, None]
    images = x.shape[0]
    if not is_large(images, (x.size + gradient.size) // images, x.dtype):
        kernel = jax.ShapeDtypeStruct(shape, x.dtype)
        (result,) = jax.linear_transpose(lambda kernel: _native(geometry, x, kernel), kernel)(gradient)
        return result
    in_time = dataclasses.replace(
        geometry,
        strides=(1, *geometry.strides),
        padding=((0, 0), *geometry.padding),
        dilation=(1, *geometry.dilation),
    )
    return kernel_gradient_by_images(in_time, (1, *shape), x[:, None], gradient[:, None])[0]


def is_large(images: int, size: int, dtype: jnp.dtype) -> bool:
    """Whether to compute kernel gradients image by image; `size` is that of an image with its gradient, in numbers."""
    size *= dtype.itemsize
    return size >= _LARGE_IMAGE and images * size >= _LARGE_BATCH


def kernel_gradient_by_images(
    geometry: ConvolutionGeometry,
    shape: tuple[int, ...],
    x: Float[Array, "n time height width channels"],
    gradient: Float[Array, "n out_time out_height out_width features"],
) -> Float[Array, "kernel_time kernel_height kernel_width channels features"]:
    """The kernel gradient of a convolution in time and space with stride 1 in time.

    Args:
      geometry: with stride 1 in time.
      shape: of the kernel, (kt, kh, kw, C, features).
      x: [N, T, H, W, C].
      gradient: [N, T', H', W', features].

    Returns:
      The gradient, of that shape.
    """
    n, frames, height, width, channels = x.shape
    extent, rows, columns, _, features = shape
    down, across = geometry.strides[1:]
    out_height, out_width = gradient.shape[2:4]
    together = _MAX_BLOCK_COLUMNS if 2 * features <= _LANES and geometry.dilation[2] == 1 else 1
    blocks = -(-out_width // together)
    wide = across * (together - 1) + columns if together > 1 else columns  # input columns per block
    if blocks * together > out_width:
        gradient = jnp.pad(gradient, ((0, 0),) * 3 + ((0, blocks * together - out_width), (0, 0)))

    def gathered(image: jax.Array) -> Iterator[jax.Array]:
        """The inputs of the taps, for all taps at once or per kernel row: [H' * blocks, taps * C]."""
        image = jnp.pad(image, (*geometry.padding[1:], (0, 0)))
        if together > 1:
            block = across * together
            seen = -(-wide // block)
            image = lax.pad(
                image,
                jnp.zeros((), image.dtype),
                ((0, 0, 0), (0, block * (blocks + seen - 1) - image.shape[1], 0), (0, 0, 0)),
            )
            image = image.reshape(image.shape[0], -1, block * channels)
            image = jnp.concatenate([image[:, shift : shift + blocks] for shift in range(seen)], -1)
            image = image[..., : wide * channels]
        else:
            steps = (geometry.dilation[2] * tap for tap in range(columns))
            reach = across * (out_width - 1) + 1
            image = jnp.concatenate([image[:, step : step + reach : across] for step in steps], -1)
        below = down * (out_height - 1) + 1
        steps = (geometry.dilation[1] * tap for tap in range(rows))
        by_row = [image[step : step + below : down].reshape(out_height * blocks, -1) for step in steps]
        if rows * by_row[0].size * image.dtype.itemsize <= _MAX_GATHER_BYTES:
            by_row = [jnp.concatenate(by_row, -1)]
        yield from by_row

    def add(total: jax.Array, item: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        number, image = item
        clip, frame = number // frames, number % frames
        of_taps, counts = [], []
        for tap in range(extent):
            output = frame + geometry.padding[0][0] - geometry.dilation[0] * tap
            # Columns are folded here, not before the loop: XLA would compute the gradient in that layout, slowly.
            of_tap = lax.dynamic_slice(gradient, (clip, output, 0, 0, 0), (1, 1, *gradient.shape[2:]))
            of_taps.append(of_tap.reshape(out_height * blocks, together * features))
            counts.append((output >= 0) & (output < gradient.shape[1]))
        parts = [jnp.stack([product(of_tap.T, seen, geometry) for of_tap in of_taps]) for seen in gathered(image)]
        part = jnp.concatenate(parts, -1)
        if extent > 1:  # slices out of bounds are clamped
            part = jnp.where(jnp.stack(counts)[:, None, None], part, 0)
        return total + part, None

    total = jnp.zeros((extent, together * features, rows * wide * channels), x.dtype)
    total, _ = lax.scan(add, total, (jnp.arange(n * frames), x.reshape(-1, height, width, channels)))
    apart = total.reshape(extent, together, features, rows, wide, channels)
    kernel = sum(apart[:, number, :, :, across * number :][:, :, :, :columns] for number in range(together))
    return jnp.moveaxis(jnp.asarray(kernel), 1, -1)


@custom_bilinear(_input_gradient, kernel_gradient)
def conv2d(
    geometry: ConvolutionGeometry,
    x: Float[Array, "n height width channels"],
    kernel: Float[Array, "kernel_height kernel_width channels features"],
) -> Float[Array, "n out_height out_width features"]:
    """Convolution [N, H, W, C] by [kh, kw, C, features] without groups; both of the same type, float32 or wider."""
    if kernel.shape[:2] == (1, 1):
        return product(x, kernel[0, 0], geometry)
    return _blocked(geometry, x, kernel)


def product(
    left: Float[Array, "*batch rows inner"], right: Float[Array, "inner columns"], geometry: ConvolutionGeometry
) -> Float[Array, "*batch rows columns"]:
    """The matrix product, with the geometry's precision."""
    return jnp.matmul(left, right, precision=geometry.precision)

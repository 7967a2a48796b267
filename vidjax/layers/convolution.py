"""`Conv`: flax's convolution with CPU-friendly implementations.

XLA's CPU back end computes 3D, strided, grouped and depthwise convolutions and their gradients many times slower than
the same arithmetic in other forms (`vidjax.layers.cpu.convolution`). The implementation is chosen when a function is
compiled, by the platform that it is compiled for: elsewhere, such as in an export for TPU, only the native operation
is used.
"""

import contextlib
import contextvars
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import flax.linen as nn
import jax
from jax import lax
from jaxtyping import Float

from vidjax.layers.cpu.bilinear import custom_bilinear
from vidjax.layers.cpu.convolution import forward, gradient_of_input, gradient_of_kernel, supports
from vidjax.layers.cpu.geometry import ConvolutionGeometry, channels_last
from vidjax.layers.shapes import Array

_native_only: contextvars.ContextVar[bool] = contextvars.ContextVar("native_only", default=False)


@contextlib.contextmanager
def native_operations(native: bool = True) -> Iterator[None]:
    """Context in which functions are traced with XLA's own convolutions and pooling on every platform.

    A function that has been traced before keeps its implementation.

    Args:
      native: False leaves everything as it is.
    """
    token = _native_only.set(native or _native_only.get())
    try:
        yield
    finally:
        _native_only.reset(token)


def is_native_only() -> bool:
    """Whether `native_operations` is active."""
    return _native_only.get()


def convolution(
    lhs: Float[Array, "n *spatial channels"],
    rhs: Float[Array, "*kernel group_channels features"],
    window_strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    feature_group_count: int = 1,
    precision: Any = None,
) -> Float[Array, "n ..."]:
    """`jax.lax.conv_general_dilated` of channels-last arrays, implemented for the platform.

    Gradients exist in reverse mode only, of any order. Within `jax.shard_map` large inputs have none, on any platform,
    because the platform is chosen after differentiation: use `native_operations` there.

    Args:
      lhs: float [N, *spatial, C].
      rhs: float [*kernel, C / groups, features].
      window_strides: one for each spatial axis.
      padding: "SAME", "VALID" or (before, after) for each spatial axis.
      lhs_dilation: other than 1 is computed natively.
      rhs_dilation: of the kernel.
      dimension_numbers: others than those of channels last, which are the default, are computed natively.
      feature_group_count: groups.
      precision: of the products.

    Returns:
      float [N, *spatial', features].
    """
    rank = lhs.ndim - 2
    dilation = tuple(rhs_dilation or (1,) * rank)
    spans = [d * (k - 1) + 1 for d, k in zip(dilation, rhs.shape)]
    pads = lax.padtype_to_pads(lhs.shape[1:-1], spans, window_strides, padding) if isinstance(padding, str) else padding
    pairs = tuple((int(before), int(after)) for before, after in pads)
    geometry = ConvolutionGeometry(tuple(window_strides), pairs, dilation, feature_group_count, precision)
    numbers = lax.conv_dimension_numbers(lhs.shape, rhs.shape, dimension_numbers or channels_last(rank))
    is_plain = set(lhs_dilation or ()) <= {1} and lhs.dtype == rhs.dtype and numbers == channels_last(rank)
    if not is_native_only() and is_plain and supports(lhs, rhs, geometry):
        return _convolution(geometry, lhs, rhs)
    return lax.conv_general_dilated(
        lhs, rhs, window_strides, padding, lhs_dilation, dilation, numbers, feature_group_count, precision=precision
    )


def _gradient_of_input(
    geometry: ConvolutionGeometry, shape: tuple[int, ...], kernel: jax.Array, gradient: jax.Array
) -> jax.Array:
    def native(kernel: jax.Array, gradient: jax.Array) -> jax.Array:
        x = jax.ShapeDtypeStruct(shape, gradient.dtype)
        return jax.linear_transpose(lambda x: _native(geometry, x, kernel), x)(gradient)[0]

    cpu = functools.partial(gradient_of_input, geometry, shape)
    return lax.platform_dependent(kernel, gradient, cpu=cpu, default=native)


def _gradient_of_kernel(
    geometry: ConvolutionGeometry, shape: tuple[int, ...], x: jax.Array, gradient: jax.Array
) -> jax.Array:
    def native(x: jax.Array, gradient: jax.Array) -> jax.Array:
        kernel = jax.ShapeDtypeStruct(shape, gradient.dtype)
        return jax.linear_transpose(lambda kernel: _native(geometry, x, kernel), kernel)(gradient)[0]

    cpu = functools.partial(gradient_of_kernel, geometry, shape)
    return lax.platform_dependent(x, gradient, cpu=cpu, default=native)


@custom_bilinear(_gradient_of_input, _gradient_of_kernel)
def _convolution(geometry: ConvolutionGeometry, x: jax.Array, kernel: jax.Array) -> jax.Array:
    cpu = functools.partial(forward, geometry)
    native = functools.partial(_native, geometry)
    return lax.platform_dependent(x, kernel, cpu=cpu, default=native)


def _native(
    geometry: ConvolutionGeometry,
    x: Float[Array, "n *spatial channels"],
    kernel: Float[Array, "*kernel group_channels features"],
) -> Float[Array, "n *out_spatial features"]:
    return lax.conv_general_dilated(
        x,
        kernel,
        geometry.strides,
        geometry.padding,
        rhs_dilation=geometry.dilation,
        dimension_numbers=channels_last(x.ndim - 2),
        feature_group_count=geometry.groups,
        precision=geometry.precision,
    )


class Conv(nn.Conv):
    """`nn.Conv`, with its parameters, initialization and meaning, computed by `convolution`, with its limitations."""

    conv_general_dilated: Any = convolution

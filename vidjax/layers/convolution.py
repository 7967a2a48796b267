"""`Conv`: flax's convolution with CPU-friendly implementations.

XLA's CPU back end computes 3D, strided, grouped and depthwise convolutions and their gradients many times slower than
the same arithmetic in other forms (`vidjax.layers.cpu.convolution`). The implementation is chosen when a function is
compiled, by the platform that it is compiled for (`vidjax.layers.convolution_primitives`): elsewhere, such as in an
export for TPU, only the native operation is used.
"""

import contextlib
import contextvars
from collections.abc import Iterator, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Float

from vidjax.layers.convolution_primitives import convolve
from vidjax.layers.cpu.convolution import supports
from vidjax.layers.cpu.geometry import ConvolutionGeometry, channels_last
from vidjax.layers.cpu.onednn import choice
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

    Derivatives of any order exist in forward and reverse mode. Arrays with explicit shardings, or that vary over axes
    of `jax.shard_map`, are convolved natively.

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
    is_plain &= not any(map(_is_distributed, (lhs, rhs)))
    if not is_native_only() and is_plain and supports(lhs, rhs, geometry):
        return convolve(geometry, lhs, rhs)
    return lax.conv_general_dilated(
        lhs, rhs, window_strides, padding, lhs_dilation, dilation, numbers, feature_group_count, precision=precision
    )


def implementation(devices: Sequence[jax.Device], *, dtype: Any = "float32", is_mapped: bool = False) -> str:
    """What computes convolutions in programs for these devices, in words.

    Args:
      devices: of a program.
      dtype: that it computes in.
      is_mapped: whether it is one of `jax.pmap`, even if for one device.
    """
    if is_native_only() or devices[0].platform != "cpu":
        return "XLA's own"
    if is_mapped:
        return "vidjax's own forms, since pmap is used"
    if len(devices) > 1:
        return "vidjax's own forms, since there are several devices"
    return choice.describe() if jnp.dtype(dtype) == jnp.float32 else f"vidjax's own forms, since it is {dtype}"


def _is_distributed(x: jax.Array) -> bool:
    """Whether the type of an array says how it is distributed over devices."""
    kind = jax.typeof(x)
    return bool(kind.manual_axis_type.varying or kind.sharding.mesh.explicit_axes)


class Conv(nn.Conv):
    """`nn.Conv`, with its parameters, initialization and meaning, computed by `convolution`."""

    conv_general_dilated: Any = convolution

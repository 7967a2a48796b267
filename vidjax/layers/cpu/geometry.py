"""The geometry of a convolution: window, strides, padding and dilation."""

import dataclasses
from typing import Any

from jax import lax


@dataclasses.dataclass(frozen=True)
class ConvolutionGeometry:
    """How a kernel is applied to an input; one number for each spatial axis.

    Attributes:
      strides: distance between windows.
      padding: zeros before and after.
      dilation: distance between taps of the kernel.
      groups: of channels.
      precision: of the products, as in `jax.lax`.
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

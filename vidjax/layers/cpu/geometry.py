"""The geometry of a convolution: window, strides, padding and dilation."""

import dataclasses
from typing import Any

from jax import lax


@dataclasses.dataclass(frozen=True)
class ConvolutionGeometry:
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

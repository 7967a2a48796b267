"""Convolutions of images, applied to the frames of clips: each frame alone, or windows of frames.

Without a window in time a convolution has a 2D kernel [H, W, I, O] and sees every frame alone. With one, (extent,
stride), its kernel is [extent, H, W, I, O], valid in time. So the rank of a kernel says whether it spans time, and both
kinds have the same path: the weights of an image network fit by their names, inflated where they have to be.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from vidjax.layers.conv_norm import KAIMING_FAN_OUT
from vidjax.layers.convolution import Conv
from vidjax.layers.normalization import BatchNorm
from vidjax.layers.shapes import Clips, FeatureMaps

Window = tuple[int, int]  # extent and stride in time
Windows = Mapping[str, Window]  # by the path of the convolution below the module that is given them
Pair = tuple[int, int]

PADDINGS = ("symmetric", "same", "valid")
# Of a depthwise kernel [H, W, 1, C] flax counts all channels as outputs of each input.
KAIMING_FAN_IN = nn.initializers.variance_scaling(2.0, "fan_in", "normal")


def below(windows: Windows, name: str) -> dict[str, Window]:
    """The windows of the convolutions in the submodule `name`, by their paths in it.

    Example:
      >>> below({"stem": (4, 2), "stage2/block0/expand": (2, 2)}, "stage2")
      {'block0/expand': (2, 2)}
    """
    prefix = f"{name}/"
    return {path.removeprefix(prefix): window for path, window in windows.items() if path.startswith(prefix)}


def convolve_frames(
    x: Clips,
    features: int,
    kernel: Pair,
    stride: int = 1,
    *,
    window: Window | None = None,
    padding: str = "symmetric",
    groups: int = 1,
    **options: Any,
) -> FeatureMaps:
    """Applies a `Conv` of the calling module to the frames of clips.

    Args:
      x: float [B, T, H, W, C].
      features: output channels.
      kernel: height and width.
      stride: in space.
      window: extent and stride in time; None: each frame alone.
      padding: in space: "symmetric" (half the kernel on both sides, as in PyTorch models), "same" (TensorFlow's: at
        stride 2 and an even size one less in front) or "valid".
      groups: of channels.
      **options: of `Conv`, such as its name.

    Returns:
      float [B, T', H', W', features].

    Raises:
      ValueError: if there are fewer frames than the window spans.
    """
    strides = (stride, stride)
    if padding == "symmetric":
        pairs = [(extent // 2, extent // 2) for extent in kernel]
    else:
        pairs = [(int(a), int(b)) for a, b in lax.padtype_to_pads(x.shape[2:4], kernel, strides, padding.upper())]
    if window is None:
        frames = x.reshape(-1, *x.shape[2:])
        y = Conv(features, kernel, strides, pairs, feature_group_count=groups, **options)(frames)
        return y.reshape(*x.shape[:2], *y.shape[1:])
    extent, step = window
    if x.shape[1] < extent:
        raise ValueError(f"a convolution over {extent} frames was given {x.shape[1]}")
    conv = Conv(features, (extent, *kernel), (step, *strides), [(0, 0), *pairs], feature_group_count=groups, **options)
    return conv(x)


class FrameConvNorm(nn.Module):
    """`convolve_frames`, batch normalization and an activation.

    Attributes:
      features: output channels.
      kernel: height and width.
      stride: in space.
      window: extent and stride in time; None: each frame alone.
      padding: as in `convolve_frames`.
      groups: of channels.
      use_bias: whether the convolution has a bias, which batch normalization takes away again.
      activation: a function; None: none.
      norm: options of `BatchNorm`, by name.
      dtype, param_dtype: of the computation and of the parameters.
    """

    features: int
    kernel: Pair = (1, 1)
    stride: int = 1
    window: Window | None = None
    padding: str = "symmetric"
    groups: int = 1
    use_bias: bool = False
    activation: Any = nn.relu
    norm: Any = None
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Clips, *, train: bool) -> FeatureMaps:
        """Maps float [B, T, H, W, C] to [B, T', H', W', features]."""
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        y: jax.Array = convolve_frames(
            x,
            self.features,
            self.kernel,
            self.stride,
            window=self.window,
            padding=self.padding,
            groups=self.groups,
            use_bias=self.use_bias,
            kernel_init=KAIMING_FAN_IN if self.groups > 1 else KAIMING_FAN_OUT,
            name="conv",
            **types,
        )
        y = BatchNorm(name="norm", **types, **(self.norm or {}))(y, train=train)
        return y if self.activation is None else self.activation(y)

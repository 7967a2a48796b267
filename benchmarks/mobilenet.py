"""Sandler et al. 2018, "MobileNetV2: Inverted Residuals and Linear Bottlenecks" (CVPR), with vidjax's convolutions.

Each block expands the channels by a 1x1 convolution, applies a depthwise convolution and projects to few channels
without a non-linearity (table 1); if neither size nor channels change, its input is added.
"""

from typing import Any

import flax.linen as nn
import jax

from vidjax.layers.convolution import Conv
from vidjax.layers.normalization import BatchNorm
from vidjax.models.output import Output

STEM, LAST = 32, 1280
# Table 2: expansion, output channels, blocks, stride of the first of them.
BLOCKS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


class _Layer(nn.Module):
    """Convolution, batch normalization and optional ReLU6."""

    features: int
    extent: int
    stride: int = 1
    groups: int = 1
    relu: bool = True

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        pad, kernel = self.extent // 2, (self.extent, self.extent)
        options: dict[str, Any] = {"padding": [(pad, pad)] * 2, "feature_group_count": self.groups, "use_bias": False}
        x = Conv(self.features, kernel, self.stride, name="conv", **options)(x)
        x = BatchNorm(name="norm")(x, train=train)
        return nn.relu6(x) if self.relu else x


class InvertedResidual(nn.Module):
    """Expansion, depthwise convolution, projection (figure 4).

    Attributes:
      features: output channels.
      stride: in space.
      expansion: the depthwise convolution has so many times the channels of the input.
    """

    features: int
    stride: int
    expansion: int

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps float [B, H, W, C] to [B, h, w, features]."""
        hidden, y = x.shape[-1] * self.expansion, x
        if self.expansion != 1:
            y = _Layer(hidden, 1, name="expand")(y, train=train)
        y = _Layer(hidden, 3, self.stride, groups=hidden, name="depthwise")(y, train=train)
        y = _Layer(self.features, 1, relu=False, name="project")(y, train=train)
        return x + y if y.shape == x.shape else y


class MobileNetV2(nn.Module):
    """MobileNetV2, of width 1 and without dropout.

    Attributes:
      num_classes: K.
    """

    num_classes: int

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> Output:
        """Maps float [B, H, W, 3] to logits [B, 1, K]."""
        x, number = _Layer(STEM, 3, 2, name="stem")(images, train=train), 0
        for expansion, features, repeats, stride in BLOCKS:
            for repeat in range(repeats):
                block = InvertedResidual(features, stride if repeat == 0 else 1, expansion, name=f"block{number}")
                x, number = block(x, train=train), number + 1
        x = _Layer(LAST, 1, name="last")(x, train=train)
        return Output(nn.Dense(self.num_classes, name="classes")(x.mean(axis=(1, 2)))[:, None])

"""Sandler et al. 2018, "MobileNetV2: Inverted Residuals and Linear Bottlenecks" (CVPR).

Table 2: 3,504,872 parameters with 1000 classes. Blocks expand the channels by a 1 x 1 convolution, filter each channel
(depthwise) and project to few channels without an activation.
"""

from typing import Any, ClassVar, NamedTuple

import flax.linen as nn

from vidjax.layers.frame_convolution import FrameConvNorm, Windows, below
from vidjax.layers.shapes import Clips, FeatureMaps
from vidjax.models.image_trunk import ImageTrunk


class BlockStage(NamedTuple):
    """Equal blocks, of which the first has the stride.

    Attributes:
      kernel: of the depthwise convolutions.
      stride: of the first one.
      expansion: of the channels.
      features: output channels.
      blocks: their number.
    """

    kernel: int
    stride: int
    expansion: int
    features: int
    blocks: int


class _InvertedResidual(nn.Module):
    """A block; the identity is added where stride and channels allow.

    Attributes:
      stage: whose block it is.
      stride: in space.
      windows: of "expand".
      options: of `FrameConvNorm`.
    """

    stage: BlockStage
    stride: int
    windows: Windows
    options: Any

    @nn.compact
    def __call__(self, x: Clips, *, train: bool) -> FeatureMaps:
        channels = x.shape[-1]
        inner = channels * self.stage.expansion
        y, options = x, self.options
        if self.stage.expansion != 1:
            expand = FrameConvNorm(inner, window=self.windows.get("expand"), name="expand", **options)
            y = expand(y, train=train)
        size = (self.stage.kernel,) * 2
        y = FrameConvNorm(inner, size, self.stride, groups=inner, name="depthwise", **options)(y, train=train)
        project = FrameConvNorm(self.stage.features, name="project", **{**options, "activation": None})
        y = project(y, train=train)
        return x + y if self.stride == 1 and channels == self.stage.features else y


class _InvertedResiduals(nn.Module):
    """The blocks of a stage, `block0` to `block<n - 1>`.

    Attributes:
      stage: what it consists of.
      windows: of "block0/expand".
      options: of `FrameConvNorm`.
    """

    stage: BlockStage
    windows: Windows
    options: Any

    @nn.compact
    def __call__(self, x: Clips, *, train: bool) -> FeatureMaps:
        for number in range(self.stage.blocks):
            name, stride = f"block{number}", self.stage.stride if number == 0 else 1
            block = _InvertedResidual(self.stage, stride, below(self.windows, name), self.options, name=name)
            x = block(x, train=train)
        return x


class InvertedResidualTrunk(ImageTrunk):
    """A convolution, seven stages of inverted residual blocks, and a 1 x 1 convolution to 1280 channels, `final`.

    Over time may go the first convolution (`stem`), and those that expand the channels of the first blocks of stages 2
    and 3, which have no identity beside them.

    The variant "torch" has epsilon 1e-5 and pads both sides alike; "keras" has 1e-3, and TensorFlow's padding SAME.
    """

    STAGES: ClassVar[tuple[str, ...]] = ("stem", *(f"stage{number}" for number in range(1, 8)), "final")
    TEMPORAL: ClassVar[tuple[tuple[str, ...], ...]] = (("stem",), ("stage2/block0/expand",), ("stage3/block0/expand",))
    TABLE: ClassVar[tuple[BlockStage, ...]] = ()

    @nn.compact
    def __call__(self, clips: Clips, *, train: bool) -> FeatureMaps:
        """Maps float [B, T, H, W, 3] to [B, T', H / 32, W / 32, 1280], rounded up.

        Raises:
          ValueError: for a window of a convolution that may not span time, or of more frames than there are.
        """
        windows = self._checked_windows()
        options = self._unit_options(1e-3 if self._is_keras else 1e-5)
        options |= {"activation": nn.relu6, "padding": "same" if self._is_keras else "symmetric"}
        x = FrameConvNorm(32, (3, 3), 2, window=windows.get("stem"), name="stem", **options)(clips, train=train)
        for number, stage in enumerate(self.TABLE, start=1):
            name = f"stage{number}"
            x = _InvertedResiduals(stage, below(windows, name), options, name=name)(x, train=train)
        return FrameConvNorm(1280, name="final", **options)(x, train=train)


class MobileNetV2(InvertedResidualTrunk):
    """MobileNetV2 (table 2) without its classifier: 2,223,872 parameters."""

    TABLE: ClassVar[tuple[BlockStage, ...]] = (
        BlockStage(3, 1, 1, 16, 1),
        BlockStage(3, 2, 6, 24, 2),
        BlockStage(3, 2, 6, 32, 3),
        BlockStage(3, 2, 6, 64, 4),
        BlockStage(3, 1, 6, 96, 3),
        BlockStage(3, 2, 6, 160, 3),
        BlockStage(3, 1, 6, 320, 1),
    )

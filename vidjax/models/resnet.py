"""He et al. 2016, "Deep Residual Learning for Image Recognition" (CVPR): ResNet50.

The network of 50 layers in table 1: 25,557,032 parameters with 1000 classes in PyTorch's form, 25,583,592 in that of
Keras, whose convolutions have biases.
"""

from typing import Any, ClassVar

import flax.linen as nn

from vidjax.layers.frame_convolution import FrameConvNorm, Windows, below
from vidjax.layers.pooling import max_pool
from vidjax.layers.shapes import Clips, FeatureMaps
from vidjax.models.image_trunk import ImageTrunk

STAGES_OF_BLOCKS = ((64, 3), (128, 4), (256, 6), (512, 3))  # channels of the 3 x 3 convolutions, and blocks


class _Bottleneck(nn.Module):
    """1 x 1, 3 x 3 and 1 x 1 convolutions, `a` to `c`, and a shortcut.

    Attributes:
      features: of the 3 x 3 convolution; the output has four times as many.
      stride: in space.
      stride_first: has `a` the stride (the paper), or `b`?
      windows: of "a" and "shortcut", the same.
      options: of `FrameConvNorm`.
    """

    features: int
    stride: int
    stride_first: bool
    windows: Windows
    options: Any

    @nn.compact
    def __call__(self, x: Clips, *, train: bool) -> FeatureMaps:
        first, second = (self.stride, 1) if self.stride_first else (1, self.stride)
        plain = {**self.options, "activation": None}
        shortcut = x
        if x.shape[-1] != 4 * self.features or self.stride != 1:
            window = self.windows.get("shortcut")
            project = FrameConvNorm(4 * self.features, (1, 1), self.stride, window=window, name="shortcut", **plain)
            shortcut = project(x, train=train)
        a = FrameConvNorm(self.features, (1, 1), first, window=self.windows.get("a"), name="a", **self.options)
        y = a(x, train=train)
        y = FrameConvNorm(self.features, (3, 3), second, name="b", **self.options)(y, train=train)
        y = FrameConvNorm(4 * self.features, name="c", **plain)(y, train=train)
        return nn.relu(y + shortcut)


class _Stage(nn.Module):
    """Bottleneck blocks, `block0` to `block<n - 1>`, of which the first has the stride.

    Attributes:
      features, stride_first, options: as in `_Bottleneck`.
      blocks: their number.
      stride: in space.
      windows: of "block0/a" and "block0/shortcut".
    """

    features: int
    blocks: int
    stride: int
    stride_first: bool
    windows: Windows
    options: Any

    @nn.compact
    def __call__(self, x: Clips, *, train: bool) -> FeatureMaps:
        for number in range(self.blocks):
            name, stride = f"block{number}", self.stride if number == 0 else 1
            windows = below(self.windows, name)
            x = _Bottleneck(self.features, stride, self.stride_first, windows, self.options, name=name)(x, train=train)
        return x


class ResNet50(ImageTrunk):
    """ResNet50 without its classifier: a convolution with a max pool (`stem`) and four stages of bottleneck blocks.

    Over time may go the first convolution, and in the first blocks of stages 1 and 2 the first 1 x 1 convolution, with
    that of the shortcut beside it.

    The variant "torch" has the stride of a block in its 3 x 3 convolution and epsilon 1e-5 (torchvision, timm). "keras"
    has it in the first 1 x 1 convolution, as the paper, biases in all convolutions, and epsilon 1.001e-5.
    """

    STAGES: ClassVar[tuple[str, ...]] = ("stem", *(f"stage{number}" for number in range(1, 5)))
    TEMPORAL: ClassVar[tuple[tuple[str, ...], ...]] = (
        ("stem",),
        ("stage1/block0/a", "stage1/block0/shortcut"),
        ("stage2/block0/a", "stage2/block0/shortcut"),
    )

    @nn.compact
    def __call__(self, clips: Clips, *, train: bool) -> FeatureMaps:
        """Maps float [B, T, H, W, 3] to [B, T', H / 32, W / 32, 2048], rounded up.

        Raises:
          ValueError: for a window of a convolution that may not span time, or of more frames than there are.
        """
        windows, is_keras = self._checked_windows(), self._is_keras
        options = {**self._unit_options(1.001e-5 if is_keras else 1e-5), "use_bias": is_keras}
        x = FrameConvNorm(64, (7, 7), 2, window=windows.get("stem"), name="stem", **options)(clips, train=train)
        x = max_pool(x, (1, 3, 3), (1, 2, 2), [(0, 0), (1, 1), (1, 1)])
        for number, (features, blocks) in enumerate(STAGES_OF_BLOCKS, start=1):
            name, stride = f"stage{number}", 1 if number == 1 else 2
            stage = _Stage(features, blocks, stride, is_keras, below(windows, name), options, name=name)
            x = stage(x, train=train)
        return x

"""Simonyan & Zisserman 2015, "Very Deep Convolutional Networks for Large-Scale Image Recognition" (ICLR): VGG19.

Configuration E of table 1, without batch normalization: 143,667,240 parameters with its three dense layers and 1000
classes (`head=full` at 224 pixels), 20,024,384 without them.
"""

from typing import Any, ClassVar

import flax.linen as nn

from vidjax.layers.conv_norm import KAIMING_FAN_OUT
from vidjax.layers.frame_convolution import Windows, below, convolve_frames
from vidjax.layers.pooling import max_pool
from vidjax.layers.shapes import Clips, FeatureMaps
from vidjax.models.image_trunk import ImageTrunk

BLOCKS = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))  # channels and number of convolutions


class _Stage(nn.Module):
    """3 x 3 convolutions with ReLU, `conv1` to `conv<n>`, and a max pool.

    Attributes:
      features: output channels.
      convolutions: their number.
      windows: of "conv1".
      options: of `Conv`.
    """

    features: int
    convolutions: int
    windows: Windows
    options: Any

    @nn.compact
    def __call__(self, x: Clips) -> FeatureMaps:
        for number in range(1, self.convolutions + 1):
            name = f"conv{number}"
            window = self.windows.get(name)
            x = nn.relu(convolve_frames(x, self.features, (3, 3), window=window, name=name, **self.options))
        return max_pool(x, (1, 2, 2), (1, 2, 2))


class VGG19(ImageTrunk):
    """The convolutions of VGG19, five stages that end with a max pool.

    Over time may go the first convolutions of stages 1, 2 and 3. Both variants are the same.
    """

    STAGES: ClassVar[tuple[str, ...]] = tuple(f"stage{number}" for number in range(1, 6))
    TEMPORAL: ClassVar[tuple[tuple[str, ...], ...]] = (("stage1/conv1",), ("stage2/conv1",), ("stage3/conv1",))

    @nn.compact
    def __call__(self, clips: Clips, *, train: bool) -> FeatureMaps:
        """Maps float [B, T, H, W, 3] to [B, T', H / 32, W / 32, 512], rounded down; `train` changes nothing.

        Raises:
          ValueError: for a window of a convolution that may not span time, or of more frames than there are.
        """
        windows = self._checked_windows()
        options = {"kernel_init": KAIMING_FAN_OUT, "dtype": self.dtype, "param_dtype": self.param_dtype}
        x = clips
        for name, (features, convolutions) in zip(self.STAGES, BLOCKS, strict=True):
            x = _Stage(features, convolutions, below(windows, name), options, name=name)(x)
        return x

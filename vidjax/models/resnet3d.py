"""Tran et al. 2018, "A Closer Look at Spatiotemporal Convolutions for Action Recognition" (CVPR): R3D and R(2+1)D.

Residual networks of 18 layers (table 1) whose convolutions are 3 x 3 x 3 (R3D), or each split into 1 x 3 x 3 and
3 x 1 x 1, with as many channels in between as keep the number of parameters (R(2+1)D, section 3.5).
"""

import functools
from typing import Annotated, Any

import flax.linen as nn
import jax.numpy as jnp

from vidjax.layers.conv_norm import ConvNorm, Triple
from vidjax.layers.dropout import Dropout
from vidjax.layers.shapes import Clips, ExampleIds, FeatureMaps
from vidjax.models.output import Output
from vidjax.options.declaring import Option

_WIDTHS = (64, 128, 256, 512)
_BLOCKS = (2, 2, 2, 2)


class _Block(nn.Module):
    """Two convolutions and a shortcut.

    Attributes:
      features: output channels.
      stride: in time, height and width, of the first convolution.
      factorized: R(2+1)D.
      options: of `ConvNorm`.
    """

    features: int
    stride: int
    factorized: bool
    options: Any

    @nn.compact
    def __call__(self, x: Clips, *, train: bool) -> FeatureMaps:
        first, channels = (self.stride,) * 3, x.shape[-1]
        # For both convolutions, computed from the input of the block, as in the authors' code.
        middle = channels * self.features * 27 // (channels * 9 + 3 * self.features)
        shortcut = x
        if channels != self.features or self.stride != 1:
            project = ConvNorm(self.features, (1, 1, 1), first, relu=False, name="shortcut", **self.options)
            shortcut = project(x, train=train)
        y = self._convolution(x, "a", middle, first, train, relu=True)
        y = self._convolution(y, "b", middle, (1, 1, 1), train, relu=False)
        return nn.relu(y + shortcut)

    def _convolution(self, x: Clips, name: str, middle: int, strides: Triple, train: bool, relu: bool) -> FeatureMaps:
        t, h, w = strides
        if not self.factorized:
            return ConvNorm(self.features, (3, 3, 3), strides, relu=relu, name=name, **self.options)(x, train=train)
        x = ConvNorm(middle, (1, 3, 3), (1, h, w), name=f"{name}_space", **self.options)(x, train=train)
        last = ConvNorm(self.features, (3, 1, 1), (t, 1, 1), relu=relu, name=f"{name}_time", **self.options)
        return last(x, train=train)


class ResNet3D(nn.Module):
    """R3D-18 or R(2+1)D-18.

    Attributes:
      num_classes: K.
      factorized: R(2+1)D.
      width_multiplier: scales all channels; 1 is the paper's.
      dropout: before the classifier.
      group_size: of batch normalization.
      axis_name, dtype, param_dtype: as in `BatchNorm`.
    """

    num_classes: int
    factorized: bool = False
    width_multiplier: Annotated[float, Option("scales all channels; 1 is the paper's", above=0)] = 1.0
    dropout: Annotated[float, Option("probability of dropping a unit before the classifier", at_least=0, below=1)] = 0.0
    group_size: int | None = None
    axis_name: str | None = None
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, rgb: Clips, *, example_ids: ExampleIds | None = None, train: bool = False) -> Output:
        """Maps float [B, T, H, W, 3] (the paper: 16 x 112 x 112) to logits [B, 1, K]."""
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        norm = {"group_size": self.group_size, "axis_name": self.axis_name}
        options = {"norm": norm, **types}
        widths = [round(width * self.width_multiplier) for width in _WIDTHS]
        if self.factorized:
            x = ConvNorm(round(45 * self.width_multiplier), (1, 7, 7), (1, 2, 2), name="stem_space", **options)(
                rgb, train=train
            )
            x = ConvNorm(widths[0], (3, 1, 1), name="stem_time", **options)(x, train=train)
        else:
            x = ConvNorm(widths[0], (3, 7, 7), (1, 2, 2), name="stem", **options)(rgb, train=train)
        for stage, (width, blocks) in enumerate(zip(widths, _BLOCKS, strict=True), start=2):
            for number in range(blocks):
                stride = 2 if stage > 2 and number == 0 else 1
                block = _Block(width, stride, self.factorized, options, name=f"res{stage}_{number}")
                x = block(x, train=train)
        x = Dropout(self.dropout, name="dropout")(x.mean(axis=(1, 2, 3)), example_ids, train=train)
        logits = nn.Dense(self.num_classes, kernel_init=nn.initializers.normal(0.01), name="classes", **types)(x)
        return Output(logits[:, None])


VARIANTS: dict[str, Any] = {
    "r3d_18": ResNet3D,
    "r2plus1d_18": functools.partial(ResNet3D, factorized=True),
}

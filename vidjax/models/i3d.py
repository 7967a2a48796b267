"""Carreira & Zisserman 2017, "Quo Vadis, Action Recognition?" (CVPR): I3D, Inception-V1 inflated to 3D.

Figure 3. All convolutions are N x N x N where those of Inception-V1 (Szegedy et al. 2015, table 1) are N x N; the first
two max pools do not merge time. Sonnet's BatchNorm without gamma (epsilon 1e-3, decay 0.999) and ReLU follow
every convolution but the last. Modules have the names of the published checkpoint, with its oddity.
"""

from typing import Annotated, Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float

from vidjax.layers.conv_norm import ConvNorm, Triple
from vidjax.layers.convolution import Conv
from vidjax.layers.dropout import Dropout
from vidjax.layers.pooling import avg_pool, max_pool
from vidjax.layers.shapes import Array, Clips, ExampleIds
from vidjax.models.output import Output
from vidjax.options.declaring import Option

# Output channels of the branches: 1x1x1; 1x1x1 then 3x3x3; 1x1x1 then 3x3x3; pool then 1x1x1.
_MIXED = {
    "Mixed_3b": (64, (96, 128), (16, 32), 32),
    "Mixed_3c": (128, (128, 192), (32, 96), 64),
    "Mixed_4b": (192, (96, 208), (16, 48), 64),
    "Mixed_4c": (160, (112, 224), (24, 64), 64),
    "Mixed_4d": (128, (128, 256), (24, 64), 64),
    "Mixed_4e": (112, (144, 288), (32, 64), 64),
    "Mixed_4f": (256, (160, 320), (32, 128), 128),
    "Mixed_5b": (256, (160, 320), (32, 128), 128),
    "Mixed_5c": (384, (192, 384), (48, 128), 128),
}
_POOLS: dict[str, tuple[Triple, Triple]] = {  # before the module of that name: window, strides
    "Mixed_4b": ((3, 3, 3), (2, 2, 2)),
    "Mixed_5b": ((2, 2, 2), (2, 2, 2)),
}
_MOMENTUM, _EPSILON = 0.999, 1e-3


class _Mixed(nn.Module):
    """An Inception module.

    Attributes:
      branches: as in `_MIXED`.
      options: of `ConvNorm`.
      odd_name: of the second convolution of branch 2, in the published checkpoint.
    """

    branches: Any
    options: Any
    odd_name: bool = False

    @nn.compact
    def __call__(self, x: Clips, *, train: bool) -> Float[Array, "batch time height width features"]:
        def unit(x: jax.Array, features: int, size: int, name: str) -> jax.Array:
            return ConvNorm(features, (size,) * 3, padding="SAME", name=name, **self.options)(x, train=train)

        one, two, three, four = self.branches
        second = "Branch_2/Conv3d_0a_3x3" if self.odd_name else "Branch_2/Conv3d_0b_3x3"
        pooled = max_pool(x, (3, 3, 3), padding="SAME")
        return jnp.concatenate(
            [
                unit(x, one, 1, "Branch_0/Conv3d_0a_1x1"),
                unit(unit(x, two[0], 1, "Branch_1/Conv3d_0a_1x1"), two[1], 3, "Branch_1/Conv3d_0b_3x3"),
                unit(unit(x, three[0], 1, "Branch_2/Conv3d_0a_1x1"), three[1], 3, second),
                unit(pooled, four, 1, "Branch_3/Conv3d_0b_1x1"),
            ],
            axis=-1,
        )


class I3D(nn.Module):
    """I3D.

    Attributes:
      num_classes: K.
      in_channels: 3 for the input `rgb`, 2 for the input `flow`.
      dropout: before the classifier; the paper's code keeps all in evaluation and half in fine-tuning.
      group_size: of batch normalization.
      axis_name, dtype, param_dtype: as in `BatchNorm`.
    """

    num_classes: int
    in_channels: Annotated[int, Option("3 for RGB, 2 for optical flow", at_least=1)] = 3
    dropout: Annotated[float, Option("probability of dropping a unit before the classifier", at_least=0, below=1)] = 0.5
    group_size: int | None = None
    axis_name: str | None = None
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @property
    def inputs(self) -> tuple[str, ...]:
        """`flow` where it has two channels."""
        return ("flow",) if self.in_channels == 2 else ("rgb",)

    @nn.compact
    def __call__(
        self,
        rgb: Clips | None = None,
        *,
        flow: Float[Array, "batch time height width flow_channels"] | None = None,
        example_ids: ExampleIds | None = None,
        train: bool = False,
    ) -> Output:
        """Maps float [B, T, H, W, in_channels], values in [-1, 1], to logits [B, N, K]: N places in time and space.

        One place in space at 224 pixels, where all are averaged before the softmax (`evaluate.average=logits`).

        Raises:
          ValueError: for both rgb and flow, neither, or another number of channels.
        """
        clips = flow if rgb is None else rgb
        if clips is None or (rgb is not None and flow is not None):
            raise ValueError("I3D takes exactly one of rgb and flow")
        if clips.shape[-1] != self.in_channels:
            raise ValueError(f"I3D with in_channels={self.in_channels} was given {clips.shape[-1]} channels")
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        norm: dict[str, Any] = {"momentum": _MOMENTUM, "epsilon": _EPSILON, "use_scale": False}
        norm |= {"group_size": self.group_size, "axis_name": self.axis_name}
        # Without gamma, and so with variance 1 of the responses, as Sonnet's default.
        options = {"norm": norm, "kernel_init": nn.initializers.lecun_normal(), **types}

        def unit(x: jax.Array, features: int, size: int, stride: int, name: str) -> jax.Array:
            conv = ConvNorm(features, (size,) * 3, (stride,) * 3, padding="SAME", name=name, **options)
            return conv(x, train=train)

        x = unit(clips, 64, 7, 2, "Conv3d_1a_7x7")
        x = max_pool(x, (1, 3, 3), (1, 2, 2), "SAME")
        x = unit(x, 64, 1, 1, "Conv3d_2b_1x1")
        x = unit(x, 192, 3, 1, "Conv3d_2c_3x3")
        x = max_pool(x, (1, 3, 3), (1, 2, 2), "SAME")
        for name, branches in _MIXED.items():
            if name in _POOLS:
                x = max_pool(x, *_POOLS[name], "SAME")
            x = _Mixed(branches, options, odd_name=name == "Mixed_5b", name=name)(x, train=train)
        window = tuple(min(size, extent) for size, extent in zip((2, 7, 7), x.shape[1:4], strict=True))
        x = avg_pool(x, window)
        x = Dropout(self.dropout, name="dropout")(x, example_ids, train=train)
        logits = Conv(self.num_classes, (1, 1, 1), name="Logits/Conv3d_0c_1x1", **types)(x)
        return Output(logits.reshape(logits.shape[0], -1, self.num_classes))

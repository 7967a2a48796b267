"""Feichtenhofer et al. 2019, "SlowFast Networks for Video Recognition" (ICCV), and the networks that it compares with.

Two residual networks (table 1) see the same clip: the slow pathway few of its frames with many channels, the fast one
all frames with few. After the stem and after res2, res3 and res4 a lateral connection adds the features of the fast
pathway to the slow one. No layer pools over time before the end. Constants that the paper does not state are those of
the authors' code (PySlowFast), such as the frames that the slow pathway takes and the larger lateral kernel of 8x8.

The single-pathway networks: Slow alone, Fast alone, and C2D and I3D with a ResNet (Wang et al. 2018, "Non-local Neural
Networks", tables 1 and 2), whose pool after res2 merges pairs of frames.
"""

import functools
from collections.abc import Sequence
from typing import Annotated, Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from vidjax.errors import OptionError
from vidjax.layers.conv_norm import ConvNorm
from vidjax.layers.dropout import Dropout
from vidjax.layers.pooling import avg_pool, max_pool
from vidjax.layers.shapes import Array, Clips, ExampleIds
from vidjax.models.output import Output
from vidjax.options.declaring import Option

LATERALS = ("none", "time_to_channel_sum", "time_to_channel_concat", "time_strided_sample", "time_strided_conv")
# Temporal kernels of the stem and of the blocks of each stage, in turn.
_Kernels = tuple[int, tuple[tuple[int, ...], ...]]
_SLOW: _Kernels = (1, ((1,), (1,), (3,), (3,)))
_FAST: _Kernels = (5, ((3,), (3,), (3,), (3,)))
_I3D: _Kernels = (5, ((3,), (3, 1), (3, 1), (1, 3)))
_C2D: _Kernels = (1, ((1,), (1,), (1,), (1,)))
_R50, _R18 = (3, 4, 6, 3), (2, 2, 2, 2)


class Block(nn.Module):
    """A residual block.

    Attributes:
      features: output channels.
      inner: channels between its convolutions; None: a basic block of two convolutions, not a bottleneck of three.
      temporal_kernel: of its first convolution.
      stride: in space.
      options: of `ConvNorm`.
    """

    features: int
    inner: int | None
    temporal_kernel: int
    stride: int
    options: Any

    @nn.compact
    def __call__(self, x: Clips, *, train: bool) -> Float[Array, "batch time out_height out_width {self.features}"]:
        t, strides, shortcut = self.temporal_kernel, (1, self.stride, self.stride), x
        if x.shape[-1] != self.features or self.stride != 1:
            project = ConvNorm(self.features, (1, 1, 1), strides, relu=False, name="shortcut", **self.options)
            shortcut = project(x, train=train)
        last = {"relu": False, "zero_scale": True, **self.options}
        if self.inner is None:
            x = ConvNorm(self.features, (t, 3, 3), strides, name="a", **self.options)(x, train=train)
            x = ConvNorm(self.features, (1, 3, 3), name="b", **last)(x, train=train)
        else:
            x = ConvNorm(self.inner, (t, 1, 1), name="a", **self.options)(x, train=train)
            x = ConvNorm(self.inner, (1, 3, 3), strides, name="b", **self.options)(x, train=train)
            x = ConvNorm(self.features, (1, 1, 1), name="c", **last)(x, train=train)
        return nn.relu(x + shortcut)


class Stage(nn.Module):
    """The blocks of a stage.

    Attributes:
      features: output channels.
      blocks: how many.
      bottleneck: of three convolutions each, with a quarter of the channels between them.
      temporal_kernels: of the blocks, in turn.
      stride: in space, of the first block.
      options: of `ConvNorm`.
    """

    features: int
    blocks: int
    bottleneck: bool
    temporal_kernels: Sequence[int]
    stride: int
    options: Any

    @nn.compact
    def __call__(self, x: Clips, *, train: bool) -> Float[Array, "batch time out_height out_width {self.features}"]:
        inner = self.features // 4 if self.bottleneck else None
        for number in range(self.blocks):
            kernel = self.temporal_kernels[number % len(self.temporal_kernels)]
            stride = self.stride if number == 0 else 1
            x = Block(self.features, inner, kernel, stride, self.options, name=f"block{number}")(x, train=train)
        return x


def _stem(features: int, temporal_kernel: int, name: str, options: Any) -> ConvNorm:
    return ConvNorm(features, (temporal_kernel, 7, 7), (1, 2, 2), name=name, **options)


def _stem_pool(x: Clips) -> Float[Array, "batch time out_height out_width channels"]:
    return max_pool(x, (1, 3, 3), (1, 2, 2), [(0, 0), (1, 1), (1, 1)])


class _Network(nn.Module):
    """Base of the networks with one and two pathways.

    Attributes:
      num_classes: K.
      blocks: of res2 to res5.
      bottleneck: blocks of three convolutions.
      width: channels of the stem of the slow pathway, or of the only one.
      head_window: height and width over which the classifier averages: 7, those of the last stage at 224 pixels.
      dropout: before the classifier.
      group_size: of batch normalization; the published recipe has 8, None is the global batch.
      axis_name, dtype, param_dtype: as in `BatchNorm`.
    """

    num_classes: int
    blocks: Sequence[int] = _R50
    bottleneck: bool = True
    width: Annotated[int, Option("channels of the stem, that of the slow pathway if there are two", at_least=1)] = 64
    head_window: int = 7
    dropout: Annotated[float, Option("probability of dropping a unit before the classifier", at_least=0, below=1)] = 0.5
    group_size: int | None = None
    axis_name: str | None = None
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @property
    def _types(self) -> dict[str, Any]:
        return {"dtype": self.dtype, "param_dtype": self.param_dtype}

    @property
    def _options(self) -> dict[str, Any]:
        return {"norm": {"group_size": self.group_size, "axis_name": self.axis_name}, **self._types}

    def _stage(self, number: int, width: int, kernels: Sequence[int], prefix: str = "") -> Stage:
        features = width * 2 ** (number - 2) * (4 if self.bottleneck else 1)
        stride, name = 1 if number == 2 else 2, f"{prefix}res{number}"
        return Stage(features, self.blocks[number - 2], self.bottleneck, kernels, stride, self._options, name=name)

    def _pooled(self, x: Clips) -> Float[Array, "batch positions channels"]:
        """Averages over all time and each window in space (all, where it is smaller): [B, T, H, W, C] to [B, N, C]."""
        _, t, h, w, c = x.shape
        x = avg_pool(x, (t, min(self.head_window, h), min(self.head_window, w)))
        return x.reshape(x.shape[0], -1, c)

    def _classify(
        self, x: Float[Array, "batch positions channels"], example_ids: ExampleIds | None, train: bool
    ) -> Output:
        x = Dropout(self.dropout, name="dropout")(x, example_ids, train=train)
        init = nn.initializers.normal(0.01)
        return Output(nn.Dense(self.num_classes, kernel_init=init, name="classes", **self._types)(x))


class SlowFast(_Network):
    """SlowFast.

    Attributes:
      alpha: ratio of the frames of the fast pathway to those of the slow one.
      beta_inverse: ratio of the channels of the slow pathway to those of the fast one.
      lateral: "none", "time_to_channel_sum", "time_to_channel_concat", "time_strided_sample" or "time_strided_conv"
        (section 3.3).
      lateral_kernel: extent in time of that convolution.
    """

    alpha: Annotated[int, Option("frames of the fast pathway per frame of the slow pathway", at_least=1)] = 8
    beta_inverse: Annotated[int, Option("channels of the slow pathway per channel of the fast pathway", at_least=1)] = 8
    lateral: Annotated[str, Option("connection from the fast to the slow pathway (section 3.3)", choices=LATERALS)] = (
        "time_strided_conv"
    )
    lateral_kernel: Annotated[int, Option("frames that the convolution of time_strided_conv spans", at_least=1)] = 5

    @nn.compact
    def __call__(self, rgb: Clips, *, example_ids: ExampleIds | None = None, train: bool = False) -> Output:
        """Maps float [B, T, H, W, 3] to logits [B, N, K]; at 224 pixels N is 1.

        Raises:
          OptionError: for a lateral connection that does not fit.
          ValueError: for an unknown one, or if T is not a multiple of alpha.
        """
        if self.lateral not in LATERALS:
            raise ValueError(f"lateral={self.lateral!r} is not one of {', '.join(LATERALS)}")
        if rgb.shape[1] % self.alpha:
            raise ValueError(
                f"SlowFast with alpha={self.alpha} was given {rgb.shape[1]} frames: give a multiple of alpha"
            )
        fast_width = self.width // self.beta_inverse
        slow, fast = rgb[:, self._slow_frames(rgb.shape[1])], rgb
        slow = _stem_pool(_stem(self.width, _SLOW[0], "slow_stem", self._options)(slow, train=train))
        fast = _stem_pool(_stem(fast_width, _FAST[0], "fast_stem", self._options)(fast, train=train))
        slow = self._fused(slow, fast, "lateral1", train)
        for number in range(2, 6):
            slow = self._stage(number, self.width, _SLOW[1][number - 2], "slow_")(slow, train=train)
            fast = self._stage(number, fast_width, _FAST[1][number - 2], "fast_")(fast, train=train)
            if number < 5:
                slow = self._fused(slow, fast, f"lateral{number}", train)
        return self._classify(jnp.concatenate([self._pooled(slow), self._pooled(fast)], axis=-1), example_ids, train)

    def _slow_frames(self, count: int) -> np.ndarray:
        """Evenly from the first to the last, rounded down: no stride (the authors' pack_pathway_output).

        In float32 and from both ends to the middle, as `torch.linspace` does: where a time is all but whole, the frame
        depends on how it is computed (in float64 from 160 frames on).
        """
        number = count // self.alpha
        index, last = np.arange(number, dtype=np.float32), np.float32(count - 1)
        step = last / np.float32(max(number - 1, 1))
        return np.where(index < max(number // 2, 1), step * index, last - step * (number - 1 - index)).astype(int)

    def _fused(
        self,
        slow: Float[Array, "batch slow_time height width slow_channels"],
        fast: Float[Array, "batch fast_time height width fast_channels"],
        name: str,
        train: bool,
    ) -> Float[Array, "batch slow_time height width fused_channels"]:
        """The slow pathway fused with the lateral connection: [B, T / alpha, h, w, C + ...]."""
        b, t, h, w, c = fast.shape
        match self.lateral:
            case "none":
                return slow
            case "time_strided_sample":
                return jnp.concatenate([slow, fast[:, :: self.alpha]], axis=-1)
            case "time_strided_conv":
                kernel, strides = (self.lateral_kernel, 1, 1), (self.alpha, 1, 1)
                fused = ConvNorm(2 * c, kernel, strides, name=name, **self._options)(fast, train=train)
                return jnp.concatenate([slow, fused], axis=-1)
        grouped = fast.reshape(b, t // self.alpha, self.alpha, h, w, c)
        packed = jnp.moveaxis(grouped, 2, 4).reshape(b, t // self.alpha, h, w, self.alpha * c)
        if self.lateral == "time_to_channel_concat":
            return jnp.concatenate([slow, packed], axis=-1)
        if packed.shape[-1] != slow.shape[-1]:
            raise OptionError(
                f"{{lateral}}=time_to_channel_sum needs {{alpha}} = {{beta_inverse}}, not {self.alpha} and"
                f" {self.beta_inverse}",
                fields=("lateral", "alpha", "beta_inverse"),
            )
        return slow + packed


class SinglePathway(_Network):
    """One residual network over time.

    Attributes:
      temporal_kernels: of the stem, and of the blocks of each stage in turn.
      pool_time: the pool after res2 merges pairs of frames.
    """

    temporal_kernels: Any = _SLOW
    pool_time: bool = False

    @nn.compact
    def __call__(self, rgb: Clips, *, example_ids: ExampleIds | None = None, train: bool = False) -> Output:
        """Maps float [B, T, H, W, 3] to logits [B, N, K]; at 224 pixels N is 1."""
        x = _stem_pool(_stem(self.width, self.temporal_kernels[0], "stem", self._options)(rgb, train=train))
        for number in range(2, 6):
            x = self._stage(number, self.width, self.temporal_kernels[1][number - 2])(x, train=train)
            if number == 2 and self.pool_time:
                x = max_pool(x, (2, 1, 1), (2, 1, 1))
        return self._classify(self._pooled(x), example_ids, train)


VARIANTS: dict[str, Any] = {
    "slowfast_r50_4x16": SlowFast,
    "slowfast_r50_8x8": functools.partial(SlowFast, alpha=4, lateral_kernel=7),
    "slow_r50": SinglePathway,
    "fast_r50": functools.partial(SinglePathway, temporal_kernels=_FAST, width=8),
    "i3d_r50": functools.partial(SinglePathway, temporal_kernels=_I3D, pool_time=True),
    "c2d_r50": functools.partial(SinglePathway, temporal_kernels=_C2D, pool_time=True),
    # For small machines: basic blocks, a quarter of the width; and its slow pathway alone.
    "slow_r18_small": functools.partial(SinglePathway, blocks=_R18, bottleneck=False, width=16, dropout=0.2),
    "slowfast_r18_small": functools.partial(
        SlowFast, blocks=_R18, bottleneck=False, width=16, beta_inverse=4, alpha=4, dropout=0.2
    ),
}

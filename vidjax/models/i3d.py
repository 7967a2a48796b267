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

from vidjax.layers.attention import AttentionPooling, FramesToTellApart, Pooling, positions_of
from vidjax.layers.conv_norm import ConvNorm, Triple
from vidjax.layers.convolution import Conv
from vidjax.layers.dropout import Dropout
from vidjax.layers.pooling import avg_pool, max_pool
from vidjax.layers.shapes import Array, Clips, ExampleIds, FeatureMaps
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
STAGES = ("Conv3d_1a_7x7", "Conv3d_2b_1x1", "Conv3d_2c_3x3", *_MIXED)
CLASSIFIER = "Logits/Conv3d_0c_1x1"
_POOLS: dict[str, tuple[Triple, Triple]] = {  # before the module of that name: window, strides
    "Mixed_4b": ((3, 3, 3), (2, 2, 2)),
    "Mixed_5b": ((2, 2, 2), (2, 2, 2)),
}
_MOMENTUM, _EPSILON = 0.999, 1e-3
FUSIONS = ("slow", "single_frame", "early", "late")
FUSES = ("average", "concatenate")
_STILL, _APART = 8, 15  # frames of a still clip; frames between the two clips of late fusion (Karpathy et al. 2014)


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
    """I3D, and what Karpathy et al. 2014 call single frame, early, late and slow fusion, with its weights.

    Attributes:
      num_classes: K.
      in_channels: 3 for the input `rgb`, 2 for the input `flow`.
      fusion: "slow" is the network as it is, which fuses time in all its layers; "early" is the same on what the data
        makes a short clip. "single_frame": each frame alone, repeated to a still clip of 8. "late": the first L and the
        last L of T = L + 15 frames are two clips, 15 frames apart, that go through the same layers.
      fuse: what late fusion does with the features of the two clips, each of the mean of its positions: "average" or
        "concatenate".
      pooling: "mean", or "attention" over all places (`AttentionPooling`), of each frame or clip alone.
      frames: of a clip; needed only for features of single frames that are pooled by attention, which are told apart.
      dropout: before the classifier; the paper's code keeps all in evaluation and half in fine-tuning.
      group_size: of batch normalization.
      axis_name, dtype, param_dtype: as in `BatchNorm`.
    """

    num_classes: int
    in_channels: Annotated[int, Option("3 for RGB, 2 for optical flow", at_least=1)] = 3
    fusion: Annotated[str, Option("where time is fused; slow is the network as published", choices=FUSIONS)] = "slow"
    fuse: Annotated[str, Option("how late fusion merges its two clips", choices=FUSES)] = "average"
    pooling: Pooling = "mean"
    frames: FramesToTellApart = None
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
        features: Float[Array, "batch ..."] | None = None,
        example_ids: ExampleIds | None = None,
        train: bool = False,
    ) -> Output:
        """Maps float [B, T, H, W, in_channels], values in [-1, 1], to logits [B, N, K]: N places in time and space.

        One place in space at 224 pixels, where all are averaged before the softmax (`evaluate.average=logits`). Single
        frames have T times as many; of late fusion, and of attention, N = 1 (T for single frames).

        `aux["features"]`, float [B, N, 1024], are what is classified, before dropout; of late fusion those of its two
        clips, and with attention all places that it attends to. They give the same logits without the convolutions, as
        `features` [B, N, 1024] or [B, 1, N, 1024] in place of a clip.

        Raises:
          ValueError: for more than one of rgb, flow and features, or none, for another number of channels, or for too
            few frames for late fusion.
        """
        given = [each for each in (rgb, flow, features) if each is not None]
        if len(given) != 1:
            raise ValueError("I3D takes exactly one of rgb, flow and features")
        if features is None:
            clips = given[0]
            if clips.shape[-1] != self.in_channels:
                raise ValueError(f"I3D with in_channels={self.in_channels} was given {clips.shape[-1]} channels")
            parts, clips = self._as_clips(clips)
            x = self._convolutions(clips, parts, train=train)
            if self.pooling == "mean":
                window = tuple(min(size, extent) for size, extent in zip((2, 7, 7), x.shape[1:4], strict=True))
                x = avg_pool(x, window)
                if self.fusion == "late":  # one vector for each of its clips
                    x = x.mean(axis=(1, 2, 3), keepdims=True)
            features = x.reshape(given[0].shape[0], -1, x.shape[-1])
        else:
            features = jnp.asarray(features).reshape(features.shape[0], -1, features.shape[-1])
            parts = self._parts(features.shape[1])
        types: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        x = features
        if self.pooling == "attention":
            x = AttentionPooling(name="pooler", **types)(x.reshape(x.shape[0], parts, -1, x.shape[-1]))
        if self.fusion == "late":
            x = x.mean(axis=1, keepdims=True) if self.fuse == "average" else x.reshape(x.shape[0], 1, -1)
        x = Dropout(self.dropout, name="dropout")(x, example_ids, train=train)
        logits = Conv(self.num_classes, (1, 1, 1), name=CLASSIFIER, **types)(x[:, :, None, None])
        return Output(logits.reshape(*x.shape[:2], self.num_classes), {"features": features})

    def _as_clips(self, clips: Clips) -> tuple[int, Float[Array, "..."]]:
        """The clips that go through the convolutions, of the same example one after the other, and how many it has."""
        t = clips.shape[1]
        if self.fusion == "single_frame":
            return t, jnp.repeat(clips.reshape(-1, 1, *clips.shape[2:]), _STILL, axis=1)
        if self.fusion == "late":
            if t <= _APART:
                raise ValueError(f"late fusion takes two clips {_APART} frames apart, of {_APART + 1} or more, got {t}")
            both = jnp.stack([clips[:, : t - _APART], clips[:, _APART:]], axis=1)
            return 2, both.reshape(-1, *both.shape[2:])
        return 1, clips

    def _parts(self, count: int) -> int:
        """How many frames or clips the N features are of, where that matters."""
        if self.fusion != "single_frame" or self.pooling == "mean":
            return 2 if self.fusion == "late" else 1
        return positions_of(count, self.frames)

    def _convolutions(self, clips: Clips, parts: int, *, train: bool) -> FeatureMaps:
        """Maps [B, T, H, W, C] to [B, T / 8, H / 32, W / 32, 1024], rounded up; `parts` clips are of one example."""
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        norm: dict[str, Any] = {"momentum": _MOMENTUM, "epsilon": _EPSILON, "use_scale": False}
        group_size = self.group_size and self.group_size * parts
        norm |= {"group_size": group_size, "axis_name": self.axis_name}
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
        return x

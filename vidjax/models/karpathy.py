"""Karpathy et al. 2014, "Large-scale Video Classification with Convolutional Neural Networks" (CVPR).

The paper writes its networks as strings, where C(d, f, s) is a convolution with d filters of f x f at
stride s, N a local response normalization, P a 2 x 2 max pool and FC(n) a dense layer (section 4.1):

    C(96,11,3)-N-P-C(256,5,1)-N-P-C(384,3,1)-C(384,3,1)-C(256,3,1)-P-FC(4096)-FC(4096)

Padding is not given there. With the first convolution VALID and everything else SAME, inputs of 170, 178
and (without the last pool) 89 pixels all end at 7 x 7 x 256, as section 4.2 says they do.

The networks differ in where time is fused (figure 1). A convolution that spans several frames sees them
stacked on its channels, so each is told by the windows in time of its first three layers:

    single frame, late fusion   every layer sees one frame
    early fusion                C1 sees all T frames
    slow fusion                 C1 sees 4 frames at stride 2, C2 and C3 see 2 of the responses below: 10 -> 4 -> 2 -> 1
"""

import dataclasses
import functools
from typing import Annotated, Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Float

from vidjax.layers.convolution import Conv
from vidjax.layers.dropout import Dropout
from vidjax.layers.normalization import NORMALIZATIONS, Normalization
from vidjax.layers.pooling import max_pool
from vidjax.layers.shapes import Array, Clips, ExampleIds, FeatureMaps
from vidjax.models.output import Output
from vidjax.options.declaring import Option

STREAMS = ("full", "both", "fovea", "context")
FUSE_AT = ("features", "scores")
FUSION = ("concatenate", "average", "max")
# (extent, stride) in time of the first three convolutions.
Windows = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
_PER_FRAME_WINDOWS: Windows = ((1, 1), (1, 1), (1, 1))


def _max_pool(x: Clips) -> Float[Array, "batch time out_height out_width channels"]:
    """P: 2 x 2, not overlapping; an odd last row or column is pooled alone. [B, T, H, W, C]."""
    return max_pool(x, (1, 2, 2), strides=(1, 2, 2), padding="SAME")


class ConvolutionalLayers(nn.Module):
    """C(96,11,3)-N-P-C(256,5,1)-N-P-C(384,3,1)-C(384,3,1)-C(256,3,1)-P, over windows in time.

    Attributes:
      windows: of the first three convolutions.
      share: share the weights of a layer over time; if False, each response has its own.
      last_pool: the last P, which section 4.2 leaves out of the streams of half size.
      normalization: "lrn" (paper: after the ReLU, at the two places of N), "batch" (before the ReLU of every
        convolution, as Ioffe & Szegedy 2015 place it) or "none".
      width_multiplier: scales the number of filters; 1 is the paper's.
      axis_name, dtype, param_dtype: as in `Normalization`.
    """

    windows: Windows = _PER_FRAME_WINDOWS
    share: bool = True
    last_pool: bool = True
    normalization: str = "lrn"
    width_multiplier: float = 1.0
    axis_name: str | None = None
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Clips, *, train: bool) -> FeatureMaps:
        """Maps float [B, T, H, W, C] to features [B, responses in time, h, w, 256 * width_multiplier]."""
        one, two, three = self.windows
        x = _max_pool(self._layer(x, 1, 96, 11, one, stride=3, padding="VALID", n=True, train=train))
        x = _max_pool(self._layer(x, 2, 256, 5, two, n=True, train=train))
        x = self._layer(x, 3, 384, 3, three, train=train)
        x = self._layer(x, 4, 384, 3, train=train)
        x = self._layer(x, 5, 256, 3, train=train)
        return _max_pool(x) if self.last_pool else x

    def _layer(
        self,
        x: Clips,
        number: int,
        filters: int,
        size: int,
        window: tuple[int, int] = (1, 1),
        *,
        stride: int = 1,
        padding: str = "SAME",
        n: bool = False,
        train: bool,
    ) -> FeatureMaps:
        """C(filters, size, stride) with its ReLU over windows in time, and N where n is set."""
        convolve = functools.partial(
            self._convolve, filters=filters, size=size, stride=stride, padding=padding, n=n, train=train
        )
        extent, step = window
        b, t, h, w, c = x.shape
        # [B, responses, H, W, extent * C]: the frames of a window stacked on the channels.
        stacked = jnp.stack(
            [
                jnp.moveaxis(x[:, start : start + extent], 1, 3).reshape(b, h, w, extent * c)
                for start in range(0, t - extent + 1, step)
            ],
            axis=1,
        )
        if self.share:
            return convolve(stacked, f"{number}")
        own = [convolve(stacked[:, i : i + 1], f"{number}_{i}") for i in range(stacked.shape[1])]
        return jnp.concatenate(own, axis=1)

    def _convolve(
        self, x: Clips, suffix: str, *, filters: int, size: int, stride: int, padding: str, n: bool, train: bool
    ) -> Float[Array, "batch time out_height out_width features"]:
        """Convolution, ReLU and normalization of every frame of [B, T, H, W, C], all with the same weights."""
        batch = self.normalization == "batch"
        folded = x.reshape(-1, *x.shape[2:])
        folded = Conv(
            round(filters * self.width_multiplier),
            (size, size),
            strides=stride,
            padding=padding,
            # Batch normalization would take it away again: its gradient is rounding noise, which Adam scales up.
            use_bias=not batch,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            name=f"conv{suffix}",
        )(folded)
        norm = Normalization(
            self.normalization, self.axis_name, dtype=self.dtype, param_dtype=self.param_dtype, name=f"norm{suffix}"
        )
        if batch:
            folded = nn.relu(norm(folded, train=train))
        else:
            folded = norm(nn.relu(folded), train=train) if n else nn.relu(folded)
        return folded.reshape(*x.shape[:2], *folded.shape[1:])


class DenseLayers(nn.Module):
    """FC(4096)-FC(4096)-classes, with ReLU and dropout after the first two.

    Attributes:
      num_classes: K.
      width_multiplier: scales the two hidden layers.
      dropout: probability of dropping a unit of a hidden layer; the paper uses it in transfer only.
      dtype, param_dtype: of the computation and of the parameters.
    """

    num_classes: int
    width_multiplier: float = 1.0
    dropout: float = 0.0
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, " batch *features"], example_ids: ExampleIds | None, *, train: bool
    ) -> Float[Array, "batch {self.num_classes}"]:
        """Maps float [B, ...] (flattened) to logits [B, K]."""
        x = x.reshape(x.shape[0], -1)
        dtypes: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        for layer in ("fc6", "fc7"):
            x = nn.relu(nn.Dense(round(4096 * self.width_multiplier), name=layer, **dtypes)(x))
            x = Dropout(self.dropout, name=f"{layer}_dropout")(x, example_ids, train=train)
        return nn.Dense(self.num_classes, name="fc8", **dtypes)(x)


class _FusionNetwork(nn.Module):
    """Base of the fusion networks: their options and streams.

    Attributes:
      num_classes: K.
      streams: "full" (the whole input), or section 4.2's streams of half the size: "context" (the whole frame
        at half resolution), "fovea" (its center at full resolution) or "both".
      normalization: "lrn" (paper), "batch" or "none", see `ConvolutionalLayers`.
      width_multiplier: scales filters and hidden units, for small machines; 1 is the paper's.
      dropout: probability of dropping a unit of the two hidden dense layers.
      axis_name: device axis of batch statistics, under `pmap` only.
      dtype, param_dtype: of the computation and of the parameters.
    """

    num_classes: int
    streams: Annotated[str, Option("half-size streams, or full for the whole input", choices=STREAMS)] = "full"
    normalization: Annotated[str, Option("after convolutions", choices=NORMALIZATIONS)] = "lrn"
    width_multiplier: Annotated[float, Option("scales filters and hidden units; 1 is the paper's", above=0)] = 1.0
    dropout: Annotated[
        float, Option("probability of dropping a hidden unit of the classifier", at_least=0, below=1)
    ] = 0.0
    axis_name: str | None = None
    dtype: Any = None
    param_dtype: Any = jnp.float32

    def _features(
        self, rgb: Clips, windows: Windows = _PER_FRAME_WINDOWS, *, share: bool = True, train: bool
    ) -> FeatureMaps:
        """Maps rgb [B, T, H, W, 3] to [B, responses in time, h, w, D]; streams are concatenated on D."""
        features = []
        for name, view in _streams(rgb, self.streams).items():
            layers = ConvolutionalLayers(
                windows=windows,
                share=share,
                last_pool=self.streams == "full",
                normalization=self.normalization,
                width_multiplier=self.width_multiplier,
                axis_name=self.axis_name,
                dtype=self.dtype,
                param_dtype=self.param_dtype,
                name=name,
            )
            features.append(layers(view, train=train))
        return jnp.concatenate(features, axis=-1)

    def _classifier(self, name: str = "classifier") -> DenseLayers:
        return DenseLayers(
            num_classes=self.num_classes,
            width_multiplier=self.width_multiplier,
            dropout=self.dropout,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            name=name,
        )

    def _classify_each(
        self, x: Float[Array, "batch time *features"], example_ids: ExampleIds | None, *, train: bool
    ) -> Float[Array, "batch time {self.num_classes}"]:
        """Maps features of frames [B, T, h, w, D] to logits [B, T, K], all frames with the same weights."""
        b, t = x.shape[:2]
        frame_ids = None if example_ids is None else jnp.repeat(example_ids, t) * t + jnp.tile(jnp.arange(t), b)
        logits = self._classifier()(x.reshape(b * t, *x.shape[2:]), frame_ids, train=train)
        return logits.reshape(b, t, self.num_classes)


def _streams(rgb: Clips, streams: str) -> dict[str, FeatureMaps]:
    """Name of the layers -> their input, a view of rgb [B, T, H, W, C]."""
    if streams == "full":
        return {"features": rgb}
    if streams not in STREAMS:
        raise ValueError(f"streams={streams!r} is not one of {', '.join(STREAMS)}")
    b, t, h, w, c = rgb.shape
    if h % 2 or w % 2:
        raise ValueError(f"streams of half the size need an even height and width, got {h} x {w}")
    y, x = h // 4, w // 4
    views = {
        "context": rgb.reshape(b, t, h // 2, 2, w // 2, 2, c).mean(axis=(3, 5)),
        "fovea": rgb[:, :, y : y + h // 2, x : x + w // 2],
    }
    return views if streams == "both" else {streams: views[streams]}


class SingleFrame(_FusionNetwork):
    """Single frame (figure 1, left): every frame is classified alone; N = T.

    Parameters at K = 101, 170 x 170, LRN: 72,326,629.
    """

    @nn.compact
    def __call__(self, rgb: Clips, *, example_ids: ExampleIds | None = None, train: bool = False) -> Output:
        """Maps rgb float [B, T, H, W, 3] to logits [B, T, K]."""
        return Output(self._classify_each(self._features(rgb, train=train), example_ids, train=train))


class EarlyFusion(_FusionNetwork):
    """Early fusion (figure 1): the first convolution spans all T frames, 11 x 11 x 3T; N = 1."""

    @nn.compact
    def __call__(self, rgb: Clips, *, example_ids: ExampleIds | None = None, train: bool = False) -> Output:
        """Maps rgb float [B, T, H, W, 3] to logits [B, 1, K]."""
        features = self._features(rgb, ((rgb.shape[1], 1), (1, 1), (1, 1)), train=train)
        return Output(self._classifier()(features, example_ids, train=train)[:, None, :])


class LateFusion(_FusionNetwork):
    """Late fusion (figure 1): one tower for each of two frames that are 15 frames apart; N = 1.

    The distance is the data's: frames=2, stride=15. More frames, each with a tower, are taken too.

    Attributes:
      fuse_at: "features" (paper: the towers meet in the first dense layer), or "scores" (each tower has its
        own dense layers, and the scores are fused).
      fusion: "concatenate" (paper; of scores: followed by a dense layer), "average" or "max".
      share_towers: the towers have the same weights (paper); False gives each its own.
    """

    fuse_at: Annotated[
        str,
        Option(
            "where the towers are merged: in the first dense layer, or after separate dense layers", choices=FUSE_AT
        ),
    ] = "features"
    fusion: Annotated[str, Option("how the towers are merged", choices=FUSION)] = "concatenate"
    share_towers: Annotated[bool, Option("the towers have the same weights")] = True

    @nn.compact
    def __call__(self, rgb: Clips, *, example_ids: ExampleIds | None = None, train: bool = False) -> Output:
        """Maps rgb float [B, T, H, W, 3] to logits [B, 1, K]."""
        if self.fuse_at not in FUSE_AT:
            raise ValueError(f"fuse_at={self.fuse_at!r} is not one of {', '.join(FUSE_AT)}")
        if self.fusion not in FUSION:
            raise ValueError(f"fusion={self.fusion!r} is not one of {', '.join(FUSION)}")
        b, t = rgb.shape[:2]
        if t < 2:
            raise ValueError(f"late fusion needs at least 2 frames, got {t}")
        towers = self._features(rgb, share=self.share_towers, train=train)
        if self.fuse_at == "features":
            return Output(self._classifier()(self._fuse(towers), example_ids, train=train)[:, None, :])
        if self.share_towers:
            scores = self._classify_each(towers, example_ids, train=train)
        else:
            own = [self._classifier(f"classifier_{i}")(towers[:, i], example_ids, train=train) for i in range(t)]
            scores = jnp.stack(own, axis=1)
        fused = self._fuse(scores)
        if self.fusion == "concatenate":
            dense = nn.Dense(self.num_classes, dtype=self.dtype, param_dtype=self.param_dtype, name="fusion")
            fused = dense(fused.reshape(b, -1))
        return Output(fused[:, None, :])

    def _fuse(self, x: Float[Array, "batch time *axes"]) -> Float[Array, " batch *fused"]:
        """[B, T, ...] -> [B, ...], or [B, T, ...] itself, which the next dense layer flattens."""
        if self.fusion == "concatenate":
            return x
        return x.mean(axis=1) if self.fusion == "average" else x.max(axis=1)


class SlowFusion(_FusionNetwork):
    """Slow fusion (figure 1, right): time is fused by the first three convolutions; N = 1.

    Of 10 frames, the first gives 4 responses (extent 4, stride 2), the second 2 (extent 2, stride 2), and the
    third sees them all. T may also be 6, 14, 18, ...: each response of the second layer needs two below it.

    Attributes:
      share_columns: the responses of a layer at different times have the same weights (paper: convolution in
        time); False gives each its own.
    """

    share_columns: Annotated[bool, Option("responses at different times have the same weights")] = True

    @nn.compact
    def __call__(self, rgb: Clips, *, example_ids: ExampleIds | None = None, train: bool = False) -> Output:
        """Maps rgb float [B, T, H, W, 3] to logits [B, 1, K]."""
        t = rgb.shape[1]
        if t < 6 or t % 4 != 2:
            raise ValueError(f"slow fusion needs 6, 10, 14, ... frames (10 in the paper), got {t}")
        responses = ((t - 4) // 2 + 1) // 2  # of the second layer
        features = self._features(rgb, ((4, 2), (2, 2), (responses, 1)), share=self.share_columns, train=train)
        return Output(self._classifier()(features, example_ids, train=train)[:, None, :])


FUSIONS: dict[str, type[_FusionNetwork]] = {
    "single_frame": SingleFrame,
    "early_fusion": EarlyFusion,
    "late_fusion": LateFusion,
    "slow_fusion": SlowFusion,
}


class Multires(_FusionNetwork):
    """Multiresolution (section 4.2): a fovea and a context stream of half the size, on any of the four fusions.

    The paper feeds 178 x 178 pixels, so that each stream sees 89 x 89. The streams have weights of their own
    and meet in the first dense layer. (The fusions take `streams` themselves, with all of their own options.)

    Attributes:
      base: a key of `FUSIONS`.
      streams: "both" (paper), "fovea" or "context".
    """

    streams: Annotated[str, Option("which of the two streams to use", choices=STREAMS[1:])] = "both"
    base: Annotated[str, Option("network applied to the streams", choices=tuple(FUSIONS))] = "single_frame"

    @nn.compact
    def __call__(self, rgb: Clips, *, example_ids: ExampleIds | None = None, train: bool = False) -> Output:
        """Maps rgb float [B, T, H, W, 3] to the logits of the base, H and W even."""
        if self.base not in FUSIONS:
            raise ValueError(f"base={self.base!r} is not one of {', '.join(FUSIONS)}")
        if self.streams == "full":
            raise ValueError(
                f"streams='full' is a single resolution: use the model {self.base}, or streams both, fovea or context"
            )
        shared = {field.name: getattr(self, field.name) for field in dataclasses.fields(_FusionNetwork)}
        network = FUSIONS[self.base](**{**shared, "name": self.base, "parent": self})
        return network(rgb, example_ids=example_ids, train=train)

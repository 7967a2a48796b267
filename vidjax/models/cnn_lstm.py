"""A convolutional network for each frame, and a recurrent network over the frames.

LRCN (Donahue et al. 2015, "Long-term Recurrent Convolutional Networks for Visual Recognition and Description") and the
networks of Ng et al. 2015, "Beyond Short Snippets: Deep Networks for Video Classification" (both CVPR), which classify
a sequence of features of frames by LSTM cells, or by the maximum of each feature over time ("conv pooling").
"""

from typing import Annotated, Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Bool, Float

from vidjax.layers.dropout import Dropout
from vidjax.layers.normalization import NORMALIZATIONS
from vidjax.layers.recurrent import CELLS, RecurrentLayers
from vidjax.layers.shapes import Array, Clips, ExampleIds
from vidjax.models.image_fusion import BACKBONES
from vidjax.models.image_trunk import VARIANTS
from vidjax.models.karpathy import ConvolutionalLayers
from vidjax.models.output import Output
from vidjax.options.declaring import Option

ALEXNET = "alexnet"  # the layers of the single-frame network; LRCN's and Ng's own are like it
POOLED = "max"
SCORED = ("last", "mean", "each")


class CnnLstm(nn.Module):
    """Features of frames, recurrent layers, and a classifier.

    Attributes:
      num_classes: K.
      backbone: of the frames: "alexnet", the convolutions of `single_frame`, or a key of `image_fusion.BACKBONES`,
        whose feature maps are averaged over space.
      units: of a dense layer with ReLU on the features of each frame; 0: no such layer. None: 4096 * width_multiplier
        of "alexnet" (fc6, as in LRCN), 0 of the others.
      cell: "lstm", "gru", "rnn", or "max", which takes the maximum over time in the place of recurrent layers.
      hidden: units of each recurrent layer and direction; 256 in LRCN, 512 in Ng's.
      layers: recurrent layers; 1 in LRCN, 5 in Ng's.
      bidirectional: whether each layer also reads the sequence from its end.
      scored: "last": the state after the last frame; "mean": the mean of all states; "each": every state by itself,
        N = T, as in both papers (`loss.average=growing` is Ng's weighting).
      normalization, width_multiplier: of "alexnet", as in `single_frame`; None: response normalization, and the paper's
        width.
      variant: of a published backbone, see `ImageTrunk`.
      dropout: of the features of frames, between recurrent layers, and before the classifier.
      group_size: of batch normalization, of a published backbone.
      axis_name, dtype, param_dtype: as in `BatchNorm`.
    """

    # Options that change nothing before the features (`inference.features`).
    AFTER_FEATURES: ClassVar[tuple[str, ...]] = ("units", "cell", "hidden", "layers", "bidirectional", "scored")

    num_classes: int
    backbone: Annotated[str, Option("network applied to each frame", choices=(ALEXNET, *BACKBONES))] = ALEXNET
    units: Annotated[
        int | None, Option("units of a dense layer on the features of each frame; 0: none", at_least=0)
    ] = None
    cell: Annotated[str, Option("cells over time, or the maximum over time", choices=(*CELLS, POOLED))] = "lstm"
    hidden: Annotated[int, Option("units of each recurrent layer and direction", at_least=1)] = 256
    layers: Annotated[int, Option("recurrent layers", at_least=1)] = 1
    bidirectional: Annotated[bool, Option("each recurrent layer reads in both directions")] = False
    scored: Annotated[
        str, Option("the state after the last frame, the mean of all states, or each of them", choices=SCORED)
    ] = "last"
    normalization: Annotated[str | None, Option("after convolutions of alexnet", choices=NORMALIZATIONS)] = None
    width_multiplier: Annotated[
        float | None, Option("scales filters and hidden units of alexnet; 1 is the paper's", above=0)
    ] = None
    variant: Annotated[str | None, Option("whose weights fit: padding, epsilon and so on differ", choices=VARIANTS)] = (
        None
    )
    dropout: Annotated[
        float,
        Option("probability of dropping a feature, a hidden unit, or an input of the classifier", at_least=0, below=1),
    ] = 0.0
    group_size: int | None = None
    axis_name: str | None = None
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @property
    def inputs(self) -> tuple[str, ...]:
        """`rgb`; `features` may take its place."""
        return ("rgb",)

    @nn.compact
    def __call__(
        self,
        rgb: Clips | None = None,
        *,
        rgb_mask: Bool[Array, "batch time"] | None = None,
        features: Float[Array, "batch ..."] | None = None,
        example_ids: ExampleIds | None = None,
        train: bool = False,
    ) -> Output:
        """Maps float [B, T, H, W, 3] to logits [B, N, K]: N = T where each state is scored, else 1.

        `aux["features"]` are those of the frames, float [B, T, D]. They give the same logits without the backbone, as
        `features` [B, T, D] or [B, 1, T, D] in place of rgb. Frames that are not there (`rgb_mask`, for sequences of
        one's own that are padded) leave the state as it is, so where each state is scored they have the scores of the
        last frame before them.

        Raises:
          ValueError: for both rgb and features or neither, or an option of another backbone.
        """
        if (rgb is None) == (features is None):
            raise ValueError("CnnLstm takes exactly one of rgb and features")
        self._check()
        if features is None:
            assert rgb is not None
            features = self._features(rgb, train=train)
        else:
            features = jnp.asarray(features).reshape(features.shape[0], -1, features.shape[-1])
        types: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        x = features
        units = self.units
        if units is None:
            units = round(4096 * (self.width_multiplier or 1.0)) if self.backbone == ALEXNET else 0
        if units:
            x = nn.relu(nn.Dense(units, name="fc6", **types)(x))
        x = Dropout(self.dropout, name="features_dropout")(x, example_ids, train=train)
        x = self._over_time(x, rgb_mask, example_ids, train=train)
        x = Dropout(self.dropout, name="dropout")(x, example_ids, train=train)
        return Output(nn.Dense(self.num_classes, name="classes", **types)(x), {"features": features})

    def _check(self) -> None:
        if self.backbone != ALEXNET and (self.normalization is not None or self.width_multiplier is not None):
            raise ValueError(f"normalization and width_multiplier are of backbone={ALEXNET}: leave them out (None)")
        if self.backbone == ALEXNET and (self.variant is not None or self.group_size is not None):
            raise ValueError(
                f"variant and group_size are of a published backbone, not of {ALEXNET}: leave them out (None)"
            )
        if self.cell == POOLED and (self.bidirectional or self.layers > 1 or self.scored != "last"):
            raise ValueError("cell=max has no recurrent layers: leave layers, bidirectional and scored out (None)")

    def _features(self, rgb: Clips, *, train: bool) -> Float[Array, "batch time size"]:
        shared = {"axis_name": self.axis_name, "dtype": self.dtype, "param_dtype": self.param_dtype}
        if self.backbone == ALEXNET:
            layers = ConvolutionalLayers(
                normalization=self.normalization or "lrn",
                width_multiplier=self.width_multiplier or 1.0,
                name="trunk",
                **shared,
            )
            maps = layers(rgb, train=train)
            return maps.reshape(*maps.shape[:2], -1)
        trunk = BACKBONES[self.backbone](variant=self.variant, group_size=self.group_size, name="trunk", **shared)
        return trunk(rgb, train=train).mean(axis=(2, 3))

    def _over_time(
        self,
        x: Float[Array, "batch time channels"],
        mask: Array | None,
        example_ids: ExampleIds | None,
        *,
        train: bool,
    ) -> Float[Array, "batch positions hidden"]:
        """What is scored, [B, N, H]."""
        if self.cell == POOLED:
            return _where(mask, x, jnp.asarray(-jnp.inf, x.dtype)).max(axis=1, keepdims=True)
        recurrent = RecurrentLayers(
            self.cell,
            self.hidden,
            self.layers,
            self.bidirectional,
            self.dropout,
            self.dtype,
            self.param_dtype,
            name="recurrent",
        )
        states, last = recurrent(x, mask, example_ids, train=train)
        if self.scored == "each":
            return states
        if self.scored == "last":
            return last[:, None]
        count = x.shape[1] if mask is None else jnp.maximum(mask.sum(1), 1)[:, None, None]
        return _where(mask, states, jnp.zeros((), states.dtype)).sum(1, keepdims=True) / count


def _where(mask: Array | None, x: Array, otherwise: Array) -> Array:
    return x if mask is None else jnp.where(mask[..., None], x, otherwise)

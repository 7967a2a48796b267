"""Image networks on videos, after Karpathy et al. 2014: single frame, early, late and slow fusion of any trunk.

    single frame   every frame is classified alone
    early fusion   the first convolution spans all T frames
    late fusion    each frame goes through the same trunk; features or scores are fused
    slow fusion    three convolutions span time: of 10 frames the first gives 4 responses (extent 4, stride 2), the
                   second 2 (extent 2, stride 2), and the third sees them all; `temporal_convolutions` says which

Convolutions that span time have the paths of those of the image network, with one more axis in front, so the weights of
an image network fit, inflated (`vidjax.pretrained.inflation`): a clip of equal frames then gives the image's output.
"""

import functools
from collections.abc import Mapping
from typing import Annotated, Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float

from vidjax.layers.attention import AttentionPooling, FramesToTellApart, Pooling, positions_of
from vidjax.layers.dropout import Dropout
from vidjax.layers.frame_convolution import Window
from vidjax.layers.shapes import Array, Clips, ExampleIds, FeatureMaps
from vidjax.models.efficientnet_lite import EfficientNetLite0
from vidjax.models.image_trunk import VARIANTS, ImageTrunk
from vidjax.models.inception_v3 import InceptionV3
from vidjax.models.mobilenet_v2 import MobileNetV2
from vidjax.models.output import Output
from vidjax.models.resnet import ResNet50
from vidjax.models.vgg import VGG19
from vidjax.options.declaring import Option

BACKBONES: Mapping[str, type[ImageTrunk]] = {
    "vgg19": VGG19,
    "mobilenet_v2": MobileNetV2,
    "efficientnet_lite0": EfficientNetLite0,
    "resnet50": ResNet50,
    "inception_v3": InceptionV3,
}
FUSIONS = ("single_frame", "early", "late", "slow")
FUSES = ("average", "max", "concatenate", "scores")
HEADS = ("pooled", "full")


def stage_names(backbone: str) -> tuple[str, ...]:
    """The stages of a backbone, first to last, as prefixes of parameter paths.

    Example:
      >>> stage_names("mobilenet_v2")[-2:]
      ('trunk/stage7', 'trunk/final')
    """
    return tuple(f"trunk/{name}" for name in BACKBONES[backbone].STAGES)


def temporal_convolutions(backbone: str, fusion: str) -> tuple[str, ...]:
    """The convolutions that span time, with their normalization, as prefixes of parameter paths.

    Example:
      >>> temporal_convolutions("mobilenet_v2", "slow")
      ('trunk/stem', 'trunk/stage2/block0/expand', 'trunk/stage3/block0/expand')
      >>> temporal_convolutions("mobilenet_v2", "late")
      ()
    """
    places = {"early": 1, "slow": 3}.get(fusion, 0)
    return tuple(f"trunk/{path}" for place in BACKBONES[backbone].TEMPORAL[:places] for path in place)


class ImageFusion(nn.Module):
    """An image network on videos.

    Attributes:
      num_classes: K.
      backbone: a key of `BACKBONES`.
      fusion: "single_frame", "early", "late" or "slow".
      fuse: what late fusion does: "average", "max" or "concatenate" features, or "scores": averages the scores of the
        frames. The distance of frames is the data's; 2 frames with stride 15 are the paper's.
      pooling: of feature maps: "mean" over space, or "attention" over all places (`AttentionPooling`), of each frame
        where frames are classified or fused later.
      head: "pooled" (a dense layer to the classes) or "full": two hidden layers before it, on flattened feature maps as
        VGG has them at 224 pixels, or on what attention makes of them.
      hidden: units of each hidden layer of the full head.
      frames: of a clip; needed only for features of frames that are pooled by attention, which are then told apart.
      variant: whose weights fit, see `ImageTrunk`; None: the backbone's default.
      dropout: before the classifier, and after each hidden layer.
      group_size: of batch normalization.
      axis_name, dtype, param_dtype: as in `BatchNorm`.
    """

    num_classes: int
    backbone: str
    fusion: Annotated[str, Option("where time is fused", choices=FUSIONS)] = "single_frame"
    fuse: Annotated[str, Option("how late fusion merges frames", choices=FUSES)] = "average"
    pooling: Pooling = "mean"
    head: Annotated[str, Option("one dense layer, or VGG's with two hidden layers", choices=HEADS)] = "pooled"
    hidden: Annotated[int, Option("units of each hidden layer of the full head", at_least=1)] = 4096
    frames: FramesToTellApart = None
    variant: Annotated[str | None, Option("whose weights fit: padding, epsilon and so on differ", choices=VARIANTS)] = (
        None
    )
    dropout: Annotated[float, Option("probability of dropping a unit before the classifier", at_least=0, below=1)] = 0.0
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
        features: Float[Array, "batch ..."] | None = None,
        example_ids: ExampleIds | None = None,
        train: bool = False,
    ) -> Output:
        """Maps float [B, T, H, W, 3] to logits [B, N, K]: N = T for single_frame, else 1.

        `aux["features"]` are what the head sees, float [B, N, D]: one vector per frame, or per clip where time is fused
        by then, pooled over space (flattened for the full head); of pooling=attention all places of all frames. They
        give the same logits without the trunk, as `features` [B, N, D] or [B, 1, N, D] in place of rgb.

        Raises:
          ValueError: for both rgb and features or neither, or a number of frames that the fusion does not take.
        """
        if (rgb is None) == (features is None):
            raise ValueError("ImageFusion takes exactly one of rgb and features")
        if rgb is not None:
            maps = self._trunk(rgb, train=train)
            features, positions = self._as_features(maps), maps.shape[1]
        else:
            assert features is not None
            features = jnp.asarray(features).reshape(features.shape[0], -1, features.shape[-1])
            positions = self._positions(features.shape[1])
        x = features
        if self.pooling == "attention":
            tokens = x.reshape(x.shape[0], positions, -1, x.shape[-1])
            x = AttentionPooling(dtype=self.dtype, param_dtype=self.param_dtype, name="pooler")(tokens)
        logits = self._classify(self._fused(x), example_ids, train=train)
        if self.fusion == "late" and self.fuse == "scores":
            logits = logits.mean(axis=1, keepdims=True)
        return Output(logits, {"features": features})

    def _trunk(self, rgb: Clips, *, train: bool) -> FeatureMaps:
        kind = BACKBONES[self.backbone]
        trunk = kind(
            windows=self._windows(kind, rgb.shape[1]),
            variant=self.variant,
            group_size=self.group_size,
            axis_name=self.axis_name,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            name="trunk",
        )
        return trunk(rgb, train=train)

    def _windows(self, kind: type[ImageTrunk], t: int) -> dict[str, Window]:
        """The extents and strides in time for clips of T frames."""
        extents: tuple[Window, ...] = ()
        if self.fusion == "late" and t < 2:
            raise ValueError(f"late fusion needs at least 2 frames, got {t}")
        if self.fusion == "early":
            extents = ((t, 1),)
        if self.fusion == "slow":
            if t < 6 or t % 4 != 2:
                raise ValueError(f"slow fusion needs 6, 10, 14, ... frames (10 in the paper), got {t}")
            extents = ((4, 2), (2, 2), (((t - 4) // 2 + 1) // 2, 1))
        return {path: window for place, window in zip(kind.TEMPORAL, extents) for path in place}

    def _as_features(self, maps: FeatureMaps) -> Float[Array, "batch positions channels"]:
        if self.pooling == "attention":
            return maps.reshape(maps.shape[0], -1, maps.shape[-1])
        if self.head == "full":
            return maps.reshape(*maps.shape[:2], -1)
        return maps.mean(axis=(2, 3))

    def _positions(self, count: int) -> int:
        """How many frames, or fused clips, the N features are of."""
        if self.fusion in ("early", "slow"):
            return 1
        if self.pooling == "mean":
            return count
        return positions_of(count, self.frames)

    def _fused(self, x: Float[Array, "batch positions channels"]) -> Float[Array, "batch out_positions out_channels"]:
        if self.fusion != "late":
            return x
        match self.fuse:
            case "average":
                return x.mean(axis=1, keepdims=True)
            case "max":
                return x.max(axis=1, keepdims=True)
            case "concatenate":
                return x.reshape(x.shape[0], 1, -1)
        return x

    def _classify(
        self, x: Float[Array, "batch positions channels"], example_ids: ExampleIds | None, *, train: bool
    ) -> Float[Array, "batch positions {self.num_classes}"]:
        types: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        if self.head == "full":
            for name in ("fc6", "fc7"):
                x = nn.relu(nn.Dense(self.hidden, name=name, **types)(x))
                x = Dropout(self.dropout, name=f"{name}_dropout")(x, example_ids, train=train)
        else:
            x = Dropout(self.dropout, name="dropout")(x, example_ids, train=train)
        logits: jax.Array = nn.Dense(
            self.num_classes, kernel_init=nn.initializers.normal(0.01), name="classes", **types
        )(x)
        return logits


NETWORKS: dict[str, Any] = {name: functools.partial(ImageFusion, backbone=name) for name in BACKBONES}

"""A siamese network on RGB and optical flow: two branches of 3D convolutions that share weights.

After the RGB + flow network of one of the projects that vidjax came from (branches 30-60-80 with FC(500) on 100 frames
of 100 pixels, concatenated), a relative of Martin et al. 2018, "Sport Action Recognition with Siamese Spatio-Temporal
CNNs: Application to Table Tennis" (CBMI), whose branches have weights of their own.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Float

from vidjax.layers.convolution import Conv
from vidjax.layers.dropout import Dropout
from vidjax.layers.normalization import Normalization
from vidjax.layers.pooling import max_pool
from vidjax.layers.shapes import Array, Clips, ExampleIds, FeatureMaps
from vidjax.models.output import Output
from vidjax.options.declaring import Option

TIED = ("all", "trunk", "none")
MERGES = ("concatenate", "sum", "product", "difference")
INPUTS = ("rgb", "flow")
NORMALIZATIONS = ("none", "batch")


class _Convolutions(nn.Module):
    """[C(n, 3x3x3) - normalization - ReLU - P(2x2x2)] for each width.

    May be called for several inputs: they have the same kernels, and statistics of their own.

    Attributes:
      widths: filters.
      first: number of the first convolution.
      normalization: "none" or "batch".
      axis_name, dtype, param_dtype: as in `Normalization`.
    """

    widths: Sequence[int]
    first: int = 1
    normalization: str = "none"
    axis_name: str | None = None
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Clips, name: str, *, train: bool) -> FeatureMaps:
        """Maps float [B, T, H, W, C] of the input of that name to feature maps; an odd last frame is pooled alone."""
        types: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        is_normalized = self.normalization == "batch"
        for number, filters in enumerate(self.widths, start=self.first):
            x = Conv(filters, (3, 3, 3), use_bias=not is_normalized, name=f"conv{number}", **types)(x)
            if is_normalized:
                x = Normalization("batch", self.axis_name, name=f"norm{number}_{name}", **types)(x, train=train)
            x = max_pool(nn.relu(x), (2, 2, 2), (2, 2, 2), "SAME")
        return x


class Siamese(nn.Module):
    """Branches on RGB and flow, merged, and a classifier.

    Attributes:
      num_classes: K.
      branches: "both", or "rgb" or "flow" alone, to compare with.
      tied: what the branches share: "all" (flow gets a third channel, its magnitude, as in Gkioxari & Malik 2015,
        "Finding Action Tubes"), "trunk" (all but the first convolution) or "none".
      merge: of the features [B, units] of both: "concatenate", "sum", "product" or "difference" (its absolute value).
      widths: filters of the three convolutions of a branch.
      units: of the dense layer of a branch.
      normalization: after convolutions: "none" or "batch"; each input has statistics, scale and bias of its own.
      dropout: of the merged features.
      axis_name: device axis of batch statistics, under `pmap` only.
      dtype, param_dtype: of the computation and of the parameters.
    """

    num_classes: int
    branches: Annotated[str, Option("both inputs, or one alone", choices=("both", *INPUTS))] = "both"
    tied: Annotated[str, Option("weights that both branches share", choices=TIED)] = "all"
    merge: Annotated[str, Option("how the branches are merged", choices=MERGES)] = "concatenate"
    widths: Sequence[int] = (30, 60, 80)
    units: Annotated[int, Option("units of the dense layer of a branch", at_least=1)] = 500
    normalization: Annotated[str, Option("after convolutions", choices=NORMALIZATIONS)] = "none"
    dropout: Annotated[
        float, Option("probability of dropping a merged feature before the classifier", at_least=0, below=1)
    ] = 0.0
    axis_name: str | None = None
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @property
    def inputs(self) -> tuple[str, ...]:
        """`rgb` and `flow`, or one of them."""
        return INPUTS if self.branches == "both" else (self.branches,)

    @nn.compact
    def __call__(
        self,
        rgb: Clips | None = None,
        flow: Float[Array, "batch time height width flow_channels"] | None = None,
        *,
        example_ids: ExampleIds | None = None,
        train: bool = False,
    ) -> Output:
        """Maps rgb float [B, T, H, W, 3] and flow float [B, T, H, W, 2] to logits [B, 1, K].

        Raises:
          ValueError: for other inputs than those of its branches.
        """
        given: Mapping[str, Array] = {n: x for n, x in zip(INPUTS, (rgb, flow)) if x is not None}
        if tuple(given) != self.inputs:
            raise ValueError(f"Siamese with branches={self.branches} takes {', '.join(self.inputs)}")
        if self.tied == "all" and self.branches == "both":
            assert flow is not None
            # Without a derivative that is infinite where there is no motion.
            magnitude = jnp.sqrt(jnp.square(flow).sum(-1, keepdims=True) + jnp.finfo(flow.dtype).eps)
            given = {**given, "flow": jnp.concatenate([flow, magnitude], -1)}
        features = self._features(given, train=train)
        x = Dropout(self.dropout, name="dropout")(self._merged(features), example_ids, train=train)
        dense = nn.Dense(self.num_classes, dtype=self.dtype, param_dtype=self.param_dtype, name="classes")
        return Output(dense(x)[:, None])

    def _features(self, given: Mapping[str, Array], *, train: bool) -> list[Array]:
        """Float [B, units] of each input."""
        types: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        shared = {"normalization": self.normalization, "axis_name": self.axis_name, **types}
        own_stems = int(self.tied == "trunk")  # convolutions that each input has of its own
        trunks: dict[str, tuple[_Convolutions, nn.Dense]] = {}

        def trunk(name: str) -> tuple[_Convolutions, nn.Dense]:
            prefix = f"{name}_" if self.tied == "none" else ""
            if prefix not in trunks:
                rest = _Convolutions(self.widths[own_stems:], 1 + own_stems, name=f"{prefix}trunk", **shared)
                trunks[prefix] = rest, nn.Dense(self.units, name=f"{prefix}fc", **types)
            return trunks[prefix]

        found = []
        for name, x in given.items():
            if own_stems:
                x = _Convolutions(self.widths[:1], name=f"{name}_stem", **shared)(x, name, train=train)
            convolutions, dense = trunk(name)
            x = convolutions(x, name, train=train)
            found.append(nn.relu(dense(x.reshape(x.shape[0], -1))))
        return found

    def _merged(self, features: Sequence[Array]) -> Array:
        if len(features) == 1:
            return features[0]
        rgb, flow = features
        match self.merge:
            case "sum":
                return rgb + flow
            case "product":
                return rgb * flow
            case "difference":
                return jnp.abs(rgb - flow)
        return jnp.concatenate(features, -1)

"""Simonyan and Zisserman 2014, "Two-Stream Convolutional Networks for Action Recognition in Videos" (NeurIPS).

The spatial stream sees single frames, the temporal one L consecutive fields of optical flow, stacked on channels. Both
are CNN-M-2048 (Chatfield et al. 2014, "Return of the Devil in the Details", table 1), but for one normalization:

    C(96,7,2)-N-P-C(256,5,2)-N-P-C(512,3,1)-C(512,3,1)-C(512,3,1)-P-FC(4096)-FC(2048)

P is a 3 x 3 max pool at stride 2; the temporal stream leaves out the second N (section 5).
"""

from typing import Annotated, Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Float

from vidjax.layers.convolution import Conv
from vidjax.layers.dropout import Dropout
from vidjax.layers.normalization import NORMALIZATIONS, Normalization
from vidjax.layers.pooling import max_pool
from vidjax.layers.shapes import Array, Clips, ExampleIds
from vidjax.models.output import Output
from vidjax.options.declaring import Option

Fields = Float[Array, "batch time height width flow_channels"]
# Filters, size, stride and padding of the convolutions; the first two and the last are followed by a pool.
_CONVOLUTIONS = ((96, 7, 2, 0), (256, 5, 2, 1), (512, 3, 1, 1), (512, 3, 1, 1), (512, 3, 1, 1))
_POOLED = (1, 2, 5)
_SMALL_SIDE = 128  # pixels below which the second convolution has no stride, and pools keep odd rows


class CnnM(nn.Module):
    """CNN-M-2048 on images [B, H, W, C].

    Attributes:
      num_classes: K.
      normalized: numbers of the convolutions that response normalization follows.
      normalization: "lrn", "batch" (of every convolution) or "none".
      width_multiplier: scales filters and hidden units.
      dropout: after both hidden layers.
      axis_name, dtype, param_dtype: as in `Normalization`.
    """

    num_classes: int
    normalized: tuple[int, ...] = (1, 2)
    normalization: str = "lrn"
    width_multiplier: float = 1.0
    dropout: float = 0.0
    axis_name: str | None = None
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width channels"], example_ids: ExampleIds | None, *, train: bool
    ) -> Float[Array, "batch {self.num_classes}"]:
        """Maps float [B, H, W, C] to logits [B, K]."""
        types: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        is_small, is_batch = min(x.shape[1:3]) < _SMALL_SIDE, self.normalization == "batch"
        for number, (filters, size, stride, padding) in enumerate(_CONVOLUTIONS, start=1):
            stride = 1 if is_small and number == 2 else stride
            x = Conv(
                round(filters * self.width_multiplier),
                (size, size),
                strides=stride,
                padding=[(padding, padding)] * 2,
                use_bias=not is_batch,  # batch normalization would take it away again
                name=f"conv{number}",
                **types,
            )(x)
            norm = Normalization(self.normalization, self.axis_name, name=f"norm{number}", **types)
            if is_batch:
                x = nn.relu(norm(x, train=train))
            else:
                x = nn.relu(x)
                x = norm(x, train=train) if number in self.normalized else x
            if number in _POOLED:
                x = max_pool(x, (3, 3), (2, 2), "SAME" if is_small else "VALID")
        x = x.reshape(x.shape[0], -1)
        for name, units in (("fc6", 4096), ("fc7", 2048)):
            x = nn.relu(nn.Dense(round(units * self.width_multiplier), name=name, **types)(x))
            x = Dropout(self.dropout, name=f"{name}_dropout")(x, example_ids, train=train)
        logits: Array = nn.Dense(self.num_classes, name="classes", **types)(x)
        return logits


class _Streams(nn.Module):
    """Base of the networks: options of their streams.

    Attributes:
      num_classes: K.
      subtract_mean: whether the mean displacement of each field is taken out of it, most of which is the camera's.
      normalization: after convolutions, see `CnnM`.
      width_multiplier: scales filters and hidden units; 1 is the paper's.
      dropout: after both hidden layers; 0.5 to 0.9 in the paper.
      axis_name: device axis of batch statistics, under `pmap` only.
      dtype, param_dtype: of the computation and of the parameters.
    """

    num_classes: int
    subtract_mean: Annotated[bool, Option("take the mean displacement out of each field of flow")] = True
    normalization: Annotated[str, Option("after convolutions", choices=NORMALIZATIONS)] = "lrn"
    width_multiplier: Annotated[float, Option("scales filters and hidden units; 1 is the paper's", above=0)] = 1.0
    dropout: Annotated[
        float, Option("probability of dropping a hidden unit of the classifier", at_least=0, below=1)
    ] = 0.0
    axis_name: str | None = None
    dtype: Any = None
    param_dtype: Any = jnp.float32

    def _stream(self, name: str, normalized: tuple[int, ...]) -> CnnM:
        return CnnM(
            self.num_classes,
            normalized,
            self.normalization,
            self.width_multiplier,
            self.dropout,
            self.axis_name,
            self.dtype,
            self.param_dtype,
            name=name,
        )

    def _temporal(self, flow: Fields, example_ids: ExampleIds | None, *, train: bool) -> Array:
        """Maps fields float [B, L, H, W, 2] to logits [B, K]."""
        b, t, h, w, c = flow.shape
        if self.subtract_mean:
            flow = flow - flow.mean(axis=(2, 3), keepdims=True)
        stacked = jnp.moveaxis(flow, 1, 3).reshape(b, h, w, t * c)
        return self._stream("temporal", (1,))(stacked, example_ids, train=train)


class FlowCNN(_Streams):
    """The temporal stream alone: L = T fields of a clip of consecutive frames, 10 in the paper; N = 1."""

    @nn.compact
    def __call__(self, flow: Fields, *, example_ids: ExampleIds | None = None, train: bool = False) -> Output:
        """Maps flow float [B, T, H, W, 2] to logits [B, 1, K]."""
        return Output(self._temporal(flow, example_ids, train=train)[:, None])


class TwoStream(_Streams):
    """Both streams, trained together: the mean of their logits; N = 1.

    The spatial stream sees the middle frame of the clip. The paper trains the streams apart and fuses their scores, as
    `python -m vidjax ensemble` does with two runs.
    """

    @nn.compact
    def __call__(
        self, rgb: Clips, flow: Fields, *, example_ids: ExampleIds | None = None, train: bool = False
    ) -> Output:
        """Maps rgb float [B, T, H, W, 3] and flow float [B, T, H, W, 2] to logits [B, 1, K].

        `aux` has those of each stream, float [B, 1, K], as "spatial" and "temporal".
        """
        spatial = self._stream("spatial", (1, 2))(rgb[:, rgb.shape[1] // 2], example_ids, train=train)
        temporal = self._temporal(flow, example_ids, train=train)
        return Output(((spatial + temporal) / 2)[:, None], {"spatial": spatial[:, None], "temporal": temporal[:, None]})


NETWORKS: dict[str, type[_Streams]] = {"flow_cnn": FlowCNN, "two_stream": TwoStream}

"""Karpathy et al. 2014, "Large-scale Video Classification with Convolutional Neural Networks" (CVPR).

The paper writes its networks as strings, where C(d, f, s) is a convolution with d filters of f x f at
stride s, N a local response normalisation, P a 2 x 2 max pool and FC(n) a dense layer (section 4.1):

    C(96,11,3)-N-P-C(256,5,1)-N-P-C(384,3,1)-C(384,3,1)-C(256,3,1)-P-FC(4096)-FC(4096)

Padding is not given there. With the first convolution VALID and everything else SAME, inputs of 170, 178
and (without the last pool) 89 pixels all end at 7 x 7 x 256, as section 4.2 says they do.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from vidjax.layers.dropout import Dropout
from vidjax.layers.normalization import Normalization
from vidjax.models.output import Output


def _max_pool(x: jax.Array) -> jax.Array:
    """P: 2 x 2, not overlapping; an odd row or column at the end is pooled alone."""
    return nn.max_pool(x, (2, 2), strides=(2, 2), padding="SAME")


class ConvolutionalLayers(nn.Module):
    """C(96,11,3)-N-P-C(256,5,1)-N-P-C(384,3,1)-C(384,3,1)-C(256,3,1)-P.

    Attributes:
      normalization: "lrn" (paper: after the ReLU, at the two places of N), "batch" (before the ReLU of every
        convolution, as Ioffe & Szegedy 2015 place it) or "none".
      width_multiplier: scales the number of filters; 1 is the paper's.
      axis_name, dtype, param_dtype: as in `Normalization`.
    """

    normalization: str = "lrn"
    width_multiplier: float = 1.0
    axis_name: str | None = None
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps float [B, H, W, C] to features [B, h, w, 256 * width_multiplier]."""
        batch = self.normalization == "batch"

        def conv(x: jax.Array, name: str, filters: int, size: int, stride: int = 1, *, n: bool = False) -> jax.Array:
            """C(filters, size, stride) with its ReLU, and N where n is set."""
            x = nn.Conv(
                round(filters * self.width_multiplier),
                (size, size),
                strides=stride,
                padding="VALID" if name == "conv1" else "SAME",
                # Batch normalisation would take it away again: its gradient is rounding noise, which Adam scales up.
                use_bias=not batch,
                dtype=self.dtype,
                param_dtype=self.param_dtype,
                name=name,
            )(x)
            norm = Normalization(
                self.normalization,
                self.axis_name,
                dtype=self.dtype,
                param_dtype=self.param_dtype,
                name=name.replace("conv", "norm"),
            )
            if batch:
                return nn.relu(norm(x, train=train))
            return norm(nn.relu(x), train=train) if n else nn.relu(x)

        x = _max_pool(conv(x, "conv1", 96, 11, 3, n=True))
        x = _max_pool(conv(x, "conv2", 256, 5, n=True))
        x = conv(x, "conv3", 384, 3)
        x = conv(x, "conv4", 384, 3)
        x = conv(x, "conv5", 256, 3)
        return _max_pool(x)


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
    def __call__(self, x: jax.Array, example_ids: jax.Array | None, *, train: bool) -> jax.Array:
        """Maps float [B, ...] (flattened) to logits [B, K]."""
        x = x.reshape(x.shape[0], -1)
        dtypes: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        for layer in ("fc6", "fc7"):
            x = nn.relu(nn.Dense(round(4096 * self.width_multiplier), name=layer, **dtypes)(x))
            x = Dropout(self.dropout, name=f"{layer}_dropout")(x, example_ids, train=train)
        return nn.Dense(self.num_classes, name="fc8", **dtypes)(x)


class _FusionNetwork(nn.Module):
    """Options that the fusion networks share.

    Attributes:
      num_classes: K.
      normalization: "lrn" (paper), "batch" or "none", see `ConvolutionalLayers`.
      width_multiplier: scales filters and hidden units, for small machines; 1 is the paper's.
      dropout: probability of dropping a unit of the two hidden dense layers.
      axis_name: device axis of batch statistics, under `pmap` only.
      dtype, param_dtype: of the computation and of the parameters.
    """

    num_classes: int
    normalization: str = "lrn"
    width_multiplier: float = 1.0
    dropout: float = 0.0
    axis_name: str | None = None
    dtype: Any = None
    param_dtype: Any = jnp.float32

    def _features(self, x: jax.Array, *, train: bool) -> jax.Array:
        layers = ConvolutionalLayers(
            self.normalization, self.width_multiplier, self.axis_name, self.dtype, self.param_dtype, name="features"
        )
        return layers(x, train=train)

    def _classify(self, x: jax.Array, example_ids: jax.Array | None, *, train: bool) -> jax.Array:
        layers = DenseLayers(
            self.num_classes, self.width_multiplier, self.dropout, self.dtype, self.param_dtype, name="classifier"
        )
        return layers(x, example_ids, train=train)


class SingleFrame(_FusionNetwork):
    """Single frame (figure 1, left): every frame is classified alone; N = T.

    Parameters at K = 101, 170 x 170, LRN: 72,326,629.
    """

    @nn.compact
    def __call__(self, rgb: jax.Array, *, example_ids: jax.Array | None = None, train: bool = False) -> Output:
        """Maps rgb float [B, T, H, W, 3] to logits [B, T, K]."""
        b, t, h, w, c = rgb.shape
        frame_ids = None if example_ids is None else jnp.repeat(example_ids, t) * t + jnp.tile(jnp.arange(t), b)
        features = self._features(rgb.reshape(b * t, h, w, c), train=train)
        logits = self._classify(features, frame_ids, train=train)
        return Output(logits.reshape(b, t, self.num_classes))


class EarlyFusion(_FusionNetwork):
    """Early fusion (figure 1): the first convolution spans all T frames, 11 x 11 x 3T; N = 1."""

    @nn.compact
    def __call__(self, rgb: jax.Array, *, example_ids: jax.Array | None = None, train: bool = False) -> Output:
        """Maps rgb float [B, T, H, W, 3] to logits [B, 1, K]."""
        b, t, h, w, c = rgb.shape
        # A convolution that spans all of time is a 2D convolution over time stacked on the channels.
        stacked = jnp.moveaxis(rgb, 1, 3).reshape(b, h, w, t * c)
        logits = self._classify(self._features(stacked, train=train), example_ids, train=train)
        return Output(logits[:, None, :])

"""Normalisation of feature maps: local response normalisation and batch normalisation."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

NORMALIZATIONS = ("lrn", "batch", "none")


def local_response_normalization(
    x: jax.Array, *, k: float = 2.0, size: int = 5, alpha: float = 1e-4, beta: float = 0.5
) -> jax.Array:
    """Local response normalisation across channels.

    y[..., c] = x[..., c] / (k + alpha * sum_{|c' - c| <= size // 2} x[..., c']^2) ^ beta

    The sum is not divided by `size` (as PyTorch and Caffe do).

    Args:
      x: float [..., C].
      k, alpha, beta: constants; the defaults are those of Karpathy et al. 2014, section 4.1.
      size: number of channels in the sum, odd.

    Returns:
      float [..., C].

    References:
      Krizhevsky et al. 2012, section 3.3.
    """
    radius = size // 2
    channels = x.shape[-1]
    padding = [(0, 0)] * (x.ndim - 1) + [(radius, radius)]
    squares = jnp.pad(jnp.square(x), padding)
    total = sum(squares[..., offset : offset + channels] for offset in range(size))
    return x / (k + alpha * total) ** beta


class Normalization(nn.Module):
    """The "N" of a layer string, by name.

    Attributes:
      kind: "lrn" (no parameters), "batch" (statistics over batch and space) or "none".
      axis_name: device axis that batch statistics are averaged over (under `pmap` only; under `jit`
        a sharded batch has global statistics by itself).
      momentum, epsilon: of batch normalisation.
      dtype, param_dtype: of the computation and of the parameters.
    """

    kind: str
    axis_name: str | None = None
    momentum: float = 0.9
    epsilon: float = 1e-5
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Normalises float [..., C]; in training batch statistics are used and recorded."""
        if self.kind == "lrn":
            return local_response_normalization(x)
        if self.kind == "batch":
            return nn.BatchNorm(
                use_running_average=not train,
                momentum=self.momentum,
                epsilon=self.epsilon,
                axis_name=self.axis_name,
                dtype=self.dtype,
                param_dtype=self.param_dtype,
                name="batch",
            )(x)
        if self.kind == "none":
            return x
        raise ValueError(f"normalization {self.kind!r} is not one of {', '.join(NORMALIZATIONS)}")

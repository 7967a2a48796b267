"""Attention pooling: what a learned query finds in a set of feature vectors."""

from typing import Annotated, Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float

from vidjax.layers.shapes import Array
from vidjax.options.declaring import Option

POOLINGS = ("mean", "attention")
# Options of the models that have both.
Pooling = Annotated[str, Option("how places become one feature vector", choices=POOLINGS)]
FramesToTellApart = Annotated[
    int | None, Option("frames of a clip, to tell features of frames apart (pooling=attention)", at_least=1)
]


def positions_of(features: int, frames: int | None) -> int:
    """How many frames the features of a clip are of, where the features do not say it themselves.

    Args:
      features: N of a clip.
      frames: T.

    Raises:
      ValueError: if T is not given, or N is no multiple of it.
    """
    if frames is None or features % frames:
        raise ValueError(f"{features} features of frames are pooled by attention: give frames=T, which divides them")
    return frames


class AttentionPooling(nn.Module):
    """One learned query per head attends over all tokens, in any order.

    Tokens are normalized (layer normalization) and projected to keys and values of `width` channels; the heads'
    averages of values, weighted by softmax, are concatenated and normalized again. It has neither an output projection
    nor a multilayer perceptron, and (2 D + 4) `width` + 2 D parameters: few, to be trained on few videos.

    Attributes:
      width: channels of the result, of all heads together.
      heads: number of queries.
      dtype, param_dtype: of the computation and of the parameters.

    References:
      Lee et al. 2019, "Set Transformer", section 3.2 (pooling by multihead attention); Bardes et al. 2024, "Revisiting
      Feature Prediction for Learning Visual Representations from Video", section 3.1 (attentive probing).
    """

    width: int = 256
    heads: int = 4
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: Float[Array, "*axes tokens channels"]) -> Float[Array, "*axes {self.width}"]:
        """Maps float [..., N, D] to [..., width].

        Raises:
          ValueError: if the heads do not divide the width.
        """
        if self.width % self.heads:
            raise ValueError(f"{self.heads} heads do not divide width={self.width}")
        types: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        size = self.width // self.heads
        tokens = nn.LayerNorm(name="tokens_norm", **types)(tokens)
        # A bias would add the same to all scores of a query: its gradient is rounding noise, which Adam scales up.
        keys = nn.DenseGeneral((self.heads, size), use_bias=False, name="keys", **types)(tokens)
        values = nn.DenseGeneral((self.heads, size), name="values", **types)(tokens)
        query = self.param("query", nn.initializers.normal(1.0), (self.heads, size), self.param_dtype)
        scores = jnp.einsum("...nhc,hc->...hn", keys, query.astype(keys.dtype)) / size**0.5
        # In float32 at least: bfloat16 cannot tell the weights of many tokens apart.
        weights = jax.nn.softmax(scores.astype(jnp.promote_types(scores.dtype, jnp.float32)), axis=-1)
        pooled = jnp.einsum("...hn,...nhc->...hc", weights.astype(values.dtype), values)
        return nn.LayerNorm(name="norm", **types)(pooled.reshape(*pooled.shape[:-2], self.width))

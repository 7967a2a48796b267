"""Dropout whose mask depends on the example, not on its position in the batch."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float

from vidjax.layers.shapes import Array, ExampleIds


class Dropout(nn.Module):
    """Inverted dropout, drawn per example from (rng "dropout", layer, example id).

    `nn.Dropout` draws one mask for the whole array, so the masks change with the number of devices
    that the batch is split over. Here example i gets the same mask on whatever device it is computed.

    Attributes:
      rate: probability of dropping a unit, in [0, 1).

    References:
      Srivastava et al. 2014, "Dropout".
    """

    rate: float

    @nn.compact
    def __call__(
        self, x: Float[Array, " batch *axes"], example_ids: ExampleIds | None, *, train: bool
    ) -> Float[Array, " batch *axes"]:
        """Applies dropout in training; the identity otherwise.

        Args:
          x: float [B, ...].
          example_ids: int [B], the global example numbers; None is allowed if nothing is dropped.
          train: whether to drop.

        Returns:
          float [B, ...].

        Raises:
          ValueError: if units are to be dropped and `example_ids` is None.
        """
        if not train or self.rate == 0.0:
            return x
        if example_ids is None:
            raise ValueError("dropout in training needs example_ids [B], the global example numbers")
        key = self.make_rng("dropout")
        keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, example_ids)
        keep = 1.0 - self.rate
        mask = jax.vmap(lambda k: jax.random.bernoulli(k, keep, x.shape[1:]))(keys)
        return jnp.where(mask, x / keep, jnp.zeros_like(x))

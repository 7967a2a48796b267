"""A model of one's own, as `config.model.factory` takes it: constant logits, whose accuracy is known exactly."""

import flax.linen as nn
import jax.numpy as jnp

from vidjax.models import Output


class Constant(nn.Module):
    num_classes: int
    winner: int = 0

    @nn.compact
    def __call__(self, rgb, *, train=False):
        bias = self.param("bias", nn.initializers.zeros, (1,))
        logits = jnp.zeros((rgb.shape[0], 1, self.num_classes)).at[:, :, self.winner].set(1.0)
        return Output(logits + bias)

"""A custom model for `config.model.factory`: constant logits, whose accuracy is known exactly."""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from vidjax.models import Drawing as Images
from vidjax.models import Output


class Constant(nn.Module):
    num_classes: int
    winner: int = 0

    @nn.compact
    def __call__(self, rgb, *, train=False):
        bias = self.param("bias", nn.initializers.zeros, (1,))
        logits = jnp.zeros((rgb.shape[0], 1, self.num_classes)).at[:, :, self.winner].set(1.0)
        return Output(logits + bias)


class Drawing(Constant):
    """Shows the report its bias, as the brightness of a picture of each example."""

    def draw_examples(self, params, output, labels, class_names):
        images = np.full((1, len(labels), 36, 36, 1), np.asarray(params["bias"]) + 0.5)
        return [Images(f"{len(output.logits)} of {', '.join(class_names[label] for label in labels)}", images)]


class Untrained(Drawing):
    """Its drawings mean nothing without a loss that reads them."""

    drawn_from = ("attention",)

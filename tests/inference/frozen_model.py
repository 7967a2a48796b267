"""A network whose features can be computed once: a convolution with batch normalization, and a dense layer on it."""

import flax.linen as nn
import jax

from vidjax.layers.convolution import Conv
from vidjax.layers.dropout import Dropout
from vidjax.layers.normalization import BatchNorm
from vidjax.models import Output


class Trunk(nn.Module):
    is_normalized: bool = True
    axis_name: str | None = None

    @nn.compact
    def __call__(self, rgb, *, train):
        x = Conv(4, (1, 3, 3), strides=(1, 4, 4), use_bias=False, name="conv")(rgb)
        if self.is_normalized:
            x = BatchNorm(axis_name=self.axis_name, name="norm")(x, train=train)
        return nn.relu(x).mean(axis=(2, 3))


class Frozen(nn.Module):
    num_classes: int
    dropout: float = 0.5
    hidden: int = 0
    norm_of_head: bool = False  # instead of that of the trunk
    axis_name: str | None = None

    @nn.compact
    def __call__(self, rgb=None, *, features=None, example_ids=None, train=False):
        if features is None:
            features = Trunk(not self.norm_of_head, self.axis_name, name="trunk")(rgb, train=train)
        x = features.reshape(features.shape[0], -1, features.shape[-1])
        norm = BatchNorm(axis_name=self.axis_name, name="head") if self.norm_of_head else None
        head = norm(x, train=train) if norm is not None else x
        dropped = Dropout(self.dropout, name="dropout")(head, example_ids, train=train)
        if self.hidden:
            dropped = nn.relu(nn.Dense(self.hidden, name="more")(dropped))
        logits = nn.Dense(self.num_classes, name="classes")(dropped)
        return Output(logits, {"features": jax.lax.stop_gradient(x)})

    @property
    def inputs(self):
        return ("rgb",)

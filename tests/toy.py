"""The toy config: early fusion, narrow, on the videos of `toy_folder` (conftest); and a model that compiles faster."""

import functools
from pathlib import Path

import flax.linen as nn
from ml_collections import ConfigDict

from vidjax.config import loading
from vidjax.layers.convolution import Conv
from vidjax.layers.normalization import BatchNorm
from vidjax.layers.pooling import max_pool
from vidjax.layers.recurrent import LSTM
from vidjax.models import Output

ROOT = Path(__file__).resolve().parent.parent
OVERRIDES = {
    "data.frames": 2,
    "data.short_side": 40,
    "data.crop": 40,
    "preprocessing.crop": 36,
    "model.width_multiplier": 0.05,
    "train.batch_size": 8,
    "evaluate.batch_size": 8,
    "evaluate.explanations": 0,  # which compile a gradient
    "parallel": "jit",
}
# In the place of early fusion; they have no width.
CONSTANT = {"model.factory": "tests.evaluation.constant_model:Constant", "model.width_multiplier": ...}
NET = {"model.factory": "tests.toy:Net", "model.width_multiplier": ...}


class Net(nn.Module):
    """Two layers, with statistics, which pmap averages."""

    num_classes: int
    axis_name: str | None = None
    group_size: int | None = None

    @nn.compact
    def __call__(self, rgb, train=False):
        norm = functools.partial(BatchNorm, axis_name=self.axis_name, group_size=self.group_size)
        x = norm(name="norm1")(Conv(4, (3, 3, 3), strides=(1, 4, 4), use_bias=False, name="conv1")(rgb), train=train)
        x = LSTM(4)(max_pool(x, (1, 2, 2), (1, 2, 2)).mean(axis=(2, 3)))[:, -1]
        x = norm(name="norm2")(x, train=train)
        return Output(nn.Dense(self.num_classes)(x)[:, None])


def overrides(root, **more) -> dict:
    """Key -> value; `__` in a name stands for a dot, and a key that is ... is left out."""
    given = {**OVERRIDES, "data.root": str(root), **{key.replace("__", "."): value for key, value in more.items()}}
    return {key: value for key, value in given.items() if value is not ...}


def config(root, file="early_fusion", **more) -> ConfigDict:
    """Resolved, with `overrides`."""
    return loading.load(f"{ROOT}/configs/{file}.py:folder", overrides(root, **more))

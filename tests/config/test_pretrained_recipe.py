"""The published weights of a network fit it in every form of fusion, and each regime trains what it says."""

import functools
import types

import jax
import numpy as np
import pytest
from flax import traverse_util

from tests import toy
from vidjax import models
from vidjax.config import building, initial_weights, loading, pretrained_recipe, recipe
from vidjax.layers.convolution import native_operations
from vidjax.pretrained.catalog import CATALOG
from vidjax.pretrained.sources import GivenWeights

SIZE = 64  # of frames, in pixels


def shapes(module, frames, size=SIZE):
    """The variables of a network, without their values."""
    rgb = jax.ShapeDtypeStruct((1, frames, size, size, 3), np.float32)
    with native_operations():
        return rgb, jax.eval_shape(lambda rgb: module.init(jax.random.key(0), rgb), rgb)


@functools.cache
def published(backbone):
    """What is published under the name, as zeros."""
    info = CATALOG[pretrained_recipe.BACKBONES[backbone]]
    frames, size = info.preprocessing.frames, info.preprocessing.crop
    _, variables = shapes(models.create(info.model, info.num_classes, factory=None, **info.options), frames, size)
    flat = traverse_util.flatten_dict(variables, sep="/")
    zeros = {path: np.broadcast_to(np.zeros((), spec.dtype), spec.shape) for path, spec in flat.items()}
    return GivenWeights.published(info, zeros, info.name, "")


@pytest.mark.parametrize(
    "backbone, fusion, regime, trained, inflated",
    [
        ("mobilenet_v2", "single_frame", "linear", {"classes"}, 0),
        ("mobilenet_v2", "early", "fusion", {"classes", "trunk/stem"}, 1),
        ("efficientnet_lite0", "late", "attention_pooler", {"classes", "pooler"}, 0),
        ("efficientnet_lite0", "slow", "top3", {"classes", "trunk/stage6", "trunk/stage7", "trunk/final"}, 3),
        ("vgg19", "slow", "attention_pooler", {"classes", "pooler"}, 3),
        ("vgg19", "late", "top", {"classes", "trunk/stage5"}, 0),
        ("i3d", "slow", "attention_pooler", {"Logits", "pooler"}, 0),
    ],
)
def test_published_weights_fit(backbone, fusion, regime, trained, inflated):
    argument = f"folder,backbone={backbone},fusion={fusion},regime={regime},size={SIZE}"
    config = loading.load(f"{toy.ROOT}/configs/pretrained.py:{argument}")
    build = functools.partial(building.model, config)
    rgb, variables = shapes(build(2), config.data.frames)
    state = types.SimpleNamespace(params=variables.pop("params"), model_state=variables)
    found = initial_weights.fit(config, published(backbone), ("a", "b"), state, {"rgb": rgb}, build)
    classifier = models.parts_of(backbone, fusion).classifier
    assert found.head == tuple(f"params/{classifier}/{leaf}" for leaf in ("bias", "kernel"))
    new = {path.removeprefix("params/").split("/")[0] for path in found.filled.initial}
    assert new == trained & {"classes", "Logits", "pooler"}
    assert len(found.filled.inflated) == inflated
    frozen = recipe.frozen(config.optimizer)
    paths = traverse_util.flatten_dict(state.params, sep="/")
    modules = {"/".join(path.split("/")[: 1 + path.startswith("trunk")]) for path in paths if not frozen.selects(path)}
    assert modules == trained

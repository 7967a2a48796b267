"""Grad-CAM against values that are known, and the layer that is chosen in every network."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import random_variables
from tests.refusals import refused
from vidjax import models
from vidjax.errors import ConfigError
from vidjax.evaluation.deletion import deletions, moved
from vidjax.evaluation.grad_cam import FeatureMap, choose_layer, feature_maps, grad_cam, upsampled
from vidjax.models import Output


class Scaled(nn.Module):
    """Maps whose channels are the input's, times these factors."""

    factors: tuple[float, ...]

    def __call__(self, x):
        return x * jnp.array(self.factors)


class Pooled(nn.Module):
    """Score of class k: the mean of channel k; per frame if folded."""

    folded: bool = False

    @nn.compact
    def __call__(self, rgb, train=False):
        x = rgb.reshape(-1, *rgb.shape[2:]) if self.folded else rgb
        x = Scaled((1.0, -2.0, 3.0), name="maps")(x)
        x = x.reshape(*rgb.shape[:2], -1, 3).mean(axis=2)  # [B, T, K]
        return Output(x**2)


@pytest.mark.parametrize("folded", [False, True])
def test_maps_are_weighted_by_the_mean_gradient(folded):
    clip = {"rgb": jnp.asarray(random_variables.normal((2, 3, 4, 5, 3)))}
    model, label = Pooled(folded), jnp.array([2, 1])
    (layer,) = feature_maps(model, {}, clip)
    assert layer.path == "maps" and layer.shape[-3:] == (4, 5, 3) and layer.places == 20
    cam = grad_cam(model, {}, clip, label, layer)
    for example, (channel, factor) in enumerate(((2, 3.0), (1, -2.0))):
        maps = factor * clip["rgb"][example, ..., channel]
        # The score is the mean over T of (mean over places)^2.
        weight = (2 * maps.mean(axis=(1, 2)) / (3 * 20)).mean()
        np.testing.assert_allclose(cam[example], np.maximum(weight * maps, 0), rtol=1e-4, atol=1e-7)
    whole = upsampled(cam, 6, 8, 10)
    assert whole.shape == (2, 6, 8, 10)
    np.testing.assert_allclose(whole.max(axis=(1, 2, 3)), 1, rtol=1e-5)


def test_the_finest_map_within_a_module_that_pools():
    maps = [FeatureMap("a/conv", (1, 2, 8, 8, 3)), FeatureMap("a", (1, 2, 4, 4, 3)), FeatureMap("b", (1, 2, 9, 9, 3))]
    assert choose_layer(maps[:2]).path == "a/conv" and choose_layer(maps).path == "b"
    strided = [FeatureMap("a/x", (1, 2, 8, 8, 3)), FeatureMap("a/y", (1, 2, 4, 4, 3)), FeatureMap("a", (1, 2, 4, 4, 3))]
    assert choose_layer(strided).path == "a", "strides within are no pooling at the end"
    assert choose_layer(maps, "a").places == 16
    with refused(ConfigError, "'a/conf'", "a/conv"):
        choose_layer(maps, "a/conf")
    with refused(ConfigError, "2x2"):
        choose_layer([])


# Model -> its options, T, side; the layer that is chosen and the shape of its map.
LAYERS = {
    "early_fusion": ({"width_multiplier": 0.05}, 2, 96, "features/conv5", (1, 8, 8)),
    "late_fusion": ({"width_multiplier": 0.05}, 2, 96, "features/conv5", (2, 8, 8)),
    "single_frame": ({"width_multiplier": 0.05}, 1, 96, "features/conv5", (1, 8, 8)),
    "c3d": ({"width_multiplier": 0.05}, 16, 64, None, None),
    "r2plus1d_18": ({"width_multiplier": 0.1}, 4, 32, None, None),
    "efficientnet_lite0": ({}, 2, 64, "trunk", (2, 2, 2)),
    "i3d": ({}, 8, 64, "Mixed_5c", (1, 2, 2)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_the_layer_of_a_network(name):
    options, frames, side, path, shape = LAYERS[name]
    known = models.find(name)
    options = {key: value for key, value in options.items() if key in _fields(known)}
    model = models.create(name, 3, **options)
    clip = {"rgb": jax.ShapeDtypeStruct((1, frames, side, side, 3), jnp.float32)}
    variables = jax.eval_shape(functools.partial(model.init, jax.random.key(0)), **clip)
    layer = choose_layer(feature_maps(model, variables, clip))
    if path is not None:
        assert layer.path == path
    found = jax.eval_shape(lambda v, x: grad_cam(model, v, x, jnp.zeros(1, int), layer), variables, clip)
    assert found.shape[0] == 1 and min(found.shape[2:]) > 1
    if shape is not None:
        assert found.shape[1:] == shape


def _fields(function):
    function = getattr(function, "func", function)
    return getattr(function, "__dataclass_fields__", {})


def test_deletion_of_what_matters_lowers_the_probability_first():
    clip = np.ones((2, 4, 4, 1), np.float32)
    matters = np.zeros((2, 4, 4), np.float32)
    matters[:, :2, :2] = 1

    def probability(clips):
        assert clips.shape == (1, 2, 4, 4, 1)
        return float(clips[0, :, :2, :2].mean())

    right, wrong = deletions(clip, [matters, -matters], probability, steps=4)
    np.testing.assert_allclose(right.probabilities, [1, 0, 0, 0, 0])
    np.testing.assert_allclose(wrong.probabilities, [1, 1, 1, 1, 0])
    assert right.area == pytest.approx(0.125) and wrong.area == pytest.approx(0.875)
    elsewhere = moved(matters, 0)
    assert elsewhere.sum() == matters.sum() and (elsewhere != matters).any()
    assert moved(np.ones((1, 2, 2)), 1).shape == (1, 2, 2)

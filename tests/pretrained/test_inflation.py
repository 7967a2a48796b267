"""A video of equal frames is to the inflated network what the frame is to the one for images."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from tests.refusals import refused
from vidjax.errors import DataError
from vidjax.layers.conv_norm import ConvNorm
from vidjax.models import create
from vidjax.pretrained import inflate

PICTURE = np.random.default_rng(1).standard_normal((2, 12, 12, 3)).astype(np.float32)


class Network(nn.Module):
    """Two convolutions with statistics of their own, and a classifier; in time, where there is one, without padding."""

    extents: tuple[int, ...] = ()

    @nn.compact
    def __call__(self, x):
        for number, features in enumerate((6, 8)):
            time = self.extents[number : number + 1]
            padding = [(0, 0)] * len(time) + [(1, 1), (1, 1)]
            x = ConvNorm(features, (*time, 3, 3), (1,) * (len(time) + 2), padding, name=f"conv{number}")(x, train=False)
        return nn.Dense(4, name="classes")(x.mean(axis=tuple(range(1, x.ndim - 1))))


@pytest.fixture(scope="module")
def image_variables():
    """Of the 2D network, with statistics and biases that are not those it begins with."""
    variables = jax.jit(Network().init)(jax.random.key(0), PICTURE)
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda x: x + rng.uniform(0.1, 0.5, x.shape).astype(np.float32) / 4, variables)


def shapes_of(module, *shape):
    return jax.eval_shape(lambda x: module.init(jax.random.key(0), x), jax.ShapeDtypeStruct(shape, np.float32))


@pytest.mark.parametrize("extents", [(1, 1), (4, 2), (5, 3)])
def test_a_still_video_gives_the_logits_of_its_frame(image_variables, extents):
    network = Network(extents)
    variables = inflate(image_variables, shapes_of(network, 1, 8, 12, 12, 3))
    assert variables["params"]["conv0"]["conv"]["kernel"].shape == (extents[0], 3, 3, 3, 6)
    still = np.repeat(PICTURE[:, None], 8, axis=1)
    expected = jax.jit(Network().apply)(image_variables, PICTURE)
    logits = jax.jit(network.apply)
    np.testing.assert_allclose(logits(variables, still), expected, rtol=1e-5, atol=1e-5)
    moving = still.copy()
    moving[:, 3] = 0
    assert np.abs(logits(variables, moving) - expected).max() > 0.01, "it does look at every frame"


def test_kernels_are_repeated_and_divided(image_variables):
    kernel = np.asarray(image_variables["params"]["conv0"]["conv"]["kernel"])
    variables = inflate(image_variables, shapes_of(Network((4, 2)), 1, 8, 12, 12, 3))
    inflated = variables["params"]["conv0"]["conv"]["kernel"]
    for step in range(4):
        np.testing.assert_array_equal(inflated[step], kernel / 4)
    dense = image_variables["params"]["classes"]["kernel"]
    np.testing.assert_array_equal(variables["params"]["classes"]["kernel"], dense)


def test_i3d_inside_of_a_still_video():
    """Up to Mixed_3c, at the places in time from which no convolution reaches over the ends of 32 frames.

    On a single frame only the middle of each kernel meets it: so I3D itself computes what the 2D network would.
    """
    module = create("i3d", 3)
    shapes = shapes_of(module, 1, 8, 32, 32, 3)
    rng = np.random.default_rng(0)
    image: dict = {}
    single: dict = {}
    for path, variable in traverse_util.flatten_dict(shapes).items():
        if len(variable.shape) == 5:
            time, *kernel = variable.shape
            image[path] = rng.normal(scale=(2 / np.prod(kernel[:3])) ** 0.5, size=kernel).astype(np.float32)
            single[path] = np.zeros(variable.shape, np.float32)
            single[path][time // 2] = image[path]
        else:
            image[path] = single[path] = rng.uniform(0.5, 1, variable.shape).astype(np.float32)
    inflated = inflate(traverse_util.unflatten_dict(image), shapes)

    def middle(variables, clip):
        def keep(part, method):
            return part.name == "Mixed_3c" and method == "__call__"

        _, found = module.apply(variables, clip, capture_intermediates=keep, mutable=["intermediates"])
        return found["intermediates"]["Mixed_3c"]["__call__"][0]

    picture = jnp.asarray(rng.uniform(-1, 1, (1, 1, 32, 32, 3)), jnp.float32)
    (expected,) = jax.jit(middle)(traverse_util.unflatten_dict(single), picture)[0]
    video = jax.jit(middle)(inflated, jnp.repeat(picture, 32, axis=1))[0]
    assert video.shape[0] == 16
    for place in range(4, 11):
        np.testing.assert_allclose(video[place], expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
    assert np.abs(video[0] - expected).max() > 1e-2 * np.abs(expected).max(), "the padding is seen at the ends"


def test_names_may_differ(image_variables):
    renamed = {"net": image_variables["params"]}
    target = shapes_of(Network((2, 1)), 1, 8, 12, 12, 3)["params"]
    params = inflate(renamed, target, lambda path: ("net", *path))
    assert params["conv0"]["conv"]["kernel"].shape == (2, 3, 3, 3, 6)


def test_what_does_not_fit_is_named(image_variables):
    target = shapes_of(Network((2, 1)), 1, 8, 12, 12, 3)["params"]
    params = image_variables["params"]
    with refused(DataError, "'classes/bias'", "2D"):
        inflate({**params, "classes": {"kernel": params["classes"]["kernel"]}}, target)
    with refused(DataError, "'old/kernel'", "2D", "3D"):
        inflate({**params, "old": {"kernel": np.zeros(1)}}, target)
    with refused(DataError, "'classes/bias'", "(9,)", "(4,)"):
        inflate({**params, "classes": {**params["classes"], "bias": np.zeros(9)}}, target)

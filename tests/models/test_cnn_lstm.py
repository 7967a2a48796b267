"""CNN + LSTM: counts, what is scored, masks, features in place of frames, and the order of frames."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from tests import random_variables
from tests.refusals import refused
from vidjax import models
from vidjax.layers.convolution import native_operations
from vidjax.layers.recurrent import RecurrentLayers
from vidjax.models.cnn_lstm import POOLED
from vidjax.models.image_fusion import BACKBONES

K, T = 5, 4
SMALL = {"width_multiplier": 0.05, "normalization": "batch", "hidden": 8}


@pytest.fixture(autouse=True)
def compiled_fast():
    with native_operations():
        yield


def network(**options):
    return models.create("cnn_lstm", K, **{**SMALL, **options})


def clip(frames=T):
    return random_variables.normal((2, frames, 36, 36, 3))


def random(model, **inputs):
    """Variables with variances above zero."""
    variables = random_variables.of(model, **inputs)
    stats = variables.get("batch_stats", {})
    return {**variables, "batch_stats": jax.tree.map(lambda leaf: 0.5 + np.abs(leaf), stats)}


def logits(model, variables, *args, **inputs):
    found = np.asarray(jax.jit(lambda given: model.apply(variables, *args, **given).logits)(inputs))
    assert np.isfinite(found).all()
    return found


def test_counts_by_hand():
    """LRCN at the paper's width: convolutions of `single_frame`, fc6 of 4096, 256 LSTM cells, the classes."""
    counts = models.summary(models.create("cnn_lstm", 101), rgb=(1, 16, 170, 170, 3))
    frame = models.summary(models.create("single_frame", 101), rgb=(1, 1, 170, 170, 3))
    fc7, fc8 = 4096 * 4096 + 4096, 4096 * 101 + 101
    lstm = 4 * (4096 * 256 + 256 * 256 + 256)
    assert counts.parameters == frame.parameters - fc7 - fc8 + lstm + 256 * 101 + 101
    of_frames = 16 * (frame.macs - 4096 * 4096 - 4096 * 101)
    assert counts.macs == of_frames + 16 * 4 * (4096 * 256 + 256 * 256) + 256 * 101


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn", POOLED])
def test_the_order_of_frames_matters_to_recurrent_cells_alone(cell):
    model, rgb = network(cell=cell), clip()
    variables = random(model, rgb=rgb)
    difference = logits(model, variables, rgb) - logits(model, variables, rgb[:, ::-1])
    assert (abs(difference).max() > 1e-3) == (cell != POOLED)


@pytest.mark.parametrize("scored, bidirectional", [("last", False), ("last", True), ("mean", True), ("each", False)])
def test_what_is_scored(scored, bidirectional):
    model, rgb = network(scored=scored, bidirectional=bidirectional, layers=2), clip()
    variables = random(model, rgb=rgb)
    output, params = jax.jit(model.apply)(variables, rgb), variables["params"]

    def dense(name, x):
        return x @ params[name]["kernel"] + params[name]["bias"]

    features = np.maximum(dense("fc6", output.aux["features"]), 0)
    layers = RecurrentLayers("lstm", 8, 2, bidirectional)
    hidden, last = jax.jit(layers.apply)({"params": params["recurrent"]}, features)
    wanted = {"last": last[:, None], "mean": hidden.mean(1, keepdims=True), "each": hidden}[scored]
    np.testing.assert_allclose(output.logits, dense("classes", wanted), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "options", [{}, {"bidirectional": True}, {"scored": "mean", "cell": "gru"}, {"cell": POOLED}, {"scored": "each"}]
)
def test_frames_that_are_not_there_change_nothing(options):
    model, rgb = network(**options), clip(6)
    variables = random(model, rgb=rgb)
    mask = np.array([[True] * 4 + [False] * 2] * 2)
    got, wanted = logits(model, variables, rgb, rgb_mask=mask), logits(model, variables, rgb[:, :4])
    np.testing.assert_allclose(got[:, : wanted.shape[1]], wanted, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(got[:, wanted.shape[1] :], np.broadcast_to(got[:, -1:], got[:, wanted.shape[1] :].shape))


@pytest.mark.parametrize("options", [{}, {"backbone": "mobilenet_v2", "width_multiplier": None, "normalization": None}])
def test_features_take_the_place_of_frames(options):
    model, rgb = network(**options), clip()
    variables = random(model, rgb=rgb)
    output = jax.jit(model.apply)(variables, rgb)
    features = output.aux["features"]
    for given in (features, features[:, None]):
        np.testing.assert_allclose(logits(model, variables, features=given), output.logits, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", BACKBONES)
def test_weights_of_image_networks_have_the_paths_of_the_trunk(name):
    image, sequence = models.create(name, K), models.create("cnn_lstm", K, backbone=name)
    rgb = jax.ShapeDtypeStruct((1, 2, 96, 96, 3), jnp.float32)

    def trunk(model):
        variables = jax.eval_shape(lambda rgb: model.init(jax.random.key(0), rgb), rgb)
        flat = traverse_util.flatten_dict(variables, sep="/")
        return {path: leaf.shape for path, leaf in flat.items() if "/trunk/" in path}

    assert trunk(sequence) == trunk(image)


@pytest.mark.parametrize(
    "options, named",
    [
        ({"backbone": "vgg19"}, ["width_multiplier"]),
        ({"variant": "keras"}, ["variant"]),
        ({"cell": POOLED, "layers": 2}, ["layers"]),
        ({"cell": POOLED, "scored": "each"}, ["scored"]),
    ],
)
def test_options_of_others_are_refused(options, named):
    with refused(ValueError, *named):
        jax.eval_shape(network(**options).init, jax.random.key(0), clip())


def test_both_or_neither_input_is_refused():
    for given in ({}, {"rgb": clip(), "features": np.zeros((2, T, 8))}):
        with refused(ValueError, "rgb", "features"):
            jax.eval_shape(lambda given=given: network().init(jax.random.key(0), **given))

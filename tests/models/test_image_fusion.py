"""Fusion of image networks: counts, windows in time, heads, features, and what inflation keeps."""

import functools
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from tests import random_variables
from tests.refusals import refused
from vidjax.layers.convolution import native_operations
from vidjax.layers.frame_convolution import FrameConvNorm
from vidjax.models import create, image_fusion, summary
from vidjax.models.image_fusion import BACKBONES, ImageFusion, stage_names, temporal_convolutions
from vidjax.models.image_trunk import ImageTrunk
from vidjax.models.mobilenet_v2 import MobileNetV2
from vidjax.pretrained.inflation import inflate

K = 5


class Tiny(ImageTrunk):
    """Three convolutions, each of which may span time."""

    STAGES: ClassVar[tuple[str, ...]] = ("a", "b", "c")
    TEMPORAL: ClassVar[tuple[tuple[str, ...], ...]] = (("a",), ("b",), ("c",))

    @nn.compact
    def __call__(self, clips, *, train):
        windows, x = self._checked_windows(), clips
        for name in self.STAGES:
            unit = FrameConvNorm(8, (3, 3), 2, windows.get(name), name=name, **self._unit_options(1e-5))
            x = unit(x, train=train)
        return x


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(BACKBONES, "tiny", Tiny)
    with native_operations():  # compiled fastest; tests/models/test_image_parity.py has those for CPUs
        yield


def clip(frames, size=16, batch=2):
    return random_variables.normal((batch, frames, size, size, 3))


def network(**options):
    return ImageFusion(K, "tiny", **options)


def random(module, rgb):
    """Variables with variances above zero."""
    variables = random_variables.of(module, rgb=rgb)
    stats = variables.get("batch_stats", {})
    return {**variables, "batch_stats": jax.tree.map(lambda leaf: 0.5 + np.abs(leaf), stats)}


# Published counts (papers.md section 11 and the authors' and libraries' own), with 1000 classes.


@pytest.mark.parametrize(
    "name, options, size, parameters, gmacs",
    [
        ("vgg19", {"head": "full"}, 224, 143_667_240, 19.632),
        ("vgg19", {}, 224, 20_024_384 + 513 * 1000, 19.509),
        ("mobilenet_v2", {}, 224, 3_504_872, 0.301),
        ("mobilenet_v2", {"variant": "keras"}, 224, 3_504_872, 0.301),
        ("efficientnet_lite0", {}, 224, 4_652_008, 0.385),
        ("resnet50", {}, 224, 25_557_032, 4.089),
        ("resnet50", {"variant": "keras"}, 224, 25_583_592, 3.858),
        ("inception_v3", {}, 299, 23_834_568, 5.713),
        ("inception_v3", {"variant": "keras"}, 299, 23_817_352, 5.713),
    ],
)
def test_published_counts(name, options, size, parameters, gmacs):
    counts = summary(create(name, 1000, **options), rgb=(1, 1, size, size, 3))
    assert (counts.parameters, round(counts.macs / 1e9, 3)) == (parameters, gmacs)


def kernels(name, frames, size=96, **options):
    """Path -> shape of the kernels that span time, and the number of trunk variables of 2D kernels."""
    module = create(name, K, **options)
    shapes = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, frames, size, size, 3)))
    flat = traverse_util.flatten_dict(shapes["params"], sep="/")
    return {path: leaf.shape for path, leaf in flat.items() if leaf.ndim == 5}


@pytest.mark.parametrize("name", [name for name in BACKBONES if name != "tiny"])
def test_slow_fusion_spans_4_then_2_then_the_rest(name):
    found = kernels(name, 10, fusion="slow")
    wanted = temporal_convolutions(name, "slow")
    assert {path.rpartition("/conv/kernel")[0] or path.rpartition("/kernel")[0] for path in found} == set(wanted)
    places = BACKBONES[name].TEMPORAL
    extents = {f"trunk/{path}": extent for place, extent in zip(places, (4, 2, 2)) for path in place}
    for path, shape in found.items():
        assert shape[0] == extents[path.removesuffix("/kernel").removesuffix("/conv")]
    assert kernels(name, 3, fusion="late") == kernels(name, 3) == {}
    (early,) = kernels(name, 7, fusion="early").values()
    assert early[0] == 7


@pytest.mark.parametrize("name", [name for name in BACKBONES if name != "tiny"])
def test_stages_are_prefixes_of_all_parameters_of_the_trunk(name):
    shapes = jax.eval_shape(create(name, K).init, jax.random.key(0), jnp.zeros((1, 1, 96, 96, 3)))
    assert tuple(sorted(stage_names(name))) == tuple(f"trunk/{stage}" for stage in sorted(shapes["params"]["trunk"]))


def test_a_window_elsewhere_is_refused():
    trunk = MobileNetV2(windows={"stage4/block0/expand": (2, 1)})
    with refused(ValueError, "stage4/block0/expand", "stage2/block0/expand"):
        jax.eval_shape(functools.partial(trunk.init, train=False), jax.random.key(0), clip(4, 32))


@pytest.mark.parametrize("t", [5, 8, 9, 2])
def test_slow_fusion_refuses_other_numbers_of_frames(t):
    with refused(ValueError, "slow", "10", t):
        jax.eval_shape(network(fusion="slow").init, jax.random.key(0), clip(t))


def test_late_fusion_needs_two_frames():
    with refused(ValueError, "late", "2", "1"):
        jax.eval_shape(network(fusion="late").init, jax.random.key(0), clip(1))


# Inflation.


@functools.cache
def still(name, size):
    module, image = ImageFusion(K, name), clip(1, size, 1)
    variables = random(module, image)
    logits = jax.jit(lambda v, x: module.apply(v, rgb=x).logits)(variables, image)
    return image, variables, np.asarray(logits)


WINDOWS = (("early", 10), ("early", 1), ("slow", 10), ("slow", 14))
SIZES = {"vgg19": 32, "resnet50": 33, "inception_v3": 75, "mobilenet_v2": 33}
STILL = [("tiny", 16, *window) for window in WINDOWS]
STILL += [("efficientnet_lite0", 33, "slow", 10)]
STILL += [pytest.param(*place, *window, marks=pytest.mark.slow) for place in SIZES.items() for window in WINDOWS]


@pytest.mark.parametrize("name, size, fusion, frames", STILL)
def test_a_still_clip_gives_the_output_of_the_image(name, size, fusion, frames):
    image, variables, want = still(name, size)
    rgb, other = np.repeat(image, frames, axis=1), ImageFusion(K, name, fusion=fusion)
    target = jax.eval_shape(other.init, jax.random.key(0), rgb)
    got = jax.jit(lambda v, x: other.apply(v, rgb=x).logits)(inflate(variables, target), rgb)
    assert got.shape == want.shape and np.ptp(want) > 1e-3
    assert np.abs(got - want).max() < 1e-5 * np.abs(want).max()


@pytest.mark.parametrize("fusion, t", [("early", 4), ("slow", 10)])
def test_every_frame_counts(fusion, t):
    module, rgb = network(fusion=fusion), clip(t)
    variables = random(module, rgb)
    seen = jax.jit(jax.grad(lambda x: module.apply(variables, rgb=x).logits.sum()))(rgb)
    assert (np.abs(seen).max(axis=(0, 2, 3, 4)) > 0).all()


# Heads and features.

CASES = [
    {},
    {"dropout": 0.5},
    {"pooling": "attention", "frames": 2},
    {"head": "full", "hidden": 6},
    {"fusion": "late"},
    {"fusion": "late", "fuse": "max"},
    {"fusion": "late", "fuse": "concatenate"},
    {"fusion": "late", "fuse": "scores"},
    {"fusion": "late", "pooling": "attention", "frames": 2, "fuse": "concatenate"},
    {"fusion": "late", "head": "full", "hidden": 6},
    {"fusion": "early"},
    {"fusion": "early", "pooling": "attention"},
    {"fusion": "slow", "pooling": "attention"},
]


def names(options):
    return "-".join(map(str, options.values())) or "plain"


@pytest.mark.parametrize("options", CASES, ids=names)
@pytest.mark.parametrize("has_frame_axis", [False, True], ids=["", "frame axis"])
def test_features_give_the_logits_of_the_clip(options, has_frame_axis):
    t = 10 if options.get("fusion") == "slow" else 2
    module, rgb = network(**options), clip(t)
    variables = random(module, rgb)
    arguments = {"example_ids": jnp.arange(2), "train": True, "rngs": {"dropout": jax.random.key(1)}}
    if "dropout" not in options:
        arguments = {}
    mutable = {"mutable": ["batch_stats"]} if arguments else {}
    output = jax.jit(lambda rgb: module.apply(variables, rgb=rgb, **arguments, **mutable))(rgb)
    output = output[0] if arguments else output
    features = output.aux["features"]
    n = 1 if "fusion" in options else t
    assert output.logits.shape == (2, n, K) and features.ndim == 3
    given = features[:, None] if has_frame_axis else features
    of_head = {"params": {name: value for name, value in variables["params"].items() if name != "trunk"}}
    again = jax.jit(lambda features: module.apply(of_head, features=features, **arguments))(given)
    np.testing.assert_allclose(again.logits, output.logits, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(again.aux["features"], features)


def test_the_shapes_of_features():
    def features(t, size=32, **options):
        module = network(**options)
        return jax.eval_shape(
            lambda x: module.init_with_output(jax.random.key(0), x)[0].aux["features"], clip(t, size)
        ).shape

    assert features(3) == (2, 3, 8)
    assert features(3, fusion="early") == (2, 1, 8)
    assert features(10, fusion="slow") == (2, 1, 8)
    assert features(2, fusion="late") == (2, 2, 8)
    assert features(3, pooling="attention") == (2, 3 * 16, 8)
    assert features(3, fusion="early", pooling="attention") == (2, 16, 8)
    assert features(3, head="full", hidden=6) == (2, 3, 16 * 8)


def test_late_fusion_is_what_it_says():
    frames, features = network(), clip(3)[:, :, 0, 0, :1] + np.arange(8)
    variables = random(frames, clip(3))
    apart = frames.apply(variables, features=features)

    def fused(**options):
        return network(fusion="late", **options).apply(variables, features=features).logits

    mean = apart.logits.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(fused(fuse="scores"), mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(fused(), mean, rtol=1e-5, atol=1e-6)  # the classes are linear in the features
    most = frames.apply(variables, features=apart.aux["features"].max(axis=1, keepdims=True)).logits
    np.testing.assert_allclose(fused(fuse="max"), most, rtol=1e-5, atol=1e-6)
    assert np.abs(most - mean).max() > 1e-3


def test_attention_that_attends_to_all_alike_is_a_mean():
    module, rgb = network(pooling="attention", fusion="early"), clip(2)
    variables = random(module, rgb)
    features = module.apply(variables, rgb=rgb).aux["features"]
    order = np.random.default_rng(0).permutation(features.shape[1])
    head = {"params": {name: variables["params"][name] for name in ("pooler", "classes")}}
    logits = module.apply(head, features=features).logits
    np.testing.assert_allclose(module.apply(head, features=features[:, order]).logits, logits, rtol=1e-4, atol=1e-6)
    other = features.at[:, 0].add(5.0 * np.random.default_rng(1).normal(size=features.shape[-1]))
    assert np.abs(module.apply(head, features=other).logits - logits).max() > 1e-3


def test_both_or_neither_input_is_refused():
    module = network()
    for inputs in ({}, {"rgb": clip(1), "features": np.zeros((2, 1, 8), np.float32)}):
        with refused(ValueError, "ImageFusion", "rgb", "features"):
            module.init(jax.random.key(0), **inputs)
    with refused(ValueError, "9", "frames"):
        tokens = np.zeros((2, 9, 8), np.float32)
        network(pooling="attention").init(jax.random.key(0), features=tokens)
    with refused(ValueError, "9", "frames"):
        network(pooling="attention", frames=2).init(jax.random.key(0), features=tokens)


@pytest.mark.parametrize("options", [{}, {"fusion": "slow", "pooling": "attention"}], ids=names)
@pytest.mark.parametrize(
    "name",
    [
        "tiny",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("mobilenet_v2", "vgg19", "resnet50", "inception_v3")),
    ],
)
def test_gradients_reach_every_parameter(name, options):
    if name == "tiny":
        module, size = network(**options), 16
    else:
        module, size = create(name, K, **options), 107 if name == "inception_v3" else 64  # of maps of 2 x 2 or more
    rgb = clip(10 if options else 2, size)
    variables = random(module, rgb)

    @jax.jit
    def gradients(params):
        def loss(params):
            output, _ = module.apply(
                {**variables, "params": params}, rgb=rgb, train=True, example_ids=jnp.arange(2), mutable=["batch_stats"]
            )
            return jnp.square(output.logits - 1).sum()

        return jax.grad(loss)(params)

    flat = traverse_util.flatten_dict(gradients(variables["params"]), sep="/")
    dead = [path for path, leaf in flat.items() if not np.isfinite(leaf).all() or not np.abs(leaf).max() > 0]
    assert not dead


def test_the_registry_has_every_backbone():
    for name in image_fusion.NETWORKS:
        assert create(name, K).backbone == name

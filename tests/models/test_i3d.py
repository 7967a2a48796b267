"""What I3D does with time, its features and its attention, on two of its modules: the whole is in test_i3d_jax.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from tests import random_variables
from tests.refusals import refused
from vidjax.errors import ConfigError
from vidjax.layers.convolution import native_operations
from vidjax.models import create, i3d

K = 5


@pytest.fixture(autouse=True)
def two_modules(monkeypatch):
    few = {"Mixed_3b": (4, (4, 4), (4, 4), 4), "Mixed_5b": (256, (8, 256), (8, 256), 256)}
    monkeypatch.setattr(i3d, "_MIXED", few)
    with native_operations():
        yield


def network(**options):
    return create("i3d", K, **options)


def clip(frames, size=32, batch=2):
    return random_variables.normal((batch, frames, size, size, 3))


def variables_of(module, rgb):
    shapes = jax.eval_shape(module.init, jax.random.key(0), rgb)
    variables = random_variables.like(shapes)
    return {**variables, "batch_stats": jax.tree.map(lambda leaf: 0.5 + np.abs(leaf), variables["batch_stats"])}


def output(module, variables, **inputs):
    return jax.jit(lambda v, x: module.apply(v, **x))(variables, inputs)


@pytest.fixture
def native():
    """The network as published on four clips of 8 frames."""
    module, clips = network(), clip(8, batch=4)
    variables = variables_of(module, clips)
    return variables, clips, output(module, variables, rgb=clips)


def test_a_single_frame_is_a_still_clip():
    frames = clip(2)
    module = network(fusion="single_frame")
    variables = variables_of(module, frames)
    got = output(module, variables, rgb=frames)
    still = np.repeat(frames.reshape(4, 1, 32, 32, 3), 8, axis=1)
    want = output(network(), variables, rgb=still)
    assert got.logits.shape == (2, 2, K) and got.aux["features"].shape == (2, 2, 1024)
    np.testing.assert_allclose(got.logits.reshape(4, 1, K), want.logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("fuse", i3d.FUSES)
def test_late_fusion_takes_two_clips_15_frames_apart(native, fuse):
    variables, _, _ = native
    frames = clip(8 + 15)
    module = network(fusion="late", fuse=fuse)
    if fuse == "concatenate":
        variables = variables_of(module, frames)
    got = output(module, variables, rgb=frames)
    both = [output(network(), native[0] | {"params": variables["params"] | head(native[0])}, rgb=part).aux["features"]
            for part in (frames[:, :8], frames[:, 15:])]  # fmt: skip
    features = np.concatenate(both, axis=1)
    if fuse == "average":
        np.testing.assert_allclose(got.aux["features"], features, rtol=1e-4, atol=1e-5)
        want = output(network(), variables, features=features.mean(axis=1, keepdims=True)).logits
        np.testing.assert_allclose(got.logits, want, rtol=1e-4, atol=1e-5)
    kernel = variables["params"]["Logits/Conv3d_0c_1x1"]["kernel"]
    assert kernel.shape[3] == (1024 if fuse == "average" else 2048)
    assert got.logits.shape == (2, 1, K)


def head(variables):
    name = "Logits/Conv3d_0c_1x1"
    return {name: variables["params"][name]}


def test_early_is_the_same_network(native):
    variables, clips, want = native
    np.testing.assert_array_equal(output(network(fusion="early"), variables, rgb=clips).logits, want.logits)


@pytest.mark.parametrize("frames, positions", [(8, 1), (16, 3)])
def test_there_is_a_position_for_each_window_in_time(frames, positions):
    shapes = jax.eval_shape(network().init_with_output, jax.random.key(0), clip(frames))[0]
    assert shapes.logits.shape == (2, positions, K) and shapes.aux["features"].shape == (2, positions, 1024)


CASES = [
    {},
    {"pooling": "attention"},
    {"fusion": "single_frame", "pooling": "attention", "frames": 2},
    {"fusion": "late"},
    {"fusion": "late", "fuse": "concatenate", "pooling": "attention"},
]


@pytest.mark.parametrize("options", CASES, ids=lambda options: "-".join(map(str, options.values())) or "plain")
def test_features_give_the_logits_of_the_clip(options):
    module = network(**options)
    rgb = clip({"late": 23, "single_frame": 2}.get(options.get("fusion"), 16), 64)
    variables = variables_of(module, rgb)
    arguments = {"example_ids": jnp.arange(2), "train": True, "rngs": {"dropout": jax.random.key(1)}}

    @jax.jit
    def of_clip(rgb):
        return module.apply(variables, rgb=rgb, mutable=["batch_stats"], **arguments)[0]

    want = of_clip(rgb)
    head = {name: value for name, value in variables["params"].items() if name.startswith(("Logits", "pooler"))}
    for features in (want.aux["features"], want.aux["features"][:, None]):
        got = module.apply({"params": head}, features=features, **arguments)
        np.testing.assert_allclose(got.logits, want.logits, rtol=1e-5, atol=1e-6)


def test_the_options_add_parameters_only_where_they_need_them():
    def paths(frames=16, **options):
        shapes = jax.eval_shape(network(**options).init, jax.random.key(0), clip(frames))
        return set(traverse_util.flatten_dict(shapes, sep="/"))

    plain = paths()
    assert plain == paths(23, fusion="late") == paths(fusion="early") == paths(2, fusion="single_frame")
    extra = paths(pooling="attention") - plain
    assert extra and all(path.startswith("params/pooler/") for path in extra)


def test_wrong_inputs_are_named():
    with refused(ValueError, "rgb", "features"):
        network().init(jax.random.key(0))
    with refused(ValueError, "16", "15"):
        network(fusion="late").init(jax.random.key(0), clip(15))
    with refused(ValueError, "9", "frames"):
        module = network(fusion="single_frame", pooling="attention")
        module.init(jax.random.key(0), features=np.zeros((1, 9, 1024), np.float32))
    with refused(ConfigError, "fusion", "'slow'"):
        create("i3d", K, fusion="slo")


def test_groups_of_batch_normalization_count_examples_not_clips():
    """With frames as examples of their own, groups of 1 would hold a frame each."""
    module, frames = network(fusion="single_frame", group_size=1), clip(2)
    variables = variables_of(module, frames)

    @jax.jit
    def logits(rgb):
        arguments = {"train": True, "example_ids": jnp.arange(len(rgb)), "mutable": ["batch_stats"]}
        return module.clone(dropout=0.0).apply(variables, rgb=rgb, **arguments)[0].logits

    together, alone = logits(frames), np.concatenate([logits(frames[:1]), logits(frames[1:])])
    np.testing.assert_allclose(together, alone, rtol=1e-3, atol=1e-4)
    swapped = np.stack([frames[0], np.stack([frames[1, 0], frames[0, 1]])])
    assert np.abs(logits(swapped)[1, 0] - together[1, 0]).max() > 1e-3

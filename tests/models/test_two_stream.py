"""Two-stream and siamese networks: counts, which weights inputs share, merges, and the mean displacement."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import random_variables
from tests.refusals import refused
from vidjax import models
from vidjax.layers.convolution import native_operations

K, T = 4, 4


@pytest.fixture(autouse=True)
def compiled_fast():
    with native_operations():
        yield


def clips(side=48, frames=T):
    return {
        name: random_variables.normal((2, frames, side, side, channels), channels)
        for name, channels in {"rgb": 3, "flow": 2}.items()
    }


def logits(model, variables, **inputs):
    return jax.jit(lambda given: model.apply(variables, **given).logits)(inputs)


def test_counts_of_the_temporal_stream_by_hand():
    """CNN-M-2048 on 20 channels of 224 pixels: maps of 109, 54, 26, 12 and 5 pixels, and 101 classes."""
    counts = models.summary(models.create("flow_cnn", 101), flow=(1, 10, 224, 224, 2))
    layers = [(7 * 7 * 20, 96, 109), (5 * 5 * 96, 256, 26), (9 * 256, 512, 12), (9 * 512, 512, 12), (9 * 512, 512, 12)]
    dense = [(5 * 5 * 512, 4096), (4096, 2048), (2048, 101)]
    assert counts.parameters == sum((i + 1) * o for i, o, _ in layers) + sum((i + 1) * o for i, o in dense)
    assert counts.macs == sum(i * o * s * s for i, o, s in layers) + sum(i * o for i, o in dense)


@pytest.mark.parametrize("subtract_mean", [True, False])
def test_a_displacement_of_all_pixels_is_taken_out(subtract_mean):
    model, flow = models.create("flow_cnn", K, width_multiplier=0.05, subtract_mean=subtract_mean), clips()["flow"]
    variables = random_variables.of(model, flow=flow)
    moved = logits(model, variables, flow=flow + np.array([0.5, -1.0], np.float32))
    is_same = np.allclose(moved, logits(model, variables, flow=flow), atol=1e-5)
    assert is_same == subtract_mean


def test_both_streams_are_averaged():
    model, given = models.create("two_stream", K, width_multiplier=0.05), clips()
    variables = random_variables.of(model, **given)
    output = jax.jit(lambda given: model.apply(variables, **given))(given)
    np.testing.assert_allclose(output.logits, (output.aux["spatial"] + output.aux["temporal"]) / 2, rtol=1e-6)
    temporal = models.create("flow_cnn", K, width_multiplier=0.05)
    own = {"params": {"temporal": variables["params"]["temporal"]}}
    np.testing.assert_allclose(logits(temporal, own, flow=given["flow"]), output.aux["temporal"], rtol=1e-5, atol=1e-6)
    others = {**given, "rgb": np.where(np.arange(T)[:, None, None, None] == T // 2, given["rgb"], 0)}
    np.testing.assert_array_equal(logits(model, variables, **others), output.logits)  # one frame is seen


SIAMESE = {"widths": (2, 3, 4), "units": 5}


def siamese(**options):
    model, given = models.create("siamese", K, **SIAMESE, **options), clips(16, 8)
    return model, given, random_variables.of(model, **given)


@pytest.mark.parametrize(
    "tied, trunks", [("all", {"trunk", "fc"}), ("trunk", {"trunk", "fc", "rgb_stem", "flow_stem"})]
)
def test_tied_branches_have_one_trunk_whose_gradient_is_that_of_both(tied, trunks):
    model, given, variables = siamese(tied=tied)
    assert set(variables["params"]) == {*trunks, "classes"}

    params = variables["params"]
    shared = {name: params[name] for name in ("trunk", "fc")}
    gradient = jax.jit(jax.grad(lambda p: jnp.square(model.apply({"params": p}, **given).logits).sum()))(params)
    untied = models.create("siamese", K, **SIAMESE, tied="none")
    if tied == "all":
        magnitude = np.sqrt(np.square(given["flow"]).sum(-1, keepdims=True) + np.finfo(np.float32).eps)
        three = {**given, "flow": np.concatenate([given["flow"], magnitude], -1)}
        apart = {f"{name}_{part}": shared[part] for name in ("rgb", "flow") for part in shared}
        apart["classes"] = params["classes"]

        def of_untied(p):
            return jnp.square(untied.apply({"params": p}, **three).logits).sum()

        of_each = jax.jit(jax.grad(of_untied))(apart)
        for part in shared:
            summed = jax.tree.map(jnp.add, of_each[f"rgb_{part}"], of_each[f"flow_{part}"])
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), gradient[part], summed)
            assert all(abs(leaf).max() > 0 for leaf in jax.tree.leaves(of_each[f"flow_{part}"]))


def test_untied_branches_have_trunks_of_their_own():
    _, _, variables = siamese(tied="none")
    assert set(variables["params"]) == {"rgb_trunk", "rgb_fc", "flow_trunk", "flow_fc", "classes"}
    assert variables["params"]["flow_trunk"]["conv1"]["kernel"].shape == (3, 3, 3, 2, 2)


@pytest.mark.parametrize("merge", ["sum", "product", "difference", "concatenate"])
def test_merges(merge):
    model, given, variables = siamese(tied="none", merge=merge)
    alone = {}
    for name in given:
        branch = models.create("siamese", 5, **SIAMESE, tied="none", branches=name)
        own = {part: variables["params"][f"{name}_{part}"] for part in ("trunk", "fc")}
        own = {f"{name}_{part}": value for part, value in own.items()}
        identity = {"kernel": np.eye(5, dtype=np.float32), "bias": np.zeros(5, np.float32)}
        alone[name] = logits(branch, {"params": {**own, "classes": identity}}, **{name: given[name]})[:, 0]
    rgb, flow = alone["rgb"], alone["flow"]
    merged = {
        "sum": rgb + flow,
        "product": rgb * flow,
        "difference": abs(rgb - flow),
        "concatenate": np.concatenate([rgb, flow], -1),
    }[merge]
    classes = variables["params"]["classes"]
    wanted = merged @ classes["kernel"] + classes["bias"]
    np.testing.assert_allclose(logits(model, variables, **given)[:, 0], wanted, rtol=1e-4, atol=1e-5)


def test_branches_alone_name_their_input():
    for name in ("rgb", "flow"):
        assert models.input_names(models.create("siamese", K, branches=name)) == (name,)
    with refused(ValueError, "branches=both", "rgb", "flow"):
        siamese()[0].init(jax.random.key(0), rgb=clips(16)["rgb"])


def test_each_input_has_statistics_of_its_own():
    _, _, variables = siamese(normalization="batch")
    assert set(variables["batch_stats"]["trunk"]) == {f"norm{n}_{name}" for n in (1, 2, 3) for name in ("rgb", "flow")}

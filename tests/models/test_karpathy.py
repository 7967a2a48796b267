import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import random_variables
from tests.refusals import refused
from vidjax.errors import ConfigError
from vidjax.models import create, summary
from vidjax.models.karpathy import ConvolutionalLayers, _streams


def shapes_by_layer(model, **shapes):
    return {layer.path: layer.output_shape for layer in summary(model, **shapes).layers}


def test_single_frame_has_the_papers_parameters():
    assert summary(create("single_frame", 101), rgb=(1, 1, 170, 170, 3)).parameters == 72_326_629


def test_early_fusion_extends_only_the_first_kernel_in_time():
    single = summary(create("single_frame", 101), rgb=(1, 1, 170, 170, 3)).parameters
    early = summary(create("early_fusion", 101), rgb=(1, 10, 170, 170, 3)).parameters
    assert early - single == 11 * 11 * 3 * 9 * 96


def test_batch_normalization_adds_a_scale_and_takes_over_the_bias_of_every_convolution():
    lrn = summary(create("single_frame", 101), rgb=(1, 1, 170, 170, 3)).parameters
    batch = summary(create("single_frame", 101, normalization="batch"), rgb=(1, 1, 170, 170, 3)).parameters
    assert batch - lrn == 96 + 256 + 384 + 384 + 256


def parameters(name, frames, size=170, **options):
    return summary(create(name, 101, **options), rgb=(1, frames, size, size, 3)).parameters


SINGLE = 72_326_629  # at 170 x 170, 101 classes, LRN
TOWER = 3_747_200  # the five convolutions: 34,944 + 614,656 + 885,120 + 1,327,488 + 884,992


def test_late_fusion_shares_its_towers_and_widens_the_first_dense_layer():
    assert (
        sum((k * k * i + 1) * o for k, i, o in [(11, 3, 96), (5, 96, 256), (3, 256, 384), (3, 384, 384), (3, 384, 256)])
        == TOWER
    )
    assert parameters("late_fusion", 2) == SINGLE + 7 * 7 * 256 * 4096
    assert parameters("late_fusion", 2, share_towers=False) == SINGLE + 7 * 7 * 256 * 4096 + TOWER
    assert parameters("late_fusion", 2, fusion="average") == parameters("late_fusion", 2, fusion="max") == SINGLE
    assert parameters("late_fusion", 2, fuse_at="scores") == SINGLE + 2 * 101 * 101 + 101
    assert parameters("late_fusion", 2, fuse_at="scores", fusion="max", share_towers=False) == 2 * SINGLE


def test_slow_fusion_extends_three_kernels_in_time_and_shares_its_columns():
    first, second, third = 11 * 11 * 12 * 96 + 96, 5 * 5 * 2 * 96 * 256 + 256, 3 * 3 * 2 * 256 * 384 + 384
    fourth_and_on = SINGLE - 34_944 - 614_656 - 885_120
    assert parameters("slow_fusion", 10) == first + second + third + fourth_and_on
    assert parameters("slow_fusion", 10, share_columns=False) == 4 * first + 2 * second + third + fourth_and_on


@pytest.mark.parametrize(
    "base, frames", [("single_frame", 1), ("early_fusion", 10), ("late_fusion", 2), ("slow_fusion", 10)]
)
def test_multiresolution_has_two_streams_of_half_the_size_on_any_fusion(base, frames):
    """At 178 pixels both streams end at 7 x 7 x 256, so the first dense layer sees twice as much."""
    single_stream = parameters(base, frames)
    convolutions = single_stream - (SINGLE - TOWER) - (7 * 7 * 256 * 4096 if base == "late_fusion" else 0)
    dense = 7 * 7 * 256 * 4096 * (2 if base == "late_fusion" else 1)
    both = parameters("multires", frames, 178, base=base)
    assert both == single_stream + convolutions + dense
    for stream in ("fovea", "context"):
        assert parameters("multires", frames, 178, base=base, streams=stream) == single_stream
    assert parameters(base, frames, 178, streams="both") == both


# Frames, then for each convolution (responses in time, height); at 170 pixels and at 89 without the last pool.
SHAPES = {
    "single_frame": (1, [(1, 54, 27), (1, 27, 14), (1, 14, 7), (1, 14, 7), (1, 14, 7)]),
    "early_fusion": (10, [(1, 54, 27), (1, 27, 14), (1, 14, 7), (1, 14, 7), (1, 14, 7)]),
    "late_fusion": (2, [(2, 54, 27), (2, 27, 14), (2, 14, 7), (2, 14, 7), (2, 14, 7)]),
    "slow_fusion": (10, [(4, 54, 27), (2, 27, 14), (1, 14, 7), (1, 14, 7), (1, 14, 7)]),
}
FILTERS = (96, 256, 384, 384, 256)


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("size", [170, 89])
def test_every_intermediate_shape(name, size):
    frames, layers = SHAPES[name]
    shapes = shapes_by_layer(create(name, 101), rgb=(3, frames, size, size, 3))
    for number, ((responses, at_170, at_89), filters) in enumerate(zip(layers, FILTERS), start=1):
        side = at_170 if size == 170 else at_89
        assert shapes[f"features/conv{number}"] == (3 * responses, side, side, filters)
    if size == 89:  # what each stream of the multiresolution network sees
        streams = shapes_by_layer(create("multires", 101, base=name), rgb=(3, frames, 178, 178, 3))
        for stream, (number, filters) in itertools.product(("fovea", "context"), enumerate(FILTERS, start=1)):
            responses, _, side = layers[number - 1]
            assert streams[f"{name}/{stream}/conv{number}"] == (3 * responses, side, side, filters)
    towers = 3 * frames if name == "single_frame" else 3
    assert shapes["classifier/fc6"] == shapes["classifier/fc7"] == (towers, 4096)
    assert shapes["classifier/fc8"] == (towers, 101)


@pytest.mark.parametrize(("size", "last_pool", "side"), [(170, True, 7), (178, True, 7), (89, False, 7), (89, True, 4)])
def test_features_end_at_seven_by_seven(size, last_pool, side):
    layers = ConvolutionalLayers(last_pool=last_pool)
    variables = jax.eval_shape(
        lambda x: layers.init(jax.random.key(0), x, train=False), jnp.zeros((1, 1, size, size, 3))
    )
    out = jax.eval_shape(lambda v, x: layers.apply(v, x, train=False), variables, jnp.zeros((1, 1, size, size, 3)))
    assert out.shape == (1, 1, side, side, 256)


@pytest.fixture(scope="module")
def clip():
    return random_variables.normal((2, 4, 48, 48, 3))


def scores(name, clip, **options):
    model = create(name, 5, width_multiplier=0.1, **options)
    variables = random_variables.of(model, rgb=clip)
    return jax.jit(lambda x: model.apply(variables, rgb=x).logits)


def test_shuffling_frames_does_not_change_the_averaged_single_frame(clip):
    shuffled = clip[:, [2, 0, 3, 1]]
    single = scores("single_frame", clip)
    assert single(clip).shape == (2, 4, 5)
    np.testing.assert_allclose(single(clip).mean(1), single(shuffled).mean(1), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "name, frames, options",
    [
        ("early_fusion", 4, {}),
        ("late_fusion", 2, {}),
        ("late_fusion", 2, {"share_towers": False, "fuse_at": "scores", "fusion": "average"}),
        ("slow_fusion", 10, {}),
        ("slow_fusion", 10, {"share_columns": False}),
        ("multires", 4, {"base": "early_fusion"}),
    ],
)
def test_reversing_frames_changes_what_fuses_time(name, frames, options):
    clip = random_variables.normal((2, frames, 48, 48, 3))
    network = scores(name, clip, **options)
    assert network(clip).shape == (2, 1, 5)
    assert np.abs(network(clip) - network(clip[:, ::-1])).max() > 1e-2


@pytest.mark.parametrize("fuse_at", ["features", "scores"])
@pytest.mark.parametrize("fusion", ["average", "max"])
def test_shared_towers_fused_symmetrically_have_no_order(fuse_at, fusion):
    clip = random_variables.normal((2, 2, 48, 48, 3))
    network = scores("late_fusion", clip, fuse_at=fuse_at, fusion=fusion)
    np.testing.assert_allclose(network(clip), network(clip[:, ::-1]), rtol=1e-5, atol=1e-5)


def test_a_still_clip_through_shared_towers_is_one_frame_through_one():
    """Average and maximum of equal scores are that score."""
    frame = random_variables.normal((2, 1, 48, 48, 3))
    late, single = (
        create(name, 5, width_multiplier=0.1, **options)
        for name, options in (("late_fusion", {"fuse_at": "scores", "fusion": "max"}), ("single_frame", {}))
    )
    variables = random_variables.of(single, rgb=frame)
    still = np.repeat(frame, 2, axis=1)
    got, want = (jax.jit(m.apply)(variables, rgb=x).logits for m, x in ((late, still), (single, frame)))
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def test_slow_fusion_equals_three_dimensional_convolutions():
    """Shared columns are a convolution in time: 11 x 11 x 4 at stride 2, then 5 x 5 x 2 at stride 2."""
    clip = random_variables.normal((2, 10, 48, 48, 3))
    model = create("slow_fusion", 5, width_multiplier=0.1, normalization="none")
    variables = random_variables.of(model, rgb=clip)
    _, captured = model.apply(
        variables, rgb=clip, mutable=["intermediates"], capture_intermediates=lambda m, _: m.name in ("conv1", "conv2")
    )
    captured = captured["intermediates"]["features"]
    x = clip
    for name, extent, stride, padding in (("conv1", 4, 3, "VALID"), ("conv2", 2, 1, "SAME")):
        kernel, bias = (variables["params"]["features"][name][k] for k in ("kernel", "bias"))
        h, w, stacked, filters = kernel.shape
        kernel = kernel.reshape(h, w, extent, stacked // extent, filters).transpose(2, 0, 1, 3, 4)
        spatial = [(0, 0)] * 2 if padding == "VALID" else [(h // 2, h // 2)] * 2
        want = bias + jax.lax.conv_general_dilated(
            x, kernel, (2, stride, stride), [(0, 0), *spatial], dimension_numbers=("NDHWC", "DHWIO", "NDHWC")
        )
        got = captured[name]["__call__"][0].reshape(want.shape)
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)
        x = nn.max_pool(nn.relu(want), (1, 2, 2), strides=(1, 2, 2), padding="SAME")


def test_the_streams_see_the_center_and_the_whole_frame():
    rgb = jnp.arange(8 * 12, dtype=jnp.float32).reshape(1, 1, 8, 12, 1)
    streams = _streams(rgb, "both")
    np.testing.assert_array_equal(streams["fovea"][0, 0, :, :, 0], rgb[0, 0, 2:6, 3:9, 0])
    assert streams["context"].shape == (1, 1, 4, 6, 1)
    assert streams["context"][0, 0, 0, 0, 0] == (0 + 1 + 12 + 13) / 4


@pytest.mark.parametrize(
    "name, shape, options, tokens",
    [
        ("late_fusion", (1, 1, 48, 48, 3), {}, ("2", "1")),
        ("late_fusion", (1, 2, 48, 48, 3), {"fuse_at": "middle"}, ("fuse_at='middle'", "features, scores")),
        ("slow_fusion", (1, 8, 48, 48, 3), {}, ("6, 10, 14, ...", "8")),
        ("multires", (1, 1, 47, 48, 3), {}, ("47 x 48",)),
        ("multires", (1, 1, 48, 48, 3), {"base": "medium_fusion"}, ("base='medium_fusion'", "early_fusion")),
        ("multires", (1, 1, 48, 48, 3), {"streams": "periphery"}, ("streams='periphery'", "both, fovea, context")),
    ],
)
def test_what_does_not_fit_is_refused(name, shape, options, tokens):
    with refused((ValueError, ConfigError), *tokens):
        summary(create(name, 5, **options), rgb=shape)


def test_early_fusion_equals_a_three_dimensional_first_convolution(clip):
    """Stacking time on channels is the paper's 11 x 11 x 3 x T kernel."""
    model = create("early_fusion", 5, width_multiplier=0.1)  # LRN: with a bias
    variables = random_variables.of(model, rgb=clip)
    _, captured = model.apply(
        variables, rgb=clip, mutable=["intermediates"], capture_intermediates=lambda m, _: m.name == "conv1"
    )
    (got,) = captured["intermediates"]["features"]["conv1"]["__call__"]
    kernel, bias = (variables["params"]["features"]["conv1"][k] for k in ("kernel", "bias"))
    t, filters = clip.shape[1], kernel.shape[-1]
    kernel3d = kernel.reshape(11, 11, t, 3, filters).transpose(2, 0, 1, 3, 4)
    want = jax.lax.conv_general_dilated(
        clip, kernel3d, (1, 3, 3), "VALID", dimension_numbers=("NDHWC", "DHWIO", "NDHWC")
    )
    np.testing.assert_allclose(got, want[:, 0] + bias, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["single_frame", "early_fusion"])
def test_bfloat16_computes_in_bfloat16_with_float32_parameters(name, clip):
    model = create(name, 5, width_multiplier=0.1, normalization="batch", dtype=jnp.bfloat16)
    variables = jax.eval_shape(lambda x: model.init(jax.random.key(1), rgb=x), clip)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables["params"])} == {jnp.dtype("float32")}
    assert jax.eval_shape(lambda v: model.apply(v, rgb=clip), variables).logits.dtype == jnp.bfloat16

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidjax.models import create, summary


def shapes_by_layer(model, **shapes):
    return {layer.path: layer.output_shape for layer in summary(model, **shapes).layers}


def test_single_frame_has_the_papers_parameters():
    assert summary(create("single_frame", 101), rgb=(1, 1, 170, 170, 3)).parameters == 72_326_629


def test_early_fusion_extends_only_the_first_kernel_in_time():
    single = summary(create("single_frame", 101), rgb=(1, 1, 170, 170, 3)).parameters
    early = summary(create("early_fusion", 101), rgb=(1, 10, 170, 170, 3)).parameters
    assert early - single == 11 * 11 * 3 * 9 * 96


def test_batch_normalisation_adds_a_scale_and_takes_over_the_bias_of_every_convolution():
    lrn = summary(create("single_frame", 101), rgb=(1, 1, 170, 170, 3)).parameters
    batch = summary(create("single_frame", 101, normalization="batch"), rgb=(1, 1, 170, 170, 3)).parameters
    assert batch - lrn == 96 + 256 + 384 + 384 + 256


@pytest.mark.parametrize("size", [170, 178])
def test_features_end_at_seven_by_seven(size):
    shapes = shapes_by_layer(create("single_frame", 101), rgb=(1, 1, size, size, 3))
    assert shapes["features/conv5"] == (1, 14, 14, 256)
    assert shapes["classifier/fc6"] == (1, 4096)


def test_intermediate_shapes_at_170():
    shapes = shapes_by_layer(create("early_fusion", 101), rgb=(2, 10, 170, 170, 3))
    assert [shapes[f"features/conv{i}"] for i in range(1, 6)] == [
        (2, 54, 54, 96),
        (2, 27, 27, 256),
        (2, 14, 14, 384),
        (2, 14, 14, 384),
        (2, 14, 14, 256),
    ]


@pytest.fixture(scope="module")
def clip():
    return jax.random.normal(jax.random.key(0), (2, 4, 48, 48, 3))


def scores(name, clip, **options):
    model = create(name, 5, width_multiplier=0.1, **options)
    variables = model.init(jax.random.key(1), rgb=clip)
    return lambda x: model.apply(variables, rgb=x).logits


def test_shuffling_frames_changes_early_fusion_and_not_the_averaged_single_frame(clip):
    shuffled = clip[:, jnp.array([2, 0, 3, 1])]
    single, early = scores("single_frame", clip), scores("early_fusion", clip)
    assert single(clip).shape == (2, 4, 5)
    assert early(clip).shape == (2, 1, 5)
    np.testing.assert_allclose(single(clip).mean(1), single(shuffled).mean(1), rtol=1e-5, atol=1e-5)
    assert np.abs(early(clip) - early(shuffled)).max() > 1e-2


def test_early_fusion_equals_a_three_dimensional_first_convolution(clip):
    """Stacking time on channels is the paper's 11 x 11 x 3 x T kernel."""
    model = create("early_fusion", 5, width_multiplier=0.1)  # LRN: with a bias
    variables = model.init(jax.random.key(1), rgb=clip)
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
    variables = model.init(jax.random.key(1), rgb=clip)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables["params"])} == {jnp.dtype("float32")}
    assert model.apply(variables, rgb=clip).logits.dtype == jnp.bfloat16

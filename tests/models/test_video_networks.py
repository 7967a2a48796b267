"""Published counts and structure of the 3D networks; their numbers are compared with PyTorch in test_parity.py."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import random_variables
from tests.refusals import refused
from vidjax.errors import ConfigError
from vidjax.models import create, summary
from vidjax.models.slowfast import LATERALS, Block, SlowFast

# Parameters at 400 and 101 classes and GMACs at 224 and 256 pixels, of which 256 is one position of the classifier.
# SlowFast's: the authors' code; Carreira & Zisserman 2017 with Sonnet's BatchNorm; Tran et al. 2018 as in
# torchvision.
PUBLISHED = {
    "slowfast_r50_4x16": (32, 34_480_216, 33_791_021, 27.639, 36.099),
    "slowfast_r50_8x8": (32, 34_566_488, 33_877_293, 50.309, 65.709),
    "slow_r50": (8, 32_454_096, 31_841_445, 41.741, 54.518),
    "i3d_r50": (8, 28_043_472, 27_430_821, 28.408, 37.104),
    "c2d_r50": (8, 24_327_632, 23_714_981, 19.493, 25.460),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_counts_of_slowfast_and_its_kin(name):
    frames, of_400, of_101, at_224, at_256 = PUBLISHED[name]
    counts = summary(create(name, 400), rgb=(1, frames, 224, 224, 3))
    assert (counts.parameters, round(counts.macs / 1e9, 3)) == (of_400, at_224)
    # With 101 classes all networks are traced in tests/golden.
    (of_classes,) = [layer.parameters for layer in counts.layers if layer.path == "classes"]
    assert counts.parameters - of_classes + of_classes * 101 // 400 == of_101
    larger = summary(create(name, 400, head_window=8), rgb=(1, frames, 256, 256, 3))
    assert round(larger.macs / 1e9, 3) == at_256


@pytest.mark.parametrize(
    "name, shape, parameters, gmacs",
    [
        ("i3d", (1, 64, 224, 224, 3), 12_689_984, 111.153),
        ("c3d", (1, 16, 112, 112, 3), 79_634_576, 38.549),
        ("r3d_18", (1, 16, 112, 112, 3), 33_371_472, 40.697),
        ("r2plus1d_18", (1, 16, 112, 112, 3), 31_505_325, 40.519),
    ],
)
def test_counts_of_the_others(name, shape, parameters, gmacs):
    counts = summary(create(name, 400), rgb=shape)
    assert (counts.parameters, round(counts.macs / 1e9, 3)) == (parameters, gmacs)


def test_layers_with_slashes_in_their_names_are_listed_one_by_one():
    counts = summary(create("i3d", 8), rgb=(1, 16, 64, 64, 3))
    convolutions = [layer for layer in counts.layers if layer.macs]
    assert len(convolutions) == 58 and len({layer.path for layer in convolutions}) == 58
    first, second, *_, last = convolutions
    assert (first.path, first.output_shape) == ("Conv3d_1a_7x7/conv", (1, 8, 32, 32, 64))
    assert second.path == "Conv3d_2b_1x1/conv" and last.path == "Logits/Conv3d_0c_1x1"
    assert "Mixed_3b/Branch_1/Conv3d_0b_3x3/conv" in {layer.path for layer in convolutions}


def test_c3d_has_the_layers_of_the_paper():
    counts = summary(create("c3d", 487), rgb=(1, 16, 112, 112, 3))
    shapes = {layer.path: layer.output_shape for layer in counts.layers}
    assert shapes["conv1a"] == (1, 16, 112, 112, 64) and shapes["conv5b"] == (1, 2, 7, 7, 512)
    by_layer = {layer.path: layer.parameters for layer in counts.layers}
    assert by_layer["fc6"] == (512 * 4 * 4 + 1) * 4096 and by_layer["fc7"] == 4097 * 4096


def test_slowfast_has_110_normalizations():
    variables = jax.eval_shape(create("slowfast_r50_4x16", 400).init, jax.random.key(0), jnp.zeros((1, 32, 64, 64, 3)))
    assert len(jax.tree.leaves(variables["batch_stats"])) == 2 * 110


@pytest.mark.parametrize("alpha, frames", [(8, [0, 10, 20, 31]), (4, [0, 4, 8, 13, 17, 22, 26, 31])])
def test_the_slow_pathway_takes_frames_to_the_last(alpha, frames):
    assert SlowFast(2, alpha=alpha)._slow_frames(32).tolist() == frames


def test_the_slow_pathway_takes_the_frames_of_pytorch():
    torch = pytest.importorskip("torch", reason="parity needs PyTorch (requirements-parity.txt)")
    for alpha in (1, 2, 4, 8):
        for count in range(alpha, 1025, alpha):
            expected = torch.linspace(0, count - 1, count // alpha).long().tolist()
            assert SlowFast(2, alpha=alpha)._slow_frames(count).tolist() == expected, (alpha, count)


def positive_variables(model, clip):
    """Such that no unit is dead."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(model.init, jax.random.key(0), clip)
    return jax.tree.map(lambda leaf: rng.uniform(0.1, 0.3, leaf.shape).astype(np.float32), shapes)


def small(**options):
    return create("slowfast_r18_small", 5, width=8, blocks=(1, 1, 1, 1), **options)


@pytest.mark.parametrize("lateral", LATERALS)
def test_lateral_connections(lateral):
    alpha = {"alpha": 4, "beta_inverse": 4} if lateral == "time_to_channel_sum" else {"alpha": 8, "beta_inverse": 2}
    model = small(lateral=lateral, **alpha)
    clip = random_variables.normal((1, 16, 32, 32, 3))
    variables = positive_variables(model, clip)
    assert any("lateral" in name for name in variables["params"]) == (lateral == "time_strided_conv")
    # Whatever the fast pathway sees reaches the logits of the slow one only through the connection.
    head = variables["params"]["classes"]["kernel"]
    slow_only = np.where(np.arange(len(head))[:, None] < 64, random_variables.normal(head.shape, 2), 0)
    variables = {**variables, "params": {**variables["params"], "classes": {"kernel": slow_only, "bias": jnp.zeros(5)}}}
    other = clip.copy()
    other[:, 1] += 1  # a frame that the slow pathway does not see
    assert 1 not in model._slow_frames(16)
    logits = jax.jit(lambda rgb: model.apply(variables, rgb).logits)
    assert np.allclose(logits(clip), logits(other), rtol=1e-6) == (lateral == "none")


class Fused(SlowFast):
    """A lateral connection alone."""

    @nn.compact
    def __call__(self, slow, fast):
        return self._fused(slow, fast, "lateral", False)


@pytest.mark.parametrize("lateral", LATERALS)
def test_what_a_lateral_connection_brings(lateral):
    """Section 3.3, one number at a time: fast [b, i * alpha + a, y, x, c] is channel a * C + c of slow [b, i, y, x]."""
    alpha, channels = 4, 3
    rng = np.random.default_rng(0)
    slow = rng.standard_normal((2, 2, 5, 6, alpha * channels)).astype(np.float32)
    fast = rng.standard_normal((2, 2 * alpha, 5, 6, channels)).astype(np.float32)
    connection = Fused(2, alpha=alpha, beta_inverse=alpha, lateral=lateral)
    fused, variables = jax.jit(connection.init_with_output)(jax.random.key(0), slow, fast)
    packed = np.concatenate([fast[:, a::alpha] for a in range(alpha)], axis=-1)
    match lateral:
        case "none":
            expected = slow
        case "time_to_channel_sum":
            expected = slow + packed
        case "time_to_channel_concat":
            expected = np.concatenate([slow, packed], -1)
        case "time_strided_sample":
            expected = np.concatenate([slow, fast[:, [0, 4]]], -1)
        case _:
            kernel = variables["params"]["lateral"]["conv"]["kernel"][:, 0, 0]  # [5, C, 2C]
            padded = np.pad(fast, [(0, 0), (2, 2)] + [(0, 0)] * 3)
            seen = np.stack([padded[:, i : i + 5] for i in (0, 4)], 1)
            response = np.einsum("bityxc,tcd->biyxd", seen, kernel)
            expected = np.concatenate([slow, np.maximum(response / np.sqrt(1 + 1e-5), 0)], -1)
    np.testing.assert_allclose(fused, expected, rtol=1e-4, atol=1e-5)


def test_wrong_options_are_named():
    clip = jnp.zeros((1, 16, 32, 32, 3))
    with refused(ConfigError, "lateral='time_strided'", "'time_strided_conv'"):
        create("slowfast_r50_4x16", 5, lateral="time_strided")
    with refused(ConfigError, "lateral=time_to_channel_sum", "alpha", "beta_inverse", "8", "4"):
        small(lateral="time_to_channel_sum", alpha=8).init(jax.random.key(0), clip)
    with refused(ValueError, "alpha=8", "12"):
        small(alpha=8).init(jax.random.key(0), clip[:, :12])
    with refused(ValueError, "I3D", "in_channels=2", "3"):
        create("i3d", 5, in_channels=2).init(jax.random.key(0), clip)


def test_a_residual_block_begins_as_the_identity():
    block, x = Block(8, 2, 3, 1, {}), np.random.default_rng(1).uniform(size=(1, 4, 6, 6, 8)).astype(np.float32)
    output, _ = jax.jit(lambda x: block.init_with_output(jax.random.key(0), x, train=False))(x)
    np.testing.assert_array_equal(output, x)


def test_larger_crops_have_several_positions():
    model = create("slow_r50", 5, width=4, blocks=(1, 1, 1, 1))
    variables = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 2, 224, 224, 3)))
    shape = jax.eval_shape(model.apply, variables, jnp.zeros((1, 2, 256, 256, 3))).logits.shape
    assert shape == (1, 4, 5)


_SMALLER = {"blocks": (1, 1, 1, 1), "width": 8}


@pytest.mark.parametrize(
    "name, options",
    [
        ("c3d_small", {}),
        ("slowfast_r18_small", _SMALLER),
        ("r3d_18", {"width_multiplier": 0.0625}),
        pytest.param("r2plus1d_18", {"width_multiplier": 0.0625}, marks=pytest.mark.slow),
        pytest.param("i3d", {}, marks=pytest.mark.slow),
    ],
)
def test_training_mode_updates_the_statistics(name, options):
    model = create(name, 3, **options)
    clip = random_variables.normal((2, 8, 32, 32, 3))
    variables = positive_variables(model, clip)
    step = jax.jit(lambda v, x: model.apply(v, x, example_ids=jnp.arange(2), train=True, mutable=["batch_stats"],
                                            rngs={"dropout": jax.random.key(2)}))  # fmt: skip
    output, changed = step(variables, clip)
    assert output.logits.shape[::2] == (2, 3) and np.isfinite(output.logits).all()
    before, after = (jax.tree.leaves(v["batch_stats"]) for v in (variables, changed))
    assert all(not np.array_equal(a, b) for a, b in zip(before, after))

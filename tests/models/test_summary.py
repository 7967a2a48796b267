import flax.linen as nn
import jax
import pytest

from tests.refusals import refused
from vidjax.errors import ConfigError
from vidjax.models import create
from vidjax.models.summary import summary


class Net(nn.Module):
    @nn.compact
    def __call__(self, rgb):
        x = nn.Conv(8, (3, 3), strides=2, name="conv")(rgb)
        x = nn.relu(nn.Conv(8, (3, 3), feature_group_count=4, use_bias=False, name="grouped")(x))
        return nn.Dense(5, name="dense")(x.mean(axis=(1, 2)))


class Scanned(nn.Module):
    @nn.compact
    def __call__(self, rgb):
        cell = nn.scan(nn.SimpleCell, variable_broadcast="params", split_rngs={"params": False}, in_axes=1, out_axes=1)(
            features=4, name="cell"
        )
        carry = jax.numpy.zeros((rgb.shape[0], 4))
        return cell(carry, rgb)[1]


def test_counts_by_hand():
    counts = summary(Net(), rgb=(2, 8, 8, 3))
    layers = {layer.path: layer for layer in counts.layers}
    assert layers["conv"].parameters == 3 * 3 * 3 * 8 + 8
    assert layers["conv"].macs == 2 * 4 * 4 * 8 * (3 * 3 * 3)
    assert layers["conv"].output_shape == (2, 4, 4, 8)
    assert layers["grouped"].parameters == 3 * 3 * 2 * 8
    assert layers["grouped"].macs == 2 * 4 * 4 * 8 * (3 * 3 * 2)
    assert layers["dense"].macs == 2 * 8 * 5
    assert counts.macs == sum(layer.macs for layer in counts.layers)
    assert counts.parameters == 224 + 144 + 45


def test_a_scan_counts_once_per_step():
    counts = summary(Scanned(), rgb=(2, 7, 3))
    assert counts.macs == 7 * 2 * (3 * 4 + 4 * 4)
    assert counts.parameters == 3 * 4 + 4 * 4 + 4


def test_batch_statistics_are_no_parameters():
    class Normalized(nn.Module):
        @nn.compact
        def __call__(self, rgb):
            return nn.BatchNorm(use_running_average=True)(rgb)

    assert summary(Normalized(), rgb=(2, 8, 8, 3)).parameters == 6


def test_a_loop_of_unknown_length_is_refused():
    class Loops(nn.Module):
        multiplies: bool

        @nn.compact
        def __call__(self, rgb):
            rgb = nn.Dense(2)(rgb)
            again = (lambda x: x @ x) if self.multiplies else (lambda x: x + 1)
            return jax.lax.while_loop(lambda x: x.sum() < 10, again, rgb)

    with refused(ValueError, "while"):
        summary(Loops(True), rgb=(2, 2))
    assert summary(Loops(False), rgb=(2, 2)).macs == 2 * 2 * 2


def layers_of(module, *shape):
    counts = summary(module, rgb=shape)
    assert counts.macs == sum(layer.macs for layer in counts.layers)
    assert counts.parameters == sum(layer.parameters for layer in counts.layers)
    return {layer.path: layer for layer in counts.layers}


def test_zeros_and_patches_are_not_multiplied():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, rgb):
            up = nn.ConvTranspose(8, (4, 4), strides=(2, 2), name="transposed")(rgb)
            return up, nn.ConvLocal(6, (3, 3), padding="VALID", name="local")(rgb)

    layers = layers_of(Net(), 1, 8, 8, 3)
    assert layers["transposed"].macs == 8 * 8 * 3 * (4 * 4 * 8)  # every input meets the whole kernel
    assert layers["local"].macs == 6 * 6 * 6 * (3 * 3 * 3)


def test_a_formula_a_mapped_module_and_a_method_are_no_layers_of_their_own():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, rgb):
            kernel = self.param("kernel", nn.initializers.ones, (3, 4))
            x = self.helper(jax.numpy.einsum("bti,io->bto", rgb, kernel))
            each = nn.vmap(nn.Dense, in_axes=1, out_axes=1, variable_axes={"params": 0}, split_rngs={"params": True})
            return each(2, name="each")(nn.remat(nn.Dense)(5, name="kept")(x))

        def helper(self, x):
            return nn.Dense(4, name="helped")(x)

    layers = layers_of(Net(), 2, 7, 3)
    assert {path: (layer.parameters, layer.macs) for path, layer in layers.items()} == {
        "": (3 * 4, 2 * 7 * 3 * 4),
        "helped": (4 * 4 + 4, 2 * 7 * 4 * 4),
        "kept": (4 * 5 + 5, 2 * 7 * 4 * 5),
        "each": (7 * (5 * 2 + 2), 2 * 7 * 5 * 2),
    }


def test_an_lstm_has_its_gates_in_one_layer():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, rgb):
            return nn.RNN(nn.OptimizedLSTMCell(8, name="cell"), name="rnn")(rgb)

    (cell,) = layers_of(Net(), 2, 5, 3).values()
    assert cell.path.endswith("cell")
    assert (cell.parameters, cell.macs) == (4 * (3 * 8 + 8 * 8 + 8), 2 * 5 * 4 * (3 * 8 + 8 * 8))


def test_attention_counts_its_projections_and_its_products():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, rgb):
            return nn.MultiHeadDotProductAttention(num_heads=2, qkv_features=8, name="attention")(rgb)

    layers = layers_of(Net(), 2, 5, 4)
    assert layers["attention"].macs == 2 * (2 * 5 * 5 * 8)
    assert layers["attention/query"].macs == 2 * 5 * 4 * 8 and layers["attention/out"].macs == 2 * 5 * 8 * 4


def test_parameters_that_nothing_uses_are_counted():
    class Net(nn.Module):
        def setup(self):
            self.used, self.idle = nn.Dense(2), nn.Dense(3)

        def __call__(self, rgb):
            if self.is_initializing():
                self.idle(rgb)
            return self.used(rgb)

    assert summary(Net(), rgb=(1, 4)).parameters == (4 * 2 + 2) + (4 * 3 + 3)


@pytest.mark.parametrize("shape", [(1, 48, 48, 3), (1, 48, 48), (1, 1, 16, 48, 48, 3)])
@pytest.mark.parametrize("name", ["multires", "c3d_small", "r3d_18", "slowfast_r18_small", "capsnet", "capsule_video"])
def test_another_number_of_axes_is_refused(name, shape):
    with refused(ConfigError, "rgb", shape, len(shape), 5, "[B, T, H, W, C]"):
        summary(create(name, 8), rgb=shape)


@pytest.mark.parametrize(
    "name, shape",
    [("early_fusion", (1, 3, 10, 48, 48)), ("single_frame", (1, 1, 8, 8, 3)), ("capsnet", (1, 1, 10, 10, 3))],
)
def test_an_input_of_which_nothing_is_left_is_refused_by_its_shape(name, shape):
    with refused(ConfigError, "rgb", shape, "[B, T, H, W, C]"):
        summary(create(name, 8), rgb=shape)


def test_a_model_may_print_while_it_is_debugged():
    class Talkative(nn.Module):
        @nn.compact
        def __call__(self, rgb, train=False):
            jax.debug.print("mean {m}", m=rgb.mean())
            return nn.Dense(3)(rgb.mean(axis=(1, 2, 3)))

    assert summary(Talkative(), rgb=(1, 2, 4, 4, 3)).parameters == 12

import flax.linen as nn
import jax
import pytest

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
    class Normalised(nn.Module):
        @nn.compact
        def __call__(self, rgb):
            return nn.BatchNorm(use_running_average=True)(rgb)

    assert summary(Normalised(), rgb=(2, 8, 8, 3)).parameters == 6


def test_a_loop_of_unknown_length_is_refused():
    class Loops(nn.Module):
        @nn.compact
        def __call__(self, rgb):
            return jax.lax.while_loop(lambda x: x.sum() < 10, lambda x: x + 1, rgb)

    with pytest.raises(ValueError, match="while loop"):
        summary(Loops(), rgb=(1, 2))

"""Batch normalization of a frozen part of a network, in training."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidjax.layers.normalization import BatchNorm
from vidjax.training.frozen_norms import frozen_normalization
from vidjax.training.parameter_groups import Frozen, restore_frozen


class Norms(nn.Module):
    """One of each class, one after the other."""

    @nn.compact
    def __call__(self, x, train):
        x = BatchNorm(name="ours")(x, train=train)
        return nn.BatchNorm(use_running_average=None, use_scale=False, name="flax")(x, use_running_average=not train)


@pytest.mark.parametrize("frozen, moved", [((), ["flax", "ours"]), (("ours",), ["flax"]), (("ours", "flax/bias"), [])])
def test_frozen_layers_evaluate(frozen, moved):
    model, x = Norms(), 3 + 2 * jax.random.normal(jax.random.key(0), (8, 5))
    variables = model.init(jax.random.key(0), x, train=False)
    with frozen_normalization(Frozen(frozen)):
        y, changed = model.apply(variables, x, train=True, mutable=["batch_stats"])
    for name, before in variables["batch_stats"].items():
        assert (float(jnp.abs(before["mean"] - changed["batch_stats"][name]["mean"]).max()) > 0) == (name in moved)
    is_normalized = np.abs(np.asarray(y.mean(axis=0))).max() < 1e-5
    assert is_normalized == bool(moved)


class FlaxNorms(nn.Module):
    """As Flax's own examples write it, and without parameters."""

    @nn.compact
    def __call__(self, x, train):
        x = nn.BatchNorm(use_running_average=not train, name="usual")(x)
        bare = nn.BatchNorm(use_scale=False, use_bias=False, name="bare")
        return nn.Dense(2, name="classes")(bare(x, not train))


@pytest.mark.parametrize(
    "frozen, moved",
    [
        (Frozen(("classes",)), {"usual", "bare"}),
        (Frozen(("usual",)), {"bare"}),
        (Frozen(train_only=("classes", "bare")), {"bare"}),
        (Frozen(train_only=("classes",)), set()),
    ],
)
def test_layers_of_flax(frozen, moved):
    model, x = FlaxNorms(), 3 + jax.random.normal(jax.random.key(0), (8, 5))
    variables = model.init(jax.random.key(0), x, train=False)
    with frozen_normalization(frozen):
        _, changed = model.apply(variables, x, train=True, mutable=["batch_stats"])
    before, after = variables["batch_stats"], changed["batch_stats"]
    assert {name for name in before if not np.array_equal(before[name]["mean"], after[name]["mean"])} == moved
    restored = restore_frozen(frozen, variables["params"], before, after)
    jax.tree.map(np.testing.assert_array_equal, restored, after)


def test_half_a_layer_is_not_frozen():
    model, x = Norms(), jax.random.normal(jax.random.key(0), (8, 5))
    variables = model.init(jax.random.key(0), x, train=False)
    with frozen_normalization(Frozen(("ours/scale",))):
        _, changed = model.apply(variables, x, train=True, mutable=["batch_stats"])
    assert float(jnp.abs(changed["batch_stats"]["ours"]["mean"]).max()) > 0

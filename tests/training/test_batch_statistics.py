import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from tests.refusals import refused
from vidjax.data.records import Batch
from vidjax.layers.normalization import BatchNorm
from vidjax.models import Output
from vidjax.preprocessing.pipeline import Preprocessing
from vidjax.training.batch_statistics import make_moments_step, with_precise_stats
from vidjax.training.parameter_groups import Frozen
from vidjax.training.state import make_init


class Net(nn.Module):
    norm: type = BatchNorm

    @nn.compact
    def __call__(self, rgb, train=False):
        x = nn.Dense(4, name="dense")(rgb)
        x = BatchNorm(name="norm")(x, train=train)
        if self.norm is nn.BatchNorm:
            x = nn.BatchNorm(use_running_average=not train)(x)
        return Output(x.mean(axis=(1, 2, 3))[:, None])


def batches(count):
    rng = np.random.default_rng(0)
    for number in range(count):
        clips = rng.integers(0, 255, (6, 2, 3, 3, 3), dtype=np.uint8)
        yield Batch({"rgb": clips}, jnp.zeros(6, int), jnp.arange(6) + 6 * number, jnp.ones(6, bool))


def state_of(model):
    return make_init(model, optax.sgd(0.1), {"rgb": jax.ShapeDtypeStruct((1, 2, 3, 3, 3), jnp.float32)}, 0)()


def test_statistics_are_those_of_all_examples_together():
    model = Net()
    state, step = state_of(model), make_moments_step(model, Preprocessing(std=255.0), seed=0)
    moments = [step(state, batch) for batch in batches(5)]
    new = with_precise_stats(state, moments)
    clips = np.concatenate([np.asarray(batch.inputs["rgb"]) for batch in batches(5)]) / 255
    dense = clips @ state.params["dense"]["kernel"] + state.params["dense"]["bias"]
    stats = new.model_state["batch_stats"]["norm"]
    np.testing.assert_allclose(stats["mean"], dense.mean(axis=(0, 1, 2, 3)), rtol=1e-4)
    np.testing.assert_allclose(stats["var"], dense.var(axis=(0, 1, 2, 3)), rtol=1e-4)
    jax.tree.map(np.testing.assert_array_equal, new.params, state.params)
    assert np.all(state.model_state["batch_stats"]["norm"]["mean"] == 0), "the state itself does not change"


def test_statistics_of_channels_far_from_zero():
    state = state_of(Net())
    clips = np.random.default_rng(0).normal([0, 1000, 1000, -3e4], [1, 1, 0.1, 10], (4, 500, 4)).astype(np.float32)
    moments = [{"norm": {"mean": part.mean(0, dtype=float), "var": part.var(0, dtype=float)}} for part in clips]
    moments = jax.tree.map(np.float32, moments)
    stats = with_precise_stats(state, moments).model_state["batch_stats"]["norm"]
    np.testing.assert_allclose(stats["mean"], clips.mean((0, 1), dtype=float), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(stats["var"], clips.var((0, 1), dtype=float), rtol=1e-3)
    assert all(value.dtype == np.float32 for value in stats.values())


def test_frozen_statistics_stay():
    state = state_of(Net())
    step = make_moments_step(Net(), Preprocessing(std=255.0), seed=0)
    moments = [step(state, batch) for batch in batches(2)]
    new = with_precise_stats(state, moments, frozen=Frozen(("norm",)))
    jax.tree.map(np.testing.assert_array_equal, new.model_state, state.model_state)


def test_other_normalizations_are_refused():
    model = Net(nn.BatchNorm)
    state, step = state_of(model), make_moments_step(model, Preprocessing(std=255.0), seed=0)
    with refused(ValueError, "vidjax.layers.BatchNorm"):
        with_precise_stats(state, [step(state, batch) for batch in batches(2)])

"""What a step does with its state, on a network of one number per class."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.refusals import refused
from vidjax.config import loading, recipe, validation
from vidjax.data.records import Batch
from vidjax.errors import ConfigError
from vidjax.models.output import Output
from vidjax.preprocessing.pipeline import Preprocessing
from vidjax.training import optimizers, schedules
from vidjax.training.losses import cross_entropy
from vidjax.training.metrics_line import STEP_METRICS
from vidjax.training.parameter_groups import NOTHING, Frozen
from vidjax.training.state import make_init
from vidjax.training.step import make_train_step


class Brightness(nn.Module):
    """Scores are a line in the mean of the clip; its running mean is a batch statistic."""

    @nn.compact
    def __call__(self, rgb, train=False):
        mean = rgb.mean(axis=(1, 2, 3, 4), keepdims=False)[:, None]
        statistics = self.variable("batch_stats", "mean", jnp.zeros, (1,))
        if train:
            statistics.value = 0.5 * statistics.value + 0.5 * mean.mean(axis=0)
        return Output(nn.Dense(2, name="line")(mean)[:, None])


def batch_of(step, size=4):
    rng = np.random.default_rng(step)
    pixels = rng.integers(0, 256, (size, 1, 2, 2, 3), dtype=np.uint8)
    index = np.arange(step * size, (step + 1) * size, dtype=np.int32)
    return Batch({"rgb": pixels}, rng.integers(0, 2, size).astype(np.int32), index, np.ones(size, bool))


def states(steps, *, plateau=None, scale=1.0, ema=None, freeze=NOTHING, rate=0.1):
    """The state before and after each step."""
    optimizer = optimizers.create("momentum", rate, freeze=freeze)
    spec = {"rgb": jax.ShapeDtypeStruct((1, 1, 2, 2, 3), jnp.float32)}
    state = make_init(Brightness(), optimizer, spec, 0, ema=ema is not None, plateau=plateau)()
    if plateau is not None:
        state = state.replace(plateau=state.plateau._replace(scale=jnp.asarray(scale, jnp.float32)))
    preprocessing = Preprocessing(mean=117.0, std=58.0)
    step = make_train_step(Brightness(), optimizer, cross_entropy, preprocessing, seed=0, freeze=freeze, ema_decay=ema)
    found = [state]
    for number in range(steps):
        state, _ = jax.jit(step)(state, batch_of(number))
        found.append(state)
    return found


def kernel(state):
    return np.asarray(state.params["line"]["kernel"], np.float64)


def measured(freeze=NOTHING, num_microbatches=1, clip_norm=None):
    """The state before and after a step, and the metrics of that step."""
    optimizer = optimizers.create("momentum", 0.1, freeze=freeze, clip_norm=clip_norm)
    spec = {"rgb": jax.ShapeDtypeStruct((1, 1, 2, 2, 3), jnp.float32)}
    before = make_init(Brightness(), optimizer, spec, 0)()
    step = make_train_step(
        Brightness(),
        optimizer,
        cross_entropy,
        Preprocessing(mean=117.0, std=58.0),
        seed=0,
        freeze=freeze,
        num_microbatches=num_microbatches,
    )
    after, metrics = jax.jit(step)(before, batch_of(0))
    return before, after, {name: float(total) / float(count) for name, (total, count) in metrics.items()}


def norm(*arrays):
    return np.sqrt(sum(np.square(np.asarray(array, np.float64)).sum() for array in arrays))


def test_a_step_measures_what_is_declared():
    before, after, metrics = measured()
    assert metrics.keys() == STEP_METRICS.keys()
    old, new = jax.tree.leaves(before.params), jax.tree.leaves(after.params)
    moved = [np.subtract(a, b, dtype=np.float64) for a, b in zip(new, old)]
    assert metrics["parameter_norm"] == pytest.approx(norm(*new), rel=1e-6)
    assert metrics["update_norm"] == pytest.approx(norm(*moved), rel=1e-6)
    # The first step of momentum is the gradient times the rate.
    assert metrics["gradient_norm"] == pytest.approx(norm(*moved) / 0.1, rel=1e-5)


def test_the_norm_of_the_gradient_is_that_of_the_whole_batch_before_it_is_clipped():
    _, _, whole = measured()
    _, _, accumulated = measured(num_microbatches=2)
    assert accumulated["gradient_norm"] == pytest.approx(whole["gradient_norm"], rel=1e-5)
    _, _, clipped = measured(clip_norm=whole["gradient_norm"] / 2)
    assert clipped["gradient_norm"] == whole["gradient_norm"]
    assert clipped["update_norm"] == pytest.approx(whole["update_norm"] / 2, rel=1e-5)


def test_norms_leave_out_what_is_frozen():
    _, after, metrics = measured(freeze=Frozen(("line/kernel",)))
    assert metrics["parameter_norm"] == pytest.approx(norm(after.params["line"]["bias"]), rel=1e-6)
    assert 0 < metrics["gradient_norm"] < measured()[2]["gradient_norm"]


def test_the_average_of_weights_and_statistics_is_normalized():
    decay = 0.8
    path = states(4, ema=decay)
    weights = decay ** np.arange(3, -1, -1)
    for of in (lambda w: w.params["line"]["kernel"], lambda w: w.model_state["batch_stats"]["mean"]):
        values = np.stack([np.asarray(of(state)) for state in path[1:]])
        mean = np.tensordot(weights, values, axes=1) / weights.sum()
        np.testing.assert_allclose(of(path[-1].ema), mean, rtol=1e-5)
        assert np.abs(mean - values[-1]).max() > 1e-4, "the last weights would pass, too"


def test_a_plateau_scales_the_rate():
    controller = schedules.create("plateau", 0.1, 10).controller
    plain, scaled = states(3, plateau=controller), states(3, plateau=controller, scale=0.25)
    smaller = states(3, rate=0.025)
    np.testing.assert_allclose(kernel(scaled[-1]), kernel(smaller[-1]), rtol=1e-5)
    assert np.abs(kernel(plain[-1]) - kernel(scaled[-1])).max() > 1e-3
    assert float(scaled[-1].plateau.scale) == 0.25


def test_frozen_parameters_stay_and_so_do_the_statistics_of_their_module():
    first, *_, last = states(3, freeze=Frozen(("line/kernel",)))
    np.testing.assert_array_equal(kernel(first), kernel(last))
    assert np.abs(last.params["line"]["bias"] - first.params["line"]["bias"]).max() > 1e-4
    assert np.abs(last.model_state["batch_stats"]["mean"] - first.model_state["batch_stats"]["mean"]).max() > 1e-4


@pytest.mark.parametrize(
    "overrides, rate",
    [
        ({}, 0.4),
        ({"optimizer.scale_with_batch": "linear"}, 0.4 * 64 / 256),
        ({"optimizer.scale_with_batch": "linear", "optimizer.base_batch_size": 16}, 0.4 * 4),
        ({"optimizer.scale_with_batch": "sqrt", "optimizer.base_batch_size": 16}, 0.4 * 2),
    ],
)
def test_the_rate_follows_the_batch_size_where_it_is_said(overrides, rate):
    given = {"optimizer.learning_rate": 0.4, "train.batch_size": 64, **overrides}
    config = loading.load("configs/early_fusion.py", given)
    assert recipe.peak_rate(config.optimizer, config.train.batch_size) == pytest.approx(rate)
    schedule = recipe.schedule(config.schedule, rate, 100, 10.0)
    assert float(schedule(5)) == pytest.approx(rate)  # the end of the warm-up


@pytest.mark.parametrize(
    "overrides, tokens",
    [
        ({"optimizer.base_batch_size": 64}, ("optimizer.base_batch_size", "optimizer.scale_with_batch")),
        (
            {"schedule.warmup_fraction": 0.0, "schedule.warmup_from": 0.1},
            ("schedule.warmup_from=0.1", "schedule.warmup_steps"),
        ),
        (
            {"schedule.name": "one_cycle", "schedule.warmup_epochs": 1.0},
            ("'one_cycle'", "'warmup_epochs'", "constant", "6"),
        ),
    ],
)
def test_keys_without_an_effect_are_refused(overrides, tokens):
    with refused(ConfigError, *tokens):
        validation.check_config(loading.load("configs/early_fusion.py", overrides))

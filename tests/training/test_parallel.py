"""One device, pmap and sharded jit give the same numbers."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.refusals import refused
from vidjax.data.records import Batch
from vidjax.errors import ConfigError
from vidjax.evaluation.scores import mean_probabilities
from vidjax.models import Output, create
from vidjax.preprocessing.augment import ColorJitter
from vidjax.preprocessing.mixing import Mixing
from vidjax.preprocessing.pipeline import Preprocessing
from vidjax.training import optimizers, parallel
from vidjax.training.losses import cross_entropy
from vidjax.training.metrics_line import STEP_METRICS
from vidjax.training.state import make_init
from vidjax.training.step import make_eval_step, make_train_step

CLASSES, BATCH, SIDE = 4, 16, 36
STRATEGIES = [("jit", 1), ("pmap", 1), ("pmap", 2), ("pmap", 8), ("sharded", 1), ("sharded", 2), ("sharded", 8)]


def batch_of(step):
    rng = np.random.default_rng(step)
    return Batch(
        inputs={"rgb": rng.integers(0, 256, (BATCH, 3, SIDE + 4, SIDE + 4, 3), dtype=np.uint8)},
        label=rng.integers(0, CLASSES, BATCH).astype(np.int32),
        index=np.arange(step * BATCH, (step + 1) * BATCH, dtype=np.int32),
        mask=np.ones(BATCH, bool),
    )


def train(strategy_name, devices, steps, dtype, optimizer, num_microbatches=1, mixing=Mixing()):  # noqa: B008
    """Everything that could depend on the device count: batch statistics, dropout and every augmentation."""
    strategy = parallel.choose(strategy_name, jax.devices()[:devices])
    model = create(
        "early_fusion",
        CLASSES,
        normalization="batch",
        width_multiplier=0.05,
        dropout=0.5,
        dtype=dtype,
        param_dtype=dtype,
        **({"axis_name": strategy.axis_name} if strategy.axis_name else {}),
    )
    preprocessing = Preprocessing(
        crop=SIDE,
        flip=True,
        mirror=(1, 0, 2, 3),
        color=ColorJitter(0.2, 0.2, 0.2),
        mixing=mixing,
        mean=117.0,
        std=58.0,
        dtype=dtype,
    )
    spec = {"rgb": jax.ShapeDtypeStruct((1, 3, SIDE, SIDE, 3), dtype)}
    start = make_init(model, optimizer, spec, seed=0, ema=True)()
    # Statistics begin in float32: a step of its own would be compiled for them.
    floats = jax.tree.map(lambda x: x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x, start)
    state = strategy.put_state(floats)
    step = strategy.compile_train(
        make_train_step(
            model,
            optimizer,
            cross_entropy,
            preprocessing,
            seed=0,
            axis_name=strategy.axis_name,
            num_microbatches=num_microbatches,
            ema_decay=0.9,
        )
    )
    measured = []
    for number in range(steps):
        state, metrics = step(state, strategy.put_batch(batch_of(number)))
        assert int(metrics["loss"][1]) == int(metrics["top1"][1]) == BATCH
        measured.append([float(total / count) for total, count in (metrics[name] for name in STEP_METRICS)])
    evaluate = strategy.compile_eval(
        make_eval_step(model, cross_entropy, preprocessing, mean_probabilities, axis_name=strategy.axis_name)
    )
    scored = jax.device_get(evaluate(state, strategy.put_batch(batch_of(99))))
    order = np.argsort(scored.index)
    return jax.device_get(state), np.array(measured).T, scored.scores[order], scored.index[order]


@pytest.mark.parametrize("strategy_name", ["jit", "pmap", "sharded"])
def test_a_step_takes_over_the_buffers_of_its_state(strategy_name):
    strategy = parallel.choose(strategy_name, jax.devices()[: 1 if strategy_name == "jit" else 2])

    class Net(nn.Module):
        @nn.compact
        def __call__(self, rgb, train=False):
            x = nn.BatchNorm(use_running_average=not train, axis_name=strategy.axis_name)(rgb.mean(axis=(1, 2, 3)))
            return Output(nn.Dense(CLASSES)(x)[:, None])

    model = Net()
    optimizer = optimizers.create("adam", 1e-3)
    spec = {"rgb": jax.ShapeDtypeStruct((1, 3, SIDE, SIDE, 3), jnp.float32)}
    state = strategy.put_state(make_init(model, optimizer, spec, seed=0, ema=True)())
    step = strategy.compile_train(
        make_train_step(
            model,
            optimizer,
            cross_entropy,
            Preprocessing(crop=SIDE),
            seed=0,
            axis_name=strategy.axis_name,
            ema_decay=0.9,
        )
    )
    for number in range(2):
        before = state
        state, _ = step(state, strategy.put_batch(batch_of(number)))
        left = [path for path, leaf in jax.tree.leaves_with_path(before) if not leaf.is_deleted()]
        assert not left


def relative(a, b):
    return np.abs(a - b).max() / max(np.abs(b).max(), 1e-30)


@pytest.fixture(scope="module")
def reference64():
    with jax.enable_x64(True):
        return train("jit", 1, 20, jnp.float64, optimizers.create("adamw", 1e-3))


def slow_on_few_devices(strategy, devices):
    return pytest.param(strategy, devices, marks=[] if devices == 8 else [pytest.mark.slow])


@pytest.mark.parametrize("strategy, devices", [slow_on_few_devices(*strategy) for strategy in STRATEGIES[1:]])
def test_float64_parameters_agree_after_20_steps(strategy, devices, reference64):
    with jax.enable_x64(True):
        got = train(strategy, devices, 20, jnp.float64, optimizers.create("adamw", 1e-3))
    state, measured, scores, index = got
    want_state, want_measured, want_scores, want_index = reference64
    leaves, want_leaves = jax.tree.leaves(state), jax.tree.leaves(want_state)
    assert len(leaves) == len(want_leaves)
    assert all(leaf.dtype == want.dtype and relative(leaf, want) < 1e-10 for leaf, want in zip(leaves, want_leaves))
    for name, of_steps, want in zip(STEP_METRICS, measured, want_measured, strict=True):
        assert relative(of_steps, want) < 1e-10, name
    assert relative(scores, want_scores) < 1e-10
    np.testing.assert_array_equal(index, want_index)


@functools.cache  # that of one device is compared with several
def of_microbatches(strategy, devices, mixing):
    with jax.enable_x64(True):
        return train(strategy, devices, 2, jnp.float64, optimizers.create("sgd", 1e-2), 2, mixing)


@pytest.mark.slow
@pytest.mark.parametrize(
    "strategy, devices, mixing",
    [("pmap", 8, Mixing()), ("sharded", 8, Mixing()), ("pmap", 4, Mixing(0.5, 0.5)), ("sharded", 4, Mixing(0.5, 0.5))],
)
def test_microbatches_have_the_same_examples_in_every_strategy(strategy, devices, mixing):
    """Batch statistics are those of a microbatch, so microbatches of other examples would give other numbers."""
    want, want_measured, *_ = of_microbatches("jit", 1, mixing)
    got, measured, *_ = of_microbatches(strategy, devices, mixing)
    assert all(relative(of_steps, wanted) < 1e-10 for of_steps, wanted in zip(measured, want_measured, strict=True))
    assert all(relative(a, b) < 1e-10 for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want)))


@pytest.mark.slow
def test_float32_losses_agree_with_sgd():
    runs = [
        train(strategy, devices, 10, jnp.float32, optimizers.create("sgd", 1e-2)) for strategy, devices in STRATEGIES
    ]
    for _, (losses, *_), _, _ in runs[1:]:
        assert relative(losses, runs[0][1][0]) < 5e-6


@pytest.mark.slow
def test_a_different_example_number_draws_differently():
    """Guards the comparison above: it would pass if nothing were drawn at all."""
    model = create("early_fusion", CLASSES, width_multiplier=0.05, dropout=0.5)
    optimizer = optimizers.create("sgd", 0.0)
    preprocessing = Preprocessing(crop=SIDE)
    state = make_init(model, optimizer, {"rgb": jax.ShapeDtypeStruct((1, 3, SIDE, SIDE, 3), jnp.float32)}, 0)()
    step = jax.jit(make_train_step(model, optimizer, cross_entropy, preprocessing, seed=0))
    batch = batch_of(0)
    first, again, other = (
        float(step(state, batch._replace(index=batch.index + shift))[1]["loss"][0]) for shift in (0, 0, 1000)
    )
    assert first == again
    assert first != other


def test_auto_takes_jit_on_one_device_and_pmap_over_several():
    assert parallel.choose("auto", jax.devices()[:1]).name == "jit"
    assert parallel.choose("auto", jax.devices()[:2]).name == "pmap"


def test_errors():
    with refused(ConfigError, "parallel='pjit'", "auto, jit, pmap, sharded"):
        parallel.choose("pjit")
    with refused(ConfigError, "train.batch_size=12", "8"):
        parallel.choose("pmap", jax.devices()[:8]).check_batch_size(12, "train.batch_size")

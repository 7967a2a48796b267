import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidjax.data.records import Batch
from vidjax.models.output import Output
from vidjax.preprocessing.pipeline import Preprocessing
from vidjax.training import optimizers, parallel
from vidjax.training.loop import PHASES, LoopSchedule, TrainLoop
from vidjax.training.losses import cross_entropy
from vidjax.training.metrics_line import STEP_METRICS
from vidjax.training.state import make_init
from vidjax.training.step import make_train_step


class Clock:
    """Simulated progress of the device: it is as far as the host has waited for."""

    def __init__(self):
        self.started = 0
        self.waits = []  # (step that was waited for, steps started by then)
        self.doing = ""


class Number:
    """A number that step `step` computes."""

    def __init__(self, clock, step, value):
        self.clock, self.step, self.value = clock, step, value

    def block_until_ready(self):
        self.clock.waits.append((self.step, self.clock.started))
        return self

    def copy_to_host_async(self):
        pass

    def __array__(self, dtype=None, copy=None):
        assert any(step >= self.step for step, _ in self.clock.waits), "fetched before it was computed"
        return np.float32(self.value)


class OneDevice:
    def __init__(self, max_inflight_steps):
        self.max_inflight_steps = max_inflight_steps

    def put_batch(self, batch):
        return batch


def make_loop(max_inflight_steps, number=Number):
    clock = Clock()

    def train_step(state, batch):
        clock.started += 1
        pair = (number(clock, clock.started, float(batch)), number(clock, clock.started, 2.0))
        return state + 1, {"loss": pair}

    return clock, TrainLoop(OneDevice(max_inflight_steps), train_step, itertools.count(1), batch_size=4)


def test_a_line_comes_when_its_steps_are_done_and_nothing_waits_for_a_new_step():
    clock, loop = make_loop(2)
    state, lines = 0, []
    for step in range(1, 11):
        state = loop.step(state)
        if step % 4 == 0:
            loop.close_window(step)
        lines += [(step, line) for line in loop.completed_windows()]
    assert state == 10
    assert [(at, line.step, line.means) for at, line in lines] == [
        (6, 4, {"loss": (1 + 2 + 3 + 4) / 8}),
        (10, 8, {"loss": (5 + 6 + 7 + 8) / 8}),
    ]
    assert all(started - step >= 2 for step, started in clock.waits)
    loop.close_window(10)
    assert loop.completed_windows() == []
    (line,) = loop.completed_windows(wait=True)
    assert (line.step, line.means) == (10, {"loss": (9 + 10) / 4})


def test_steps_do_not_overlap_where_they_must_not():
    clock, loop = make_loop(0)
    for step in range(1, 4):
        loop.step(0)
        assert clock.waits[-1] == (step, step)
        loop.close_window(step)
        assert [line.step for line in loop.completed_windows()] == [step]


class Guarded(Number):
    """A number that only `completed_windows` may read, and that may be waited for two steps later at the earliest."""

    def _look(self, *_, **__):
        assert self.clock.doing == "completed_windows", f"{self.clock.doing} looks at a number"
        assert self.clock.started - self.step >= 2, "looked at before it was due"
        return np.float32(self.value)

    __array__ = __float__ = __int__ = __bool__ = item = tolist = _look

    def block_until_ready(self):
        assert self.clock.started - self.step >= 2, f"{self.clock.doing} waits for step {self.step}"
        return super().block_until_ready()


def test_no_number_is_looked_at_before_its_line_is_due():
    clock, loop = make_loop(2, Guarded)
    state, lines = 0, []
    for step in range(1, 11):
        clock.doing = "step"
        state = loop.step(state)
        if step % 4 == 0:
            clock.doing = "close_window"
            loop.close_window(step)
        clock.doing = "completed_windows"
        lines += [(step, line.means) for line in loop.completed_windows()]
    assert lines == [(6, {"loss": 10 / 8}), (10, {"loss": 26 / 8})]


class Net(nn.Module):
    @nn.compact
    def __call__(self, rgb, train=False):
        return Output(nn.Dense(2)(rgb.mean(axis=(1, 2, 3)))[:, None])


def batch_of(number):
    rng = np.random.default_rng(number)
    pixels = rng.integers(0, 256, (4, 1, 2, 2, 3), dtype=np.uint8)
    index = np.arange(4 * number, 4 * number + 4, dtype=np.int32)
    return Batch({"rgb": pixels}, rng.integers(0, 2, 4).astype(np.int32), index, np.ones(4, bool))


@pytest.mark.parametrize("name, devices", [("jit", 1), ("sharded", 2)])
def test_steps_move_nothing_but_the_batches_that_the_strategy_places(name, devices):
    """With JAX's guard of host-to-device transfers; the other direction is not guarded on CPUs (see `Guarded`)."""
    strategy = parallel.choose(name, jax.devices()[:devices])
    optimizer = optimizers.create("momentum", 0.1)
    spec = {"rgb": jax.ShapeDtypeStruct((1, 1, 2, 2, 3), jnp.float32)}
    state = strategy.put_state(make_init(Net(), optimizer, spec, seed=0)())
    step = strategy.compile_train(make_train_step(Net(), optimizer, cross_entropy, Preprocessing(), seed=0))
    loop = TrainLoop(strategy, step, map(batch_of, itertools.count()), batch_size=4)
    state = loop.step(state)  # compiled: what is constant in it is placed once
    lines = []
    with jax.transfer_guard_host_to_device("disallow"), jax.transfer_guard_device_to_host("disallow"):
        for number in range(2, 9):
            state = loop.step(state)
            if number % 4 == 0:
                loop.close_window(number)
            lines += loop.completed_windows(wait=number == 8)
    assert [line.step for line in lines] == [4, 8]
    assert all(line.means.keys() == STEP_METRICS.keys() for line in lines)


def test_speed_and_times():
    _, loop = make_loop(2)
    for _ in range(3):
        loop.step(0)
    loop.reset_timer()  # a validation
    for _ in range(2):
        loop.step(0)
    loop.close_window(5)
    (line,) = loop.completed_windows(wait=True)
    assert line.speed["clips_per_second"] > 0 and 0 <= line.speed["data_wait"] <= 1
    assert line.means == {"loss": 15 / 10}
    assert loop.seconds.keys() == set(PHASES) and min(loop.seconds.values()) >= 0


@pytest.mark.parametrize(
    "schedule, logged, saved, validated",
    [
        (LoopSchedule(10, 4, 0, 100, True, False), [4, 8, 10], [10], [10]),
        (LoopSchedule(10, 4, 3, 5, True, False), [4, 5, 8, 10], [5, 10], [3, 6, 9, 10]),
        (LoopSchedule(10, 4, 3, 5, True, True), [3, 4, 5, 6, 8, 9, 10], [5, 10], [3, 6, 9, 10]),
        (LoopSchedule(6, 50, 2, 100, False, True), [6], [6], []),
    ],
)
def test_schedule(schedule, logged, saved, validated):
    steps = range(1, schedule.total_steps + 1)
    assert [step for step in steps if schedule.should_log(step)] == logged
    assert [step for step in steps if schedule.should_save(step)] == saved
    assert [step for step in steps if schedule.should_validate(step)] == validated
    # Each logged step is named once before it comes: at the start or at the last sync before it.
    syncs = [0, *(step for step in steps if schedule.should_sync(step))]
    assert [step for sync in syncs for step in schedule.log_steps_before_sync(sync)] == logged

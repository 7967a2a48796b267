import itertools

import numpy as np
import pytest

from vidjax.training.loop import PARTS, Calendar, Loop


class Clock:
    """What the device has done: it is as far as the host has made it wait."""

    def __init__(self):
        self.started = 0
        self.waits = []  # (step that was waited for, steps started by then)


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
    def __init__(self, steps_ahead):
        self.steps_ahead = steps_ahead

    def put_batch(self, batch):
        return batch


def make_loop(steps_ahead):
    clock = Clock()

    def train_step(state, batch):
        clock.started += 1
        pair = (Number(clock, clock.started, float(batch)), Number(clock, clock.started, 2.0))
        return state + 1, {"loss": pair}

    return clock, Loop(OneDevice(steps_ahead), train_step, itertools.count(1), batch_size=4)


def test_a_line_comes_when_its_steps_are_done_and_nothing_waits_for_a_new_step():
    clock, loop = make_loop(2)
    state, lines = 0, []
    for step in range(1, 11):
        state = loop.step(state)
        if step % 4 == 0:
            loop.close_window(step)
        lines += [(step, line) for line in loop.lines()]
    assert state == 10
    assert [(at, line.step, line.means) for at, line in lines] == [
        (6, 4, {"loss": (1 + 2 + 3 + 4) / 8}),
        (10, 8, {"loss": (5 + 6 + 7 + 8) / 8}),
    ]
    assert all(started - step >= 2 for step, started in clock.waits)
    loop.close_window(10)
    assert loop.lines() == []
    (line,) = loop.lines(wait=True)
    assert (line.step, line.means) == (10, {"loss": (9 + 10) / 4})


def test_steps_do_not_overlap_where_they_must_not():
    clock, loop = make_loop(0)
    for step in range(1, 4):
        loop.step(0)
        assert clock.waits[-1] == (step, step)
        loop.close_window(step)
        assert [line.step for line in loop.lines()] == [step]


def test_speed_and_times():
    _, loop = make_loop(2)
    for _ in range(3):
        loop.step(0)
    loop.restart_clock()  # a validation
    for _ in range(2):
        loop.step(0)
    loop.close_window(5)
    (line,) = loop.lines(wait=True)
    assert line.speed["clips_per_second"] > 0 and 0 <= line.speed["data_wait"] <= 1
    assert line.means == {"loss": 15 / 10}
    assert loop.seconds.keys() == set(PARTS) and min(loop.seconds.values()) >= 0


@pytest.mark.parametrize(
    "calendar, logged, saved, validated",
    [
        (Calendar(10, 4, 0, 100, True, False), [4, 8, 10], [10], [10]),
        (Calendar(10, 4, 3, 5, True, False), [4, 5, 8, 10], [5, 10], [3, 6, 9, 10]),
        (Calendar(10, 4, 3, 5, True, True), [3, 4, 5, 6, 8, 9, 10], [5, 10], [3, 6, 9, 10]),
        (Calendar(6, 50, 2, 100, False, True), [6], [6], []),
    ],
)
def test_calendar(calendar, logged, saved, validated):
    steps = range(1, calendar.total_steps + 1)
    assert [step for step in steps if calendar.logs(step)] == logged
    assert [step for step in steps if calendar.saves(step)] == saved
    assert [step for step in steps if calendar.validates(step)] == validated
    # Each logged step is named once before it comes: at the start or at the last pause before it.
    pauses = [0, *(step for step in steps if calendar.pauses(step))]
    assert [step for pause in pauses for step in calendar.logged_before_pause(pause)] == logged

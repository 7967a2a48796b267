import math

import jax
import numpy as np
import pytest

from tests.refusals import refused
from vidjax.errors import ConfigError
from vidjax.training import schedules


def check(rate, want):
    np.testing.assert_allclose([rate(s) for s in want], list(want.values()), rtol=1e-5, atol=1e-7)
    jitted = jax.jit(rate)
    np.testing.assert_allclose([jitted(s) for s in want], list(want.values()), rtol=1e-5, atol=1e-7)


def half(x):
    """Half a cosine from 1 at x = 0 to 0 at x = 1."""
    return (1 + math.cos(math.pi * x)) / 2


def test_constant_with_warmup_at_every_boundary():
    rate = schedules.create("constant", 0.4, 100, warmup_steps=10)
    check(rate, {0: 0, 5: 0.2, 9: 0.36, 10: 0.4, 11: 0.4, 99: 0.4, 100: 0.4})
    check(schedules.create("constant", 0.4, 100, warmup_steps=4, warmup_from=0.2), {0: 0.2, 2: 0.3, 4: 0.4})


def test_cosine_with_warmup_at_every_boundary():
    rate = schedules.create("cosine", 0.4, 110, warmup_steps=10, warmup_from=0.1, final_fraction=0.25)
    check(rate, {0: 0.1, 5: 0.25, 10: 0.4, 35: 0.4 * (0.25 + 0.75 * half(0.25)), 60: 0.25, 110: 0.1, 200: 0.1})


def test_cosine_without_warmup_starts_at_the_peak_and_ends_at_zero():
    check(schedules.create("cosine", 0.4, 100), {0: 0.4, 50: 0.2, 100: 0.0})


def test_half_cosine_warms_up_to_the_cosine_of_the_whole_run():
    rate = schedules.create("half_cosine", 0.4, 100, warmup_steps=20, warmup_from=0.1)
    at_20 = 0.4 * half(0.2)
    check(rate, {0: 0.1, 10: (0.1 + at_20) / 2, 20: at_20, 21: 0.4 * half(0.21), 50: 0.2, 100: 0.0, 120: 0.0})
    check(schedules.create("half_cosine", 0.4, 100, final_fraction=0.5), {0: 0.4, 50: 0.3, 100: 0.2})


def test_step_at_every_boundary():
    rate = schedules.create("step", 0.4, 80, boundaries=(0.625, 0.875))
    check(rate, {0: 0.4, 49: 0.4, 50: 0.04, 69: 0.04, 70: 0.004, 80: 0.004})
    rate = schedules.create("step", 0.4, 30, decay_every_steps=10, decay_rate=0.5, warmup_steps=5, warmup_from=0.2)
    check(rate, {0: 0.2, 5: 0.4, 9: 0.4, 10: 0.2, 19: 0.2, 20: 0.1, 29: 0.1, 30: 0.1})
    rate = schedules.create("step", 0.4, 30, decay_every_steps=10, decay_rate=0.5, warmup_steps=4)
    check(rate, {0: 0.0, 1: 0.1, 4: 0.4, 9: 0.4, 10: 0.2})


def test_step_boundaries_that_fall_together_both_count():
    check(schedules.create("step", 0.4, 2, boundaries=(0.4, 0.6)), {0: 0.4, 1: 0.004})


def test_exponential_at_every_boundary():
    rate = schedules.create("exponential", 0.4, 30, decay_every_steps=10, decay_rate=0.5, warmup_steps=4)
    check(rate, {0: 0.0, 2: 0.2, 4: 0.4, 9: 0.4 * 0.5**0.5, 14: 0.2, 24: 0.1})
    check(schedules.create("exponential", 0.4, 30, warmup_steps=10), {10: 0.4, 20: 0.4 * 0.1**0.5, 30: 0.04})


def test_polynomial_at_every_boundary():
    rate = schedules.create("polynomial", 0.4, 30, power=2.0, final_fraction=0.5, warmup_steps=10)
    check(rate, {0: 0.0, 5: 0.2, 10: 0.4, 20: 0.2 + 0.2 * 0.25, 30: 0.2, 40: 0.2})
    check(schedules.create("polynomial", 0.4, 20), {0: 0.4, 5: 0.3, 20: 0.0})


def test_one_cycle_at_every_boundary():
    check(
        schedules.create("one_cycle", 0.5, 100),
        {0: 0.02, 15: 0.26, 30: 0.5, 65: (0.5 + 2e-6) / 2, 100: 2e-6, 120: 2e-6},
    )
    rate = schedules.create("one_cycle", 0.5, 100, pct_start=0.5, div_factor=5.0, final_div_factor=2.0)
    check(rate, {0: 0.1, 25: 0.3, 50: 0.5, 75: 0.275, 100: 0.05})


def factors(losses, **options):
    """The factor after each validation."""
    schedule = schedules.create("plateau", 0.4, 100, warmup_steps=10, **options)
    check(schedule, {0: 0.0, 5: 0.2, 10: 0.4, 100: 0.4})
    state, found = schedule.controller.init({"kernel": np.zeros(1, np.float32)}), []
    for loss in losses:
        _, state = schedule.controller.update({}, state, value=loss)
        found.append(float(state.scale))
    return found


@pytest.mark.parametrize(
    "losses, options, want",
    [
        ([3, 2, 2, 2, 2, 2, 2], {"patience": 2, "factor": 0.5}, [1, 1, 1, 0.5, 0.5, 0.25, 0.25]),
        ([3, 3, 2, 2, 1, 1], {"patience": 2}, [1, 1, 1, 1, 1, 1]),
        ([3, 3, 3, 3, 3, 3], {"patience": 1, "factor": 0.5, "cooldown": 2}, [1, 0.5, 0.5, 0.5, 0.25, 0.25]),
        ([3, 3, 3, 3], {"patience": 1, "factor": 0.5, "final_fraction": 0.3}, [1, 0.5, 0.3, 0.3]),
        ([3, 2.9, 2.8], {"patience": 1, "factor": 0.5, "threshold": 0.05}, [1, 0.5, 0.5]),
    ],
)
def test_plateau_lowers_the_rate_when_validation_no_longer_improves(losses, options, want):
    np.testing.assert_allclose(factors(losses, **options), want, rtol=1e-6)


def test_every_schedule_begins_where_it_says_and_stays_finite():
    for name in schedules.SCHEDULES:
        options = {"boundaries": (0.5,)} if name == "step" else {}
        rate = schedules.create(name, 0.4, 1, **options)
        assert all(0 <= float(rate(s)) <= 0.4 + 1e-6 for s in range(4)), name


@pytest.mark.parametrize(
    "name, rate, options, tokens",
    [
        ("cosin", 0.1, {}, ("'cosin'", "'cosine'")),
        ("constant", 0.1, {"final_fraction": 0.1}, ("'constant'", "'final_fraction'")),
        ("one_cycle", 0.1, {"warmup_steps": 10}, ("'one_cycle'", "'warmup_steps'")),
        ("cosine", float("nan"), {}, ("nan", "0")),
        ("cosine", 0.1, {"warmup_steps": 101}, ("warmup_*", "101", "100")),
        ("step", 0.1, {}, ("'step'", "boundaries", "decay_every_steps")),
        ("step", 0.1, {"boundaries": (0.5,), "decay_every_steps": 2}, ("'step'", "boundaries", "decay_every_steps")),
        ("step", 0.1, {"boundaries": (0.5, 50)}, ("boundaries=(0.5, 50)", "0", "1")),
        ("step", 0.1, {"boundaries": (0.1,), "warmup_steps": 20}, ("warmup_*", "20", "10")),
        ("step", 0.1, {"decay_every_steps": 0}, ("decay_every_*", "0", "1")),
    ],
)
def test_errors(name, rate, options, tokens):
    with refused(ConfigError, *tokens):
        schedules.create(name, rate, 100, **options)

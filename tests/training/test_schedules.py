import math

import numpy as np
import pytest

from vidjax.errors import ConfigError
from vidjax.training import schedules


def test_constant_with_warmup_at_every_boundary():
    rate = schedules.create("constant", 0.4, 100, warmup_steps=10)
    np.testing.assert_allclose(
        [rate(s) for s in (0, 5, 9, 10, 11, 99, 100)], [0, 0.2, 0.36, 0.4, 0.4, 0.4, 0.4], rtol=1e-6
    )


def test_cosine_with_warmup_at_every_boundary():
    rate = schedules.create("cosine", 0.4, 110, warmup_steps=10, warmup_from=0.1, final_fraction=0.25)
    want = {0: 0.1, 5: 0.25, 10: 0.4, 60: 0.25, 110: 0.1, 200: 0.1}
    want[35] = 0.4 * (0.25 + 0.75 * (1 + math.cos(math.pi / 4)) / 2)
    np.testing.assert_allclose([rate(s) for s in want], list(want.values()), rtol=1e-5)


def test_cosine_without_warmup_starts_at_the_peak_and_ends_at_zero():
    rate = schedules.create("cosine", 0.4, 100)
    np.testing.assert_allclose([rate(0), rate(50), rate(100)], [0.4, 0.2, 0.0], atol=1e-7)


@pytest.mark.parametrize(
    "name, rate, options, message",
    [
        ("cosin", 0.1, {}, "did you mean 'cosine'"),
        ("constant", 0.1, {"final_fraction": 0.1}, "takes no option 'final_fraction'"),
        ("cosine", float("nan"), {}, "learning_rate is nan"),
        ("cosine", 0.1, {"warmup_steps": 101}, "longer than the run"),
    ],
)
def test_errors(name, rate, options, message):
    with pytest.raises(ConfigError, match=message):
        schedules.create(name, rate, 100, **options)

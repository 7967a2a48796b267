"""Filling a network from given variables: everything used, everything filled, or named."""

import jax
import numpy as np
import pytest

from tests.refusals import refused
from vidjax.errors import OptionError
from vidjax.pretrained.filling import fill

RNG = np.random.default_rng(0)
GIVEN = {
    "params/stem/kernel": RNG.normal(size=(3, 3, 3, 4)).astype(np.float32),
    "params/stem/bias": RNG.normal(size=4).astype(np.float64),
    "params/classes/kernel": RNG.normal(size=(4, 5)).astype(np.float32),
}


def target(**changes):
    shapes = {path: value.shape for path, value in GIVEN.items()} | changes
    return {path: jax.ShapeDtypeStruct(shape, np.float32) for path, shape in shapes.items() if shape is not None}


def test_everything_is_taken():
    filled = fill(target(), GIVEN)
    assert not filled.inflated and not filled.initial and not filled.unused
    for path, value in filled.values.items():
        np.testing.assert_array_equal(value, GIVEN[path].astype(np.float32))
        assert value.dtype == np.float32


@pytest.mark.parametrize("inflation", ["repeat", "center"])
def test_inflation_keeps_the_response_to_a_still_clip(inflation):
    filled = fill(target(**{"params/stem/kernel": (5, 3, 3, 3, 4)}), GIVEN, inflation=inflation)
    kernel = filled.values["params/stem/kernel"]
    assert filled.inflated == ("params/stem/kernel",) and kernel.shape == (5, 3, 3, 3, 4)
    np.testing.assert_allclose(kernel.sum(axis=0), GIVEN["params/stem/kernel"], rtol=1e-6)
    times = np.abs(kernel).sum(axis=(1, 2, 3, 4))
    if inflation == "repeat":
        np.testing.assert_allclose(times, times[0])
    else:
        assert times[2] > 0 and not times[[0, 1, 3, 4]].any()


def test_what_is_not_taken_is_named():
    with refused(OptionError, "'params/stem/scale'", "skip"):
        fill(target(**{"params/stem/scale": (4,)}), GIVEN)
    with refused(OptionError, "'params/classes/kernel'", "skip"):
        fill(target(**{"params/classes/kernel": None}), GIVEN)
    with refused(OptionError, "'params/classes/kernel'", "(4, 5)", "(4, 8)"):
        fill(target(**{"params/classes/kernel": (4, 8)}), GIVEN)


def test_what_is_skipped_keeps_its_initial_values():
    wider = target(**{"params/classes/kernel": (4, 8), "params/stem/scale": (4,)})
    filled = fill(wider, GIVEN, skip={"params/classes/kernel", "params/stem/scale"})
    assert set(filled.values) == {"params/stem/kernel", "params/stem/bias"}
    assert set(filled.initial) == {"params/classes/kernel", "params/stem/scale"}
    assert filled.unused == ("params/classes/kernel",)
    with refused(OptionError, "skip"):
        fill(target(), GIVEN, skip=GIVEN)

import jax.numpy as jnp
import pytest

from tests.refusals import refused
from vidjax.errors import ConfigError
from vidjax.training import parameter_groups
from vidjax.training.parameter_groups import Frozen

PARAMS = {
    "features": {"conv1": {"kernel": jnp.ones(1), "bias": jnp.ones(1)}, "norm1": {"batch": {"scale": jnp.ones(1)}}},
    "classifier": {"fc6": {"kernel": jnp.ones(1)}},
}


@pytest.mark.parametrize(
    "pattern, path, fits",
    [
        ("features", "features/conv1/kernel", True),
        ("features/conv1", "features/conv1/kernel", True),
        ("features/conv", "features/conv1/kernel", False),
        ("conv1", "features/conv1/kernel", False),
        (".*/conv1", "features/conv1/kernel", True),
        (".*/bias", "features/conv1/bias", True),
        (".*/bias", "features/conv1/kernel", False),
        ("features/conv[1-3]/kernel", "features/conv2/kernel", True),
    ],
)
def test_a_pattern_stands_for_a_whole_path_and_what_lies_below(pattern, path, fits):
    assert parameter_groups.matches(pattern, path) == fits


def test_reading():
    assert parameter_groups.read_patterns(None, "key") == ()
    assert parameter_groups.read_patterns("a, b/.*", "key") == ("a", "b/.*")
    assert parameter_groups.read_multipliers("a/.*=0.1,b=10", "key") == {"a/.*": 0.1, "b": 10.0}


@pytest.mark.parametrize(
    "read, text, tokens",
    [
        (parameter_groups.read_patterns, "a,", ("key='a,'",)),
        (parameter_groups.read_patterns, "conv[1,2]", ("'conv[1'", "4")),
        (parameter_groups.read_multipliers, "a", ("'a'", "PATTERN=FACTOR")),
        (parameter_groups.read_multipliers, "a=0", ("'a=0'", "PATTERN=FACTOR", "0")),
        (parameter_groups.read_multipliers, "a=nan", ("'a=nan'", "PATTERN=FACTOR", "0")),
        (parameter_groups.read_multipliers, "a=2,b=1,a=3", ("'a'",)),
    ],
)
def test_texts_that_say_nothing_useful(read, text, tokens):
    with refused(ConfigError, "key", *tokens):
        read(text, "key")


def test_patterns_that_stand_for_nothing():
    parameter_groups.check(("features/conv1", "classifier"), PARAMS, "key")
    with refused(ConfigError, "key", "'conv1'", "'features/conv1'"):
        parameter_groups.check(("conv1",), PARAMS, "key")
    with refused(ConfigError, "'clasifier'", "'classifier'", "classifier/fc6/kernel"):
        parameter_groups.check(("clasifier",), PARAMS, "key")
    parameter_groups.check((".*", "classifier"), PARAMS, "key")
    with refused(ConfigError, "key", "'classifier'"):
        parameter_groups.check(("features", ".*", "classifier"), PARAMS, "key", first_only=True)


def test_statistics_freeze_with_their_module():
    old = {"features": {"norm1": {"batch": {"mean": 0.0}}}, "other": {"mean": 0.0}}
    new = {"features": {"norm1": {"batch": {"mean": 1.0}}}, "other": {"mean": 1.0}}
    for patterns, expected in (((), 1.0), (("classifier",), 1.0), (("features/norm1",), 0.0), (("features/.*",), 0.0)):
        kept = parameter_groups.restore_frozen(Frozen(patterns), PARAMS, old, new)
        assert kept["features"]["norm1"]["batch"]["mean"] == expected and kept["other"]["mean"] == 1.0
    assert Frozen((".*",)).selects_all(PARAMS) and not Frozen(("features",)).selects_all(PARAMS)


def test_all_but_what_is_trained_is_frozen():
    frozen = Frozen(train_only=("classifier", "features/norm1"))
    assert frozen and not Frozen() and not frozen.selects_all(PARAMS)
    assert frozen.selects("features/conv1/kernel") and frozen.selects("features/conv1")
    assert not frozen.selects("features/norm1/batch/mean") and not frozen.selects("classifier/fc6/kernel")
    both = Frozen(("classifier/fc6",), ("classifier",))
    assert both.selects("classifier/fc6/kernel") and not both.selects("classifier/fc7/kernel")

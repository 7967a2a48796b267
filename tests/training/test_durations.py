import pytest

from tests.refusals import refused
from vidjax.errors import ConfigError
from vidjax.training.durations import to_steps


@pytest.mark.parametrize(
    "section, want",
    [
        ({"warmup_steps": 7}, 7),
        ({"warmup_epochs": 2.5}, 25),
        ({"warmup_fraction": 0.1}, 20),
    ],
)
def test_units(section, want):
    assert to_steps(section, "warmup", steps_per_epoch=10.0, total_steps=200) == want


def test_epochs_need_not_be_whole_steps():
    assert to_steps({"epochs": 3.0, "steps": None}, "", steps_per_epoch=103 / 32) == round(3 * 103 / 32)


@pytest.mark.parametrize(
    "section, tokens",
    [
        ({"steps": 1, "epochs": 1.0}, ("steps", "epochs")),
        ({"steps": None, "epochs": None}, ("steps, epochs",)),
        ({"steps": -1}, ("steps=-1",)),
    ],
)
def test_errors(section, tokens):
    with refused(ConfigError, *tokens):
        to_steps(section, "", steps_per_epoch=10.0)

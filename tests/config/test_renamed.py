import json
import logging

import pytest

from tests.experiment.lab import CONFIG
from tests.refusals import refused
from vidjax.config import identity, renamed
from vidjax.config.flat import to_json
from vidjax.config.loading import load
from vidjax.config.stored import load_stored, read_stored
from vidjax.errors import ConfigError
from vidjax.experiment import plan

EARLY = "configs/early_fusion.py"
# Earlier name -> an earlier value, the name and the value of today.
NAMES = {
    "train.stop_after": (3, "train.early_stopping_patience", 3),
    "train.ema": (0.5, "train.ema_decay", 0.5),
    "train.accumulate": (2, "train.grad_accum_steps", 2),
    "data.crop_position": ("centre", "data.crop_position", "center"),
    "evaluate.crops": ("centre", "evaluate.crops", "center"),
}


@pytest.fixture
def warnings(monkeypatch, caplog):
    """What is logged; nothing was told before."""
    monkeypatch.setattr(renamed, "_announced", set())
    monkeypatch.setattr(logging.getLogger("vidjax"), "propagate", True)
    return lambda: [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize("before", NAMES)
def test_an_earlier_name_means_the_same_run_and_is_told_once(tmp_path, before, warnings):
    value, now, current = NAMES[before]
    expected = load(EARLY, {now: current})
    key = f"{before}={value}" if before == now else before
    typed = load(EARLY, {before: value})
    assert warnings() == [f"{key} is called {now}={current} now" if before == now else f"{key} is called {now} now"]
    (tmp_path / "mine.py").write_text(CONFIG.replace("    return", f"    config.{before} = {value!r}\n    return"))
    (tmp_path / "today.py").write_text(CONFIG.replace("    return", f"    config.{now} = {current!r}\n    return"))
    section, _, name = now.partition(".")
    for config in (typed, load(str(tmp_path / "mine.py"))):
        assert config[section][name] == current and type(config[section][name]) is type(current)
    assert identity.config_hash(typed) == identity.config_hash(expected)
    today = identity.config_hash(load(str(tmp_path / "today.py")))
    assert identity.config_hash(load(str(tmp_path / "mine.py"))) == today
    assert len(warnings()) == 1


@pytest.mark.parametrize("before", NAMES)
def test_stored_runs_of_earlier_names_go_on_without_a_warning(tmp_path, before, warnings):
    value, now, current = NAMES[before]
    config = load(EARLY, {now: current})
    stored = json.loads(to_json(config))
    del stored[now.partition(".")[0]][now.partition(".")[2]]
    stored[before.partition(".")[0]][before.partition(".")[2]] = value
    (tmp_path / "config.json").write_text(json.dumps(stored))
    assert identity.differences(read_stored(tmp_path), config.to_dict()) == []
    assert identity.config_hash(load_stored(stored)) == identity.config_hash(config)
    assert warnings() == []


def test_hashes_are_those_of_the_first_names():
    """As they were computed before anything was renamed."""
    overrides = {"train.early_stopping_patience": 3, "train.ema_decay": 0.5, "train.grad_accum_steps": 2}
    assert identity.config_hash(load(EARLY, overrides)) == "6d34d3733e14"


def test_the_overrides_of_an_experiment_may_have_earlier_names(warnings):
    experiment = plan.Experiment("x", "x", {"a": {"b": plan.Setting(EARLY, {"train.ema": 0.9})}})
    (run,) = plan.runs_of(experiment)
    assert load(run.config, run.overrides).train.ema_decay == 0.9
    assert warnings() == ["train.ema is called train.ema_decay now"]


def test_both_names_at_once_are_refused():
    with refused(ConfigError, "train.ema", "train.ema_decay"):
        load(EARLY, {"train.ema": 0.9, "train.ema_decay": 0.99})

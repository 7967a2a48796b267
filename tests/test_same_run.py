"""Which changes of a config make another run of it."""

import json
import sys

import pytest
from ml_collections import ConfigDict

from vidjax import configuration, same_run
from vidjax.configuration import load
from vidjax.errors import ConfigError

EARLY = "configs/early_fusion.py"


def test_hash_and_differences_follow_the_content():
    first, same, other = load(EARLY), load(EARLY), load(EARLY, {"seed": 1})
    assert same_run.hash_of(first) == same_run.hash_of(same) != same_run.hash_of(other)
    old, new = (json.loads(configuration.to_json(config)) for config in (first, other))
    assert same_run.differences(old, new) == ["seed: 0 -> 1"]


def test_where_the_data_lie_is_judged_by_the_data():
    def changes(new):
        old = {"data": {"name": "ucf101", "root": "a", "splits": "s", "split": 2, "mirror": None, "stride": 1}}
        return same_run.differences_but_places(old, {"data": {**old["data"], **new}})

    assert changes({"root": "b", "splits": "t"}) == []
    assert changes({"root": "b", "split": 1}) == ["data.split: 2 -> 1"]
    assert changes({"name": "hmdb51"}) == ['data.name: "ucf101" -> "hmdb51"']
    assert changes({"name": "packed", "root": "p", "splits": None, "split": None}) == []
    assert changes({"name": "packed", "mirror": "forbidden"}) == ['data.mirror: null -> "forbidden"']
    assert changes({"name": "packed", "stride": 2}) == ["data.stride: 1 -> 2"]


def test_a_renamed_key_keeps_its_hash_and_old_runs_keep_their_meaning(tmp_path, monkeypatch):
    now, before = load(EARLY, {"train.batch_size": 8}), json.loads(configuration.to_json(load(EARLY)))
    old = {**before, "train": {key: value for key, value in before["train"].items() if key != "batch_size"}}
    old["train"]["batch"] = 8
    flat = {key: value for key, value in configuration.flatten(old).items() if value is not None}
    renamed_hash = same_run.hash_of(ConfigDict(old))
    assert renamed_hash != same_run.hash_of(now) and flat["train.batch"] == 8
    monkeypatch.setitem(configuration.RENAMED, "train.batch_size", "train.batch")
    assert same_run.hash_of(now) == renamed_hash
    assert configuration.load_stored(old).train.batch_size == 8
    (tmp_path / "config.json").write_text(json.dumps(old))
    assert same_run.differences(configuration.read_stored(tmp_path), now.to_dict()) == []
    assert configuration.read_stored(tmp_path / "nowhere") is None


@pytest.mark.parametrize(
    "stored, message",
    [
        ({"train": {"batch": 8}}, "stored config has train.batch=8, and there is no such key"),
        ({"speed": 8}, "stored config has speed=8, and there is no such key"),
        ({"train": {"batch_size": "many"}}, "stored config has train.batch_size='many': 'many' is no int"),
        ({"model": {"attention": "full"}}, "model 'early_fusion' takes no option 'attention'"),
        ({"optimizer": {"name": "adamw", "momentum": 0.9}}, "optimizer 'adamw' takes no option 'momentum'"),
    ],
)
def test_a_stored_key_that_there_is_not_is_refused_by_name(stored, message):
    with pytest.raises(ConfigError, match=message):
        configuration.load_stored(stored)
    nothing = {section: dict.fromkeys(keys) if isinstance(keys, dict) else None for section, keys in stored.items()}
    configuration.load_stored(nothing)  # a key that was not given then is of no account


@pytest.mark.parametrize("section", ["model", "data"])
def test_a_stored_factory_is_not_imported_unless_it_is_typed_again(tmp_path, monkeypatch, section):
    (tmp_path / f"evil_{section}.py").write_text("raise SystemExit('imported')")
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    monkeypatch.setattr(
        sys, "argv", ["launch.py", "--workdir=a b", "--mode=eval", f"--config.{section}.factory", "x:y"]
    )
    stored, key = {section: {"factory": f"evil_{section}:build"}}, f"{section}.factory"
    for typed in ({}, {key: "x:y"}, {"seed": 3}):
        with pytest.raises(ConfigError) as caught:
            configuration.load_stored(stored, typed)
        assert str(caught.value) == (
            f"the run has {key}=evil_{section}:build, which is code that would be run: type it again if you trust it:"
            f" python launch.py '--workdir=a b' --mode=eval --config.{key}=evil_{section}:build"
        )
    with pytest.raises(SystemExit, match="imported"):
        configuration.load_stored(stored, {key: f"evil_{section}:build"})

"""Which changes of a config make another run of it."""

import json
import sys

import pytest
from ml_collections import ConfigDict

from tests.refusals import refused
from vidjax.config import identity
from vidjax.config.flat import flatten, to_json
from vidjax.config.loading import load
from vidjax.config.renamed import RENAMED
from vidjax.config.stored import load_stored, read_stored
from vidjax.errors import ConfigError, UnknownKeyError

EARLY = "configs/early_fusion.py"


def test_hash_and_differences_follow_the_content():
    first, same, other = load(EARLY), load(EARLY), load(EARLY, {"seed": 1})
    assert identity.config_hash(first) == identity.config_hash(same) != identity.config_hash(other)
    old, new = (json.loads(to_json(config)) for config in (first, other))
    assert identity.differences(old, new) == ["seed: 0 -> 1"]


def test_where_the_data_lie_is_judged_by_the_data():
    def changes(new):
        old = {"data": {"name": "ucf101", "root": "a", "splits": "s", "split": 2, "mirror": None, "stride": 1}}
        return identity.differences_except_paths(old, {"data": {**old["data"], **new}})

    assert changes({"root": "b", "splits": "t"}) == []
    assert changes({"root": "b", "split": 1}) == ["data.split: 2 -> 1"]
    assert changes({"name": "hmdb51"}) == ['data.name: "ucf101" -> "hmdb51"']
    assert changes({"name": "packed", "root": "p", "splits": None, "split": None}) == []
    assert changes({"name": "packed", "mirror": "forbidden"}) == ['data.mirror: null -> "forbidden"']
    assert changes({"name": "packed", "stride": 2}) == ["data.stride: 1 -> 2"]


def test_a_renamed_key_keeps_its_hash_and_old_runs_keep_their_meaning(tmp_path, monkeypatch):
    now, before = load(EARLY, {"train.batch_size": 8}), json.loads(to_json(load(EARLY)))
    old = {**before, "train": {key: value for key, value in before["train"].items() if key != "batch_size"}}
    old["train"]["batch"] = 8
    flat = {key: value for key, value in flatten(old).items() if value is not None}
    renamed_hash = identity.config_hash(ConfigDict(old))
    assert renamed_hash != identity.config_hash(now) and flat["train.batch"] == 8
    monkeypatch.setitem(RENAMED, "train.batch_size", "train.batch")
    assert identity.config_hash(now) == renamed_hash
    assert load_stored(old).train.batch_size == 8
    (tmp_path / "config.json").write_text(json.dumps(old))
    assert identity.differences(read_stored(tmp_path), now.to_dict()) == []
    assert read_stored(tmp_path / "nowhere") is None


@pytest.mark.parametrize(
    "stored, error, tokens",
    [
        ({"train": {"batch": 8}}, UnknownKeyError, ("train.batch=8",)),
        ({"speed": 8}, UnknownKeyError, ("speed=8",)),
        ({"train": {"batch_size": "many"}}, ConfigError, ("train.batch_size='many'", "int")),
        ({"model": {"attention": "full"}}, UnknownKeyError, ("'early_fusion'", "'attention'")),
        ({"optimizer": {"name": "adamw", "momentum": 0.9}}, UnknownKeyError, ("'adamw'", "'momentum'")),
    ],
)
def test_a_stored_key_that_there_is_not_is_refused_by_name(stored, error, tokens):
    with refused(error, *tokens):
        load_stored(stored)
    nothing = {section: dict.fromkeys(keys) if isinstance(keys, dict) else None for section, keys in stored.items()}
    load_stored(nothing)  # a key that was not given then is of no account


@pytest.mark.parametrize("section", ["model", "data"])
def test_a_stored_factory_is_not_imported_unless_it_is_typed_again(tmp_path, monkeypatch, section):
    (tmp_path / f"evil_{section}.py").write_text("raise SystemExit('imported')")
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    monkeypatch.setattr(
        sys, "argv", ["launch.py", "--workdir=a b", "--mode=eval", f"--config.{section}.factory", "x:y"]
    )
    stored, key = {section: {"factory": f"evil_{section}:build"}}, f"{section}.factory"
    for typed in ({}, {key: "x:y"}, {"seed": 3}):
        with refused(
            ConfigError,
            f"{key}=evil_{section}:build",
            f"python launch.py '--workdir=a b' --mode=eval --config.{key}=evil_{section}:build",
        ):
            load_stored(stored, typed)
    with pytest.raises(SystemExit, match="imported"):
        load_stored(stored, {key: f"evil_{section}:build"})

"""Run identity: the hash of a config, and how two configs differ."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from vidjax.config import sections
from vidjax.config.flat import flatten
from vidjax.config.renamed import to_first_names

# Keys that change the speed of a run, or what is shown of it, but not its results up to rounding: they may differ on
# resume.
_UNHASHED_KEYS = {
    "checkpoint.every",
    "checkpoint.keep",
    "data.cache",
    "data.cache_gigabytes",
    "data.max_bad_fraction",
    "data.threads",
    "data.workers",
    "evaluate.batch_size",
    "evaluate.explanations",
    "evaluate.samples",
    "keep_memory",
    "native_convolutions",
    "train.features_once",
    "train.log_every",
}


def config_hash(config: ConfigDict) -> str:
    """Returns a short hash of the keys that were given, so that keys added later change no hash.

    Keys and values that were renamed count under their first names.
    """
    flat = {key: value for key, value in flatten(config).items() if key not in _UNHASHED_KEYS and value is not None}
    return hashlib.sha256(json.dumps(to_first_names(flat), sort_keys=True).encode()).hexdigest()[:12]


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Returns "key: old -> new" for each key whose value differs between two nested configs.

    Keys that change no number of a run (reading threads, cache) are left out; absent counts as None.
    """
    return list(changes(old, new).values())


def differences_except_paths(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Returns `differences` without those in paths of the data, which `check_data_card` judges."""
    places = path_keys(flatten(old), flatten(new))
    return [change for key, change in changes(old, new).items() if key not in places]


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, str]:
    old, new = flatten(old), flatten(new)
    lines = {}
    for key in sorted((old.keys() | new.keys()) - _UNHASHED_KEYS):
        # As JSON, where tuples are lists and equal floats look the same.
        before, after = (json.dumps(side.get(key)) for side in (old, new))
        if before != after:
            lines[key] = f"{key}: {before} -> {after}"
    return lines


def path_keys(old: Mapping[str, Any], new: Mapping[str, Any]) -> set[str]:
    """Returns the keys that locate the data; if one config has packed data, also those that chose what was packed."""
    keys = {"data.root", "data.splits", "data.annotations"}
    if (old.get("data.name") == "packed") != (new.get("data.name") == "packed"):
        given = {key for key in old.keys() | new.keys() if key.startswith("data.")}
        places = ("name", "factory")
        keys |= given - {f"data.{key}" for key in sections.KEYS["data"] if key not in places} - {"data.mirror"}
    return keys

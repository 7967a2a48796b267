"""Configs as flat dictionaries with dotted keys, nested ones, and JSON."""

import json
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict


def nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the nested config of dotted key -> value."""
    config: dict[str, Any] = {}
    for key, value in flat.items():
        *path, name = key.split(".")
        part = config
        for section in path:
            part = part.setdefault(section, {})
        part[name] = value
    return config


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns dotted key -> value of a nested config."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping | ConfigDict):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = value
    return flat


def to_json(config: ConfigDict) -> str:
    """Returns the resolved config as JSON with sorted keys."""
    return json.dumps(config.to_dict(), indent=2, sort_keys=True) + "\n"

"""Keys and values that were renamed: earlier names are understood for good, and hashes keep the first ones."""

import logging
from collections.abc import Mapping
from typing import Any

from vidjax.errors import ConfigError

# Key -> its first name.
RENAMED = {
    "train.early_stopping_patience": "train.stop_after",
    "train.ema_decay": "train.ema",
    "train.grad_accum_steps": "train.accumulate",
}
# Key -> value -> its first name.
RENAMED_VALUES = {
    "data.crop_position": {"center": "centre"},
    "evaluate.crops": {"center": "centre"},
    "weights.inflate": {"center": "centre"},
}
_announced: set[str] = set()


def to_first_names(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a flat config with the names that its keys and values had first."""
    return {RENAMED.get(key, key): _replace(RENAMED_VALUES.get(key, {}), value) for key, value in flat.items()}


def to_current_names(flat: Mapping[str, Any], *, announce: bool = False) -> dict[str, Any]:
    """Returns a flat config with the names that its keys and values have now.

    Args:
      flat: dotted key -> value; it may have either name.
      announce: log a warning, once per process, for each earlier name.

    Raises:
      ConfigError: if it gives a key under both names.
    """
    current = {first: key for key, first in RENAMED.items()}
    found: dict[str, Any] = {}
    for key, value in flat.items():
        name = current.get(key, key)
        if name != key and flat.get(name) is not None and value is not None:
            raise ConfigError(f"{key} is called {name} now, and both are given: give {name} only")
        if name in found and value is None:
            continue
        found[name] = _replace({first: now for now, first in RENAMED_VALUES.get(name, {}).items()}, value)
        if announce and name != key:
            _announce(key, name)
        if announce and found[name] != value:
            _announce(f"{name}={value}", f"{name}={found[name]}")
    return found


def _replace(names: Mapping[str, str], value: Any) -> Any:
    return names.get(value, value) if isinstance(value, str) else value


def _announce(before: str, now: str) -> None:
    if before not in _announced:
        _announced.add(before)
        logging.getLogger(__name__).warning("%s is called %s now", before, now)

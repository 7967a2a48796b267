"""Stored configs of runs, read with the current names of their keys."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from vidjax.config import declarations, sections
from vidjax.config.flat import flatten, nested
from vidjax.config.loading import apply_overrides
from vidjax.config.overrides import arguments, join_flag_values, program
from vidjax.config.renamed import to_current_names
from vidjax.errors import ConfigError, UnknownKeyError
from vidjax.system import files


def read_stored(workdir: Path) -> dict[str, Any] | None:
    """Reads the config of a run from its `config.json`, with current names of keys; None if there is none.

    Raises:
      ConfigError: if the file holds something else.
    """
    stored = files.read_json(workdir / "config.json")
    if stored is not None and not isinstance(stored, dict):
        raise ConfigError(f"{workdir / 'config.json'} is not the config of a run: {type(stored).__name__} in JSON")
    return None if stored is None else nested(to_current_names(flatten(stored)))


def load_stored(stored: Mapping[str, Any], overrides: Mapping[str, Any] | None = None) -> ConfigDict:
    """Loads the resolved config of a run from the content of its `config.json`.

    Args:
      stored: the content.
      overrides: dotted config key -> value (or its text). A factory in the stored config is code, so
        that it must be typed again.

    Raises:
      ConfigError: for an unknown key, a value that does not fit, or a factory that is not typed again.
    """
    overrides, flat = overrides or {}, to_current_names(flatten(stored))
    _check_factories(flat, overrides)
    config = sections.new_config()
    for key, value in flat.items():
        if value is None:
            continue
        name, _, last = key.rpartition(".")
        part = config[name] if name in sections.KEYS and name else config
        if last in sections.KEYS.get(name, {}):
            try:
                sections.set_field(part, sections.KEYS[name][last], value)
            except ValueError as error:
                raise ConfigError(f"the stored config has {key}={value!r}: {error}") from error
        elif name in declarations.NAMED_SECTIONS:
            part[last] = tuple(value) if isinstance(value, list) else value
        else:
            raise UnknownKeyError(f"the stored config has {key}={value!r}, which is an unknown key", [key])
    for section in declarations.NAMED_SECTIONS:
        declarations.declare(config, section)
    return apply_overrides(config, overrides, is_stored=True)


def _check_factories(stored: Mapping[str, Any], typed: Mapping[str, Any]) -> None:
    """Refuses factories of a stored config, before they are imported, unless they are typed again."""
    factories = [*(f"{section}.factory" for section in declarations.NAMED_SECTIONS), "data.pose_factory"]
    keys = [key for key in factories if stored.get(key)]
    if all(typed.get(key) == stored[key] for key in keys):
        return
    again = [f"--config.{key}={stored[key]}" for key in keys]
    flags_again = {word.partition("=")[0] for word in again}
    words = [word for word in join_flag_values(arguments()) if word.partition("=")[0] not in flags_again]
    raise ConfigError(
        f"the run has {' and '.join(f'{key}={stored[key]}' for key in keys)}, which runs custom code:"
        f" if you trust it, type it again: {shlex.join([*program(), *words, *again])}"
    )

"""Loading configs: files, and the overrides that apply to them; unknown keys are refused.

A config is an `ml_collections.ConfigDict` with the keys of `vidjax.config.sections` and the options of the components
that it chooses. A key that is None was not given: the default of its component applies. An option that the chosen
model, optimizer, schedule, loss or data source does not take is an error.
"""

import importlib.util
import inspect
import os
import traceback
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from vidjax.config import declarations, hints, sections
from vidjax.config.flat import flatten
from vidjax.config.renamed import to_current_names
from vidjax.errors import ConfigError, UnknownKeyError
from vidjax.options import declaring, signatures, suggestions


def load(argument: str, overrides: Mapping[str, Any] | None = None) -> ConfigDict:
    """Loads a config file and applies overrides to it.

    An override takes the place of what a preset sets: another unit of the same duration (train.steps for
    train.epochs), or the name of another model, source, loss, optimizer or schedule, which drops those options of
    the preset that the new one does not take.

    Args:
      argument: "configs/early_fusion.py" or "configs/early_fusion.py:ucf101_small,frames=5".
      overrides: dotted key -> value (or its text), e.g. {"data.split": 2}.

    Raises:
      ConfigError: for a missing file, an unknown key or a value that does not fit.
    """
    return apply_overrides(_load_file(os.path.expanduser(argument)), overrides or {})


# Keys of which a config may set one; of other durations these are all their units (`declarations.duration_keys`).
_ALTERNATIVES = (
    ("train.steps", "train.epochs"),
    ("data.stride", "data.fps"),
    ("data.short_side", "data.size"),
    ("schedule.boundaries", *declarations.duration_keys("schedule.decay_every_steps")),
)


def apply_overrides(config: ConfigDict, overrides: Mapping[str, Any], *, is_stored: bool = False) -> ConfigDict:
    """Applies overrides to the config of a file or of a run.

    The options of a chosen component are declared if one of them is overridden; otherwise when a run begins.
    """
    _rename_keys(config)
    _check_sections(config)
    with config.unlocked():
        typed = to_current_names({key: str(value) for key, value in overrides.items()}, announce=True)
        for section in declarations.NAMED_SECTIONS:
            _declare(config, section, typed, is_stored=is_stored)
        for key, text in sorted(typed.items()):
            _set(config, key, text)
        _drop_superseded(config, typed)
    config.lock()
    return config


def _rename_keys(config: ConfigDict) -> None:
    """Renames keys and values that a config file sets under earlier names."""
    before = flatten(config)
    current = to_current_names(before, announce=True)
    with config.unlocked():
        for key in before.keys() - current.keys():
            section, name = _locate(config, key)
            del section[name]
        for key, value in current.items():
            if before.get(key) != value:
                section, name = _locate(config, key)
                declared = sections.KEYS[key.rpartition(".")[0]][name]
                try:
                    sections.set_field(section, declared, value)
                except ValueError as error:
                    raise ConfigError(f"{key}: {error}") from error


def _check_sections(config: ConfigDict) -> None:
    """Refuses unknown and missing keys of a config file, and casts values.

    Options of the chosen components are checked where they are declared.
    """
    known = [f"{section}.{name}".lstrip(".") for section, keys in sections.KEYS.items() for name in keys]
    values = flatten(config)
    for key in values:
        if key not in known and key.rpartition(".")[0] not in declarations.NAMED_SECTIONS:
            message = f"the config file sets an unknown key {key!r}{hints.hint(key, known)}"
            raise UnknownKeyError(message, [key], hints.suggestion(key, known))
    for key in known:
        if key not in values:
            raise ConfigError(f"the config file lacks {key!r}: start from vidjax.config.presets.get_config()")
        section, _, name = key.rpartition(".")
        declared, value = sections.KEYS[section][name], values[key]
        if value is None and declared.default is not None:
            raise ConfigError(f"{key} may not be None")
        if value is None:
            continue
        try:
            cast = declared.cast(value)
        except ValueError as error:
            raise ConfigError(f"{key}: {error}") from error
        if type(cast) is not type(value) or declared.field_type is object:
            with config.unlocked():
                sections.set_field(config[section] if section else config, declared, value)


def _declare(config: ConfigDict, section: str, typed: Mapping[str, str], *, is_stored: bool) -> None:
    """Applies overrides of a section's name or factory, and declares the options of the chosen component if needed."""
    part = config[section]
    before = part.name, part.get("factory")
    if f"{section}.name" in typed and part.get("factory"):  # which would take precedence over the name
        part.factory = None
    for key in ("name", "factory"):
        if f"{section}.{key}" in typed:
            _set(config, f"{section}.{key}", typed[f"{section}.{key}"])
    is_other, is_custom = before != (part.name, part.get("factory")), bool(part.get("factory"))
    inside = [key.removeprefix(f"{section}.") for key in typed if key.startswith(f"{section}.")]
    given = [name for name in inside if name not in sections.KEYS[section]]
    # A whole number may stand for a float, which counts in the hash. Built-in sources are cheap to inspect.
    is_vague = any(type(value) is int for value in sections.of_choice(section, part).values())
    dropped: Collection[str] = ()
    if is_other:
        dropped = sections.of_choice(section, part).keys()
    elif is_custom and not is_stored:  # a preset may have set what the factory of the file does not take
        dropped = declarations.all_options(section).keys()
    if is_other or is_custom or given or is_vague or section == "data":
        declarations.declare(config, section, dropped=dropped, typed=typed)


def _set(config: ConfigDict, key: str, text: str) -> None:
    """Sets a key from its text on the command line."""
    section, _, name = key.rpartition(".")
    declared = sections.KEYS.get(section, {}).get(name)
    if declared is None and section in declarations.NAMED_SECTIONS:
        part = config[section]
        function = declarations.chosen(section, part)
        declared = declarations.options_of_choice(section, part).get(name)
        if (
            declared is None
            and signatures.accepts_any_option(function)
            and name.isidentifier()
            and not declarations.is_run_provided(section, name)
        ):
            declared = declaring.OptionSpec(name, (object,))
        if declared is None and name in declarations.all_options(section):
            if text.lower() == "none":
                return
            raise declarations.unsupported_option_message(section, part, name)
    if declared is None:
        raise _unknown_key(config, key)
    try:
        value = declared.read(text)
    except ValueError as error:
        raise ConfigError(f"--config.{key}={text}: {error}") from error
    if value is None and name in sections.KEYS[section] and declared.default is not None:
        raise ConfigError(f"{key} may not be None")
    (config[section] if section else config)[name] = value


def _unknown_key(config: ConfigDict, key: str) -> UnknownKeyError:
    known = sorted({*declarations.known_keys(), *declarations.keys_of(config)})
    if key not in sections.KEYS:
        message = f"unknown config key {key!r}{hints.hint(key, known)}"
        return UnknownKeyError(message, [key], hints.suggestion(key, known))
    inside = [name for name in known if name.startswith(f"{key}.")]
    name = f"{key}.name"
    meant = f"; did you mean {name!r}?" if name in known else f": set one of its keys ({', '.join(inside)})"
    return UnknownKeyError(f"config key {key!r} is a section{meant}", [key], name if name in known else None)


def _drop_superseded(config: ConfigDict, typed: Collection[str]) -> None:
    """Unsets keys of the preset that overrides take the place of, as `load` describes."""
    groups = [*_ALTERNATIVES, *map(declarations.duration_keys, typed)]
    displaced = {key for keys in groups if set(keys) & set(typed) for key in keys}
    if "train.validate_every" in typed:
        displaced.add("train.validate_every_fraction")
    if "data.sampling" in typed and config.data.sampling == "segments":
        displaced |= {"data.stride", "data.fps"}
    for key in displaced - set(typed):
        section, name = _locate(config, key)
        if name in section:
            section[name] = None
    is_other = bool({"model.name", "model.factory"} & set(typed)) and "batch_norm.group_size" not in typed
    if is_other and config.batch_norm.group_size is not None:
        taken = signatures.accepted(declarations.chosen("model", config.model))
        config.batch_norm.group_size = config.batch_norm.group_size if "group_size" in taken else None


def _locate(config: ConfigDict, key: str) -> tuple[ConfigDict, str]:
    *path, name = key.split(".")
    for part in path:
        config = config[part]
    return config, name


def _load_file(argument: str) -> ConfigDict:
    """Calls `get_config` of the file before the colon with the text after it."""
    path, _, rest = argument.partition(":")
    if not Path(path).is_file():
        here = {p.stem: str(p) for p in sorted(Path("configs").glob("*.py")) if p.stem not in ("__init__", "default")}
        found = suggestions.closest_match(Path(path).stem, here)
        near = f"; did you mean {here[found]!r}?" if found else f" (known: {', '.join(here.values())})" if here else ""
        raise ConfigError(f"no config file {path!r}{near}")
    spec = importlib.util.spec_from_file_location("vidjax_config", path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"--config={path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, "get_config"):
        raise ConfigError(f"{path} defines no get_config(argument)")
    try:
        inspect.signature(module.get_config).bind(rest)
    except TypeError as error:
        raise ConfigError(
            f"{path}: get_config(argument) must take the text after the colon of --config: {error}"
        ) from error
    try:
        config = module.get_config(rest)
    except TypeError as error:
        raise ConfigError(_describe_type_error(path, error)) from error
    if not isinstance(config, ConfigDict):
        raise ConfigError(
            f"{path}: get_config() must return a ConfigDict; start from vidjax.config.presets.get_config()"
        )
    return config


def _describe_type_error(path: str, error: TypeError) -> str:
    """Describes a `TypeError` in a config file: its line, and the key, if one was set to a wrong type."""
    line, said = 0, " ".join(str(error).split())
    dicts: list[ConfigDict] = []  # local variables along the traceback: one of them is the config
    for frame, number in traceback.walk_tb(error.__traceback__):
        held = frame.f_locals
        line = number if frame.f_code.co_filename == os.path.abspath(path) else line
        part, name = held.get("self"), held.get("key")
        if isinstance(part, ConfigDict) and isinstance(name, str) and "value" in held:
            names = [section for each in dicts for section in each if each[section] is part]
            section = names[0] if names else ""
            declared = sections.KEYS.get(section, {}).get(name)
            try:
                said = f"{section}.{name}".lstrip(".") + f": {said}"
                if declared is not None:
                    declared.cast(held["value"])
            except ValueError as refusal:
                said = f"{section}.{name}".lstrip(".") + f": {refusal}"
            break
        dicts += [value for value in held.values() if isinstance(value, ConfigDict)]
    return f"{path}, line {line}: {said}" if line else f"{path}: {said}"  # get_config may come from another file

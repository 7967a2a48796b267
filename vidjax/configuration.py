"""Configs: reading files, overrides and stored ones, and refusing wrong keys.

A config is an `ml_collections.ConfigDict` of the keys of `vidjax.sections` and of the options of what it chooses.
A key whose default is None was not given: then what it is an option of has its own default, and an
option that the chosen model, optimizer, schedule, loss or data source does not take is an error.
"""

import importlib.util
import inspect
import json
import os
import shlex
import sys
import traceback
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from absl import flags
from ml_collections import ConfigDict

from vidjax import declarations, files, key_hints, options, sections
from vidjax.errors import ConfigError

# Key -> what it was called first, of keys that have another name now: hashes keep the first, and stored configs may
# have it.
RENAMED: dict[str, str] = {}

# ---------------------------------------------------------------------------------- the argument grammar


def parse_argument(argument: str | None, presets: Sequence[str], **defaults: Any) -> SimpleNamespace:
    """Reads what follows the colon of `--config=file.py:word,key=value,...`.

    Args:
      argument: e.g. "ucf101_small,frames=5"; None and "" mean nothing was given.
      presets: the words that are accepted; the first is the default.
      **defaults: the keys that are accepted, with their defaults; a value is read with the type of its
        default. Of a tuple of words the first is the default, and no other words are accepted.

    Returns:
      A namespace with `preset`, every key, and `changed`: the keys whose values are not the defaults.

    Raises:
      ConfigError: for another word, another key, or a value of another type.

    Example:
      >>> parse_argument("folder,frames=5", ("motion", "folder"), frames=10)
      namespace(preset='folder', frames=5, changed=('frames',))
    """
    choices = {key: default for key, default in defaults.items() if isinstance(default, tuple)}
    defaults |= {key: words[0] for key, words in choices.items()}
    values: dict[str, Any] = {"preset": presets[0], **defaults}
    for part in filter(None, (argument or "").split(",")):
        key, equals, text = part.partition("=")
        if not equals:
            if key not in presets:
                raise ConfigError(
                    f"config argument {key!r} is no data preset{options.nearest(key, presets)}"
                    f" (known: {', '.join(presets)})"
                )
            values["preset"] = key
        elif key not in defaults:
            known = ", ".join(f"{name}=..." for name in defaults) or "none"
            raise ConfigError(
                f"config argument {part!r}: no key {key!r}{options.nearest(key, defaults)} (known: {known})"
            )
        else:
            values[key] = _read_as(type(defaults[key]), text, part)
            if key in choices and text not in choices[key]:
                words = [word for word in choices[key] if word]
                raise ConfigError(
                    f"config argument {part!r}: no {key} {text!r}{options.nearest(text, words)}"
                    f" (known: {', '.join(words)})"
                )
    changed = tuple(key for key, default in defaults.items() if values[key] != default)
    return SimpleNamespace(**values, changed=changed)


def _read_as(kind: type, text: str, part: str) -> Any:
    try:
        return {"true": True, "false": False}[text.lower()] if kind is bool else kind(text)
    except (KeyError, ValueError) as error:
        raise ConfigError(f"config argument {part!r}: {text!r} is no {kind.__name__}") from error


# -------------------------------------------------------------------------------------- flags and files


def load(argument: str, overrides: Mapping[str, Any] | None = None) -> ConfigDict:
    """Loads a config file and applies what is typed to it.

    What a preset sets gives way to what is typed: another unit of the same duration (train.steps for
    train.epochs), or the name of another model, source, loss, optimizer or schedule, which drops those options of
    the preset that the new one does not take.

    Args:
      argument: "configs/early_fusion.py" or "configs/early_fusion.py:ucf101_small,frames=5".
      overrides: dotted key -> value (or its text), e.g. {"data.split": 2}.

    Raises:
      ConfigError: for a missing file, an unknown key or a value that does not fit.
    """
    return _with_typed(_load_file(os.path.expanduser(argument)), overrides or {})


def read_stored(workdir: Path) -> dict[str, Any] | None:
    """The config of a run from its `config.json`, with today's names of keys; None where there is none.

    Raises:
      ConfigError: if the file holds something else.
    """
    stored = files.read_json(workdir / "config.json")
    if stored is not None and not isinstance(stored, dict):
        raise ConfigError(f"{workdir / 'config.json'} holds no config of a run: {type(stored).__name__} in JSON")
    return None if stored is None else _nested(_renamed(flatten(stored)))


def load_stored(stored: Mapping[str, Any], overrides: Mapping[str, Any] | None = None) -> ConfigDict:
    """Loads the resolved config of a run from the content of its `config.json`.

    Args:
      stored: the content.
      overrides: dotted config key -> value (or its text). A factory that the run has is code which would be run, so
        that it must be typed again.

    Raises:
      ConfigError: for a stored or typed key that there is not, a value that does not fit, or a factory that is not
        typed again.
    """
    overrides, flat = overrides or {}, _renamed(flatten(stored))
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
        elif name in declarations.CHOICES:
            part[last] = tuple(value) if isinstance(value, list) else value
        else:
            raise ConfigError(f"the stored config has {key}={value!r}, and there is no such key here")
    for section in declarations.CHOICES:
        declarations.declare(config, section)
    return _with_typed(config, overrides, is_stored=True)


def _check_factories(stored: Mapping[str, Any], typed: Mapping[str, Any]) -> None:
    """Refuses factories of a stored config, before they are imported, unless they are typed again."""
    keys = [f"{section}.factory" for section in declarations.CHOICES if stored.get(f"{section}.factory")]
    if all(typed.get(key) == stored[key] for key in keys):
        return
    again = [f"--config.{key}={stored[key]}" for key in keys]
    flags_again = {word.partition("=")[0] for word in again}
    words = [word for word in joined(sys.argv[1:]) if word.partition("=")[0] not in flags_again]
    raise ConfigError(
        f"the run has {' and '.join(f'{key}={stored[key]}' for key in keys)}, which is code that would be run: type it"
        f" again if you trust it: {shlex.join(['python', sys.argv[0], *words, *again])}"
    )


def _renamed(flat: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a stored config by their names of today."""
    today = {first: key for key, first in RENAMED.items()}
    return {today.get(key, key): value for key, value in flat.items()}


def _nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for key, value in flat.items():
        *path, name = key.split(".")
        part = nested
        for section in path:
            part = part.setdefault(section, {})
        part[name] = value
    return nested


def parse_flags(argv: list[str], values: flags.FlagValues = flags.FLAGS) -> list[str]:
    """Parses the command line but for what it says of keys of a config.

    Args:
      argv: program name and arguments.
      values: the flags.

    Returns:
      What is left of `argv`: the program name, what is no flag, and then all --config.KEY=VALUE.

    Raises:
      ConfigError: for an unknown flag or a value that does not fit.
    """
    argv = joined(argv)
    typed = [arg for arg in argv[1:] if arg.startswith(OVERRIDE)]
    try:
        return [*values([arg for arg in argv if arg not in typed]), *typed]
    except flags.UnrecognizedFlagError as error:
        raise ConfigError(_unknown_flag(error.flagname, values)) from error
    except flags.Error as error:
        raise ConfigError(" ".join(str(error).split())) from error


def joined(argv: Sequence[str]) -> list[str]:
    """Turns `--config FILE` into `--config=FILE`, and `--config.KEY VALUE` likewise."""
    joined: list[str] = []
    for word in argv:
        before = joined[-1] if joined else ""
        is_open = before.startswith(OVERRIDE) and "=" not in before and not word.startswith("--")
        if before == "--config" or is_open:
            joined[-1] += f"={word}"
        else:
            joined.append(f"-{word}" if word.startswith("-config") else word)
    return joined


OVERRIDE = "--config."

# Keys of which a config may set one; of other durations these are all their units (`declarations.units_of`).
_ALTERNATIVES = (
    ("train.steps", "train.epochs"),
    ("data.stride", "data.fps"),
    ("data.short_side", "data.size"),
    ("schedule.boundaries", *declarations.units_of("schedule.decay_every_steps")),
)


def _unknown_flag(name: str, values: flags.FlagValues) -> str:
    """Says of a flag that there is not which other it may be a slip of, or which key of the config."""
    own = ["config", *(n for n in values if not str(values.find_module_defining_flag(n)).startswith("absl"))]
    own = [f"--{flag}" for flag in dict.fromkeys(own)]
    if found := options.closest(f"--{name}", own):
        return f"unknown flag --{name}; did you mean {found!r}?"
    near = key_hints.hint(name, declarations.known_keys(), "--config.")
    if near.startswith(" ("):
        near = f" (flags: {', '.join(own)}; keys of the config are given as --config.KEY=VALUE)"
    return f"unknown flag --{name}{near}"


def _with_typed(config: ConfigDict, overrides: Mapping[str, Any], *, is_stored: bool = False) -> ConfigDict:
    """The config of a file, or that of a run, with what was typed.

    Options of what is chosen are declared where one of them is typed; the others where a run begins.
    """
    _check_sections(config)
    with config.unlocked():
        typed = {key: str(value) for key, value in overrides.items()}
        for section in declarations.CHOICES:
            _declare(config, section, typed, is_stored=is_stored)
        for key, text in sorted(typed.items()):
            _set(config, key, text)
        _settle(config, typed)
    config.lock()
    return config


def _check_sections(config: ConfigDict) -> None:
    """Refuses keys of a config file that no section has or that it leaves out, and casts values.

    Which options of what is chosen are right is seen where these are declared.
    """
    known = [f"{section}.{name}".lstrip(".") for section, keys in sections.KEYS.items() for name in keys]
    values = flatten(config)
    for key in values:
        if key not in known and key.rpartition(".")[0] not in declarations.CHOICES:
            raise ConfigError(f"the config file sets an unknown key {key!r}{key_hints.hint(key, known)}")
    for key in known:
        if key not in values:
            raise ConfigError(f"the config file leaves out {key!r}: start from configs.default.get_config()")
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
    """Sets what is chosen in a section as it was typed, and declares its options where they are needed."""
    part = config[section]
    before = part.name, part.get("factory")
    if f"{section}.name" in typed and part.get("factory"):  # else the name would be of no effect
        part.factory = None
    for key in ("name", "factory"):
        if f"{section}.{key}" in typed:
            _set(config, f"{section}.{key}", typed[f"{section}.{key}"])
    is_other, is_own = before != (part.name, part.get("factory")), bool(part.get("factory"))
    inside = [key.removeprefix(f"{section}.") for key in typed if key.startswith(f"{section}.")]
    given = [name for name in inside if name not in sections.KEYS[section]]
    # A whole number may stand for a float, which counts in the hash. House sources cost nothing to look at.
    is_vague = any(type(value) is int for value in sections.of_choice(section, part).values())
    drops: Collection[str] = ()
    if is_other:
        drops = sections.of_choice(section, part).keys()
    elif is_own and not is_stored:  # a preset may have set what the factory of the file does not take
        drops = declarations.of_all(section).keys()
    if is_other or is_own or given or is_vague or section == "data":
        declarations.declare(config, section, drops=drops, typed=typed)


def _set(config: ConfigDict, key: str, text: str) -> None:
    """Sets a key to what was typed."""
    section, _, name = key.rpartition(".")
    declared = sections.KEYS.get(section, {}).get(name)
    if declared is None and section in declarations.CHOICES:
        part = config[section]
        function = declarations.chosen(section, part)
        declared = declarations.of_choice(section, part).get(name)
        if (
            declared is None
            and options.takes_any(function)
            and name.isidentifier()
            and not declarations.is_given_by_run(section, name)
        ):
            declared = options.Declared(name, (object,))
        if declared is None and name in declarations.of_all(section):
            if text.lower() == "none":
                return
            raise ConfigError(declarations.not_taken(section, part, name))
    if declared is None:
        raise ConfigError(_unknown_key(config, key))
    try:
        value = declared.read(text)
    except ValueError as error:
        raise ConfigError(f"--config.{key}={text}: {error}") from error
    if value is None and name in sections.KEYS[section] and declared.default is not None:
        raise ConfigError(f"{key} may not be None")
    (config[section] if section else config)[name] = value


def _unknown_key(config: ConfigDict, key: str) -> str:
    known = sorted({*declarations.known_keys(), *declarations.keys_of(config)})
    if key not in sections.KEYS:
        return f"unknown config key {key!r}{key_hints.hint(key, known)}"
    inside = [name for name in known if name.startswith(f"{key}.")]
    name = f"{key}.name"
    meant = f"; did you mean {name!r}?" if name in known else f": set one of its keys ({', '.join(inside)})"
    return f"config key {key!r} is a section{meant}"


def _settle(config: ConfigDict, typed: Collection[str]) -> None:
    """Lets what was typed displace what the preset set, as `load` says."""
    groups = [*_ALTERNATIVES, *map(declarations.units_of, typed)]
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
        taken = options.accepted(declarations.chosen("model", config.model))
        config.batch_norm.group_size = config.batch_norm.group_size if "group_size" in taken else None


def _locate(config: ConfigDict, key: str) -> tuple[ConfigDict, str]:
    *path, name = key.split(".")
    for part in path:
        config = config[part]
    return config, name


def unexpected(word: str, *, is_evaluation: bool = False) -> str:
    """Says what to write for a word of the command line that `parse_flags` has left."""
    if word.startswith(OVERRIDE):
        missing = "--workdir=DIR of a run, or its --config" if is_evaluation else "--config=FILE"
        return f"{word} changes a config, and none is given: add {missing}, e.g. --config=configs/early_fusion.py"
    if ".py" in word:
        return f"unexpected {word!r}: write --{'experiment' if 'experiment' in word else 'config'}={word}"
    if "=" in word:
        return f"unexpected {word!r}: keys of the config are written --config.KEY=VALUE"
    return f"unexpected {word!r}: write --KEY=VALUE"


def config_overrides(words: Sequence[str]) -> dict[str, str]:
    """Reads --config.KEY=VALUE and --config.KEY VALUE: key, as written with dots -> value.

    Example:
      >>> config_overrides(["--config.data.split=2", "--config.data.root", "clips"])
      {'data.split': '2', 'data.root': 'clips'}

    Raises:
      ConfigError: for any other word, and where a value is missing.
    """
    overrides: dict[str, str] = {}
    remaining = iter(words)
    for word in remaining:
        name, equals, value = word.partition("=")
        if not name.startswith("--config.") or name == "--config.":
            raise ConfigError(f"unknown argument {word!r} (config keys are given as --config.KEY=VALUE)")
        if not equals:
            given = next(remaining, None)
            if given is None or given.startswith("--"):
                raise ConfigError(f"{name} needs a value: {name}=VALUE")
            value = given
        overrides[name.removeprefix("--config.")] = value
    return overrides


def _load_file(argument: str) -> ConfigDict:
    """Calls `get_config` of the file before the colon with what stands behind it."""
    path, _, rest = argument.partition(":")
    if not Path(path).is_file():
        here = {p.stem: str(p) for p in sorted(Path("configs").glob("*.py")) if p.stem not in ("__init__", "default")}
        found = options.closest(Path(path).stem, here)
        near = f"; did you mean {here[found]!r}?" if found else f" (known: {', '.join(here.values())})" if here else ""
        raise ConfigError(f"no config file {path!r}{near}")
    spec = importlib.util.spec_from_file_location("vidjax_config", path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"--config={path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, "get_config"):
        raise ConfigError(f"{path} defines no get_config(argument)")
    try:
        inspect.signature(module.get_config).bind(rest)
    except TypeError as error:
        raise ConfigError(
            f"{path}: get_config(argument) is called with what stands behind the colon: {error}"
        ) from error
    try:
        config = module.get_config(rest)
    except TypeError as error:
        raise ConfigError(_refused_in_file(path, error)) from error
    if not isinstance(config, ConfigDict):
        raise ConfigError(f"{path}: get_config() returns no ConfigDict; start from configs.default.get_config()")
    return config


def _refused_in_file(path: str, error: TypeError) -> str:
    """What to say of a `TypeError` in a config file: where it is, and the key, if one was set to a wrong type."""
    line, said = 0, " ".join(str(error).split())
    dicts: list[ConfigDict] = []  # that functions on the way held: one of them is the config
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
    return f"{path}, line {line}: {said}" if line else f"{path}: {said}"  # its get_config may be another file's


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


def default_workdir(config: ConfigDict) -> Path:
    """Returns `runs/<config name>`."""
    return Path("runs") / config.name


def command_line() -> str:
    """Returns the command that started this process, as a reader would type it."""
    return shlex.join(["python", *sys.argv])

"""Configs: reading them, checking them, and building from them what a run needs.

A config is an `ml_collections.ConfigDict` that declares every key; `configs/default.py` documents them.
A key whose default is None was not given: then what it is an option of has its own default, and an
option that the chosen model, optimizer, schedule or data source does not take is an error.
"""

import ast
import dataclasses
import importlib.util
import inspect
import json
import os
import re
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from absl import flags
from ml_collections import ConfigDict, FieldReference, config_flags

from vidjax import key_hints, options
from vidjax.data.clips import Clip, Views
from vidjax.data.records import Source
from vidjax.data.sources import SOURCES
from vidjax.data.sources.partition import check_source
from vidjax.errors import ConfigError

_DECLARED = Path(__file__).parent.parent / "configs" / "default.py"  # declares and documents every key

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


class _NumberOrNone(flags.ArgumentParser):
    """Reads "none" as None and, for an integer, also "1e4"."""

    def __init__(self, kind: type):
        self._kind = kind

    def parse(self, argument: Any) -> Any:
        if not isinstance(argument, str):
            return argument
        if argument.lower() == "none":
            return None
        try:
            number = float(argument)
        except ValueError as error:
            raise ValueError(f"{argument!r} is no number") from error
        if self._kind is float:
            return number
        if number != int(number):
            raise ValueError(f"{argument!r} is no whole number")
        return int(argument) if argument.lstrip("+-").isdigit() else int(number)

    def flag_type(self) -> str:
        return self._kind.__name__


for _kind in (int, float):
    config_flags.register_flag_parser_for_type(_kind, _NumberOrNone(_kind))


def load(argument: str, overrides: Mapping[str, Any] | None = None) -> ConfigDict:
    """Loads a config file as the flag `--config` does.

    Args:
      argument: "configs/early_fusion.py" or "configs/early_fusion.py:ucf101_small,frames=5".
      overrides: dotted key -> value (or its text), e.g. {"data.split": 2}.

    Raises:
      ConfigError: for a missing file, an unknown key or a value that does not fit.
    """
    argv = ["config", f"--config={argument}"]
    argv += [f"--config.{key}={value}" for key, value in (overrides or {}).items()]
    values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=argv)
    parse_flags(argv, values)
    return values.config


def load_stored(stored: Mapping[str, Any], overrides: Mapping[str, str] | None = None) -> ConfigDict:
    """Loads the resolved config of a run from its `config.json`.

    Args:
      stored: the content of the file.
      overrides: dotted config key -> text of its value.

    Raises:
      ConfigError: for an unknown key or a value that does not fit.
    """
    overrides = overrides or {}
    config = load(str(_DECLARED), overrides)  # knows the types, which JSON forgets
    declared = flatten(config)
    displaced = {key for keys in _ALTERNATIVES if overrides.keys() & set(keys) for key in keys}
    for key, value in flatten(stored).items():
        if key in declared and key not in overrides and key not in displaced:
            section, name = _locate(config, key)
            section[name] = value
    return config


def parse_flags(argv: list[str], values: flags.FlagValues = flags.FLAGS) -> list[str]:
    """Parses the command line; what is wrong with a config is said in one line.

    What a preset sets gives way to what is typed: another unit of the same duration (train.steps for
    train.epochs), or the name of another optimizer, schedule or model, which drops those options of
    the preset that the new one does not take.

    Args:
      argv: program name and arguments.
      values: the flags.

    Returns:
      What is left of `argv`: without a config, its overrides (an experiment passes them to its runs).

    Raises:
      ConfigError: for a missing config file, an unknown key or a value that does not fit.
    """
    argv = _joined(argv)
    chosen = [os.path.expanduser(arg.split("=", 1)[1]) for arg in argv[1:] if arg.startswith(("--config=", "-config="))]
    typed = [arg for arg in argv[1:] if arg.startswith(_OVERRIDE)]
    if not chosen:
        return [*_parse([arg for arg in argv if arg not in typed], values), *typed]
    preset = _load_file(chosen[-1])
    keys = {arg.lstrip("-").partition("=")[0].removeprefix("config.") for arg in typed}
    _check_keys(preset, keys)
    # A config file may stand behind its overrides on the command line; absl wants it before them.
    left = _parse(
        [argv[0], f"--config={chosen[-1]}", *(a for a in argv[1:] if not a.startswith(("--config=", "-config=")))],
        values,
    )
    _settle(values.config, preset, keys)
    return left


def _joined(argv: list[str]) -> list[str]:
    """Turns `--config FILE` into `--config=FILE`."""
    words = iter(argv)
    return [f"{word}={next(words, '')}" if word in ("--config", "-config") else word for word in words]


_OVERRIDE = ("--config.", "-config.")

# Keys of which a config may set one: the same duration in another unit.
_ALTERNATIVES = (
    ("train.steps", "train.epochs"),
    ("data.stride", "data.fps"),
    ("data.short_side", "data.size"),
    ("schedule.warmup_steps", "schedule.warmup_epochs", "schedule.warmup_fraction"),
    (
        "schedule.decay_every_steps",
        "schedule.decay_every_epochs",
        "schedule.decay_every_fraction",
        "schedule.boundaries",
    ),
)


def _parse(argv: list[str], values: flags.FlagValues) -> list[str]:
    try:
        return values(argv)
    except flags.UnrecognizedFlagError as error:
        raise ConfigError(_unknown_flag(error.flagname, argv, values)) from error
    except (AttributeError, KeyError, TypeError, ValueError, flags.Error) as error:
        raise ConfigError(" ".join(str(error).split())) from error


def _unknown_flag(name: str, argv: Sequence[str], values: flags.FlagValues) -> str:
    """Says of a flag that there is not which other it may be a slip of, or which key of the config."""
    own = ["config", *(n for n in values if not str(values.find_module_defining_flag(n)).startswith(("absl", "ml_")))]
    own = [f"--{flag}" for flag in dict.fromkeys(own) if not flag.startswith("config.")]
    if found := options.closest(f"--{name}", own):
        return f"unknown flag --{name}; did you mean {found!r}?"
    chosen = _values_of(argv, "config")
    known = flatten(_load_file(chosen[-1] if chosen else str(_DECLARED)))
    near = key_hints.hint(name, known, "--config.")
    if near.startswith(" ("):
        near = f" (flags: {', '.join(own)}; keys of the config are given as --config.KEY=VALUE)"
    return f"unknown flag --{name}{near}"


def _settle(config: ConfigDict, preset: ConfigDict, typed: set[str]) -> None:
    """Lets what was typed displace what the preset set, as `parse_flags` says."""
    for key in typed:
        section, name = _locate(config, key)
        # Only a key that was declared as a placeholder may be None.
        if section[name] is None and not isinstance(section._fields[name], FieldReference):
            raise ConfigError(f"{key} may not be None")
    for alternatives in _ALTERNATIVES:
        if any(key in typed for key in alternatives):
            for key in set(alternatives) - typed:
                section, name = _locate(config, key)
                section[name] = None
    if "train.validate_every" in typed and "train.validate_every_fraction" not in typed:
        config.train.validate_every_fraction = None
    if "data.sampling" in typed and config.data.sampling == "segments":
        for name in {"stride", "fps"} - {key.removeprefix("data.") for key in typed}:
            config.data[name] = None
    for kind in ("model", "optimizer", "schedule"):
        if f"{kind}.factory" in typed or (f"{kind}.name" in typed and config[kind].name != preset[kind].name):
            _drop_options(kind, config[kind], typed)


def _drop_options(kind: str, section: ConfigDict, typed: set[str]) -> None:
    """Sets to None what was not typed and what the newly named model, optimizer or schedule does not take."""
    from vidjax import models  # imports JAX, which most uses of a config need later or not at all
    from vidjax.training import optimizers, schedules

    table = {"model": models.MODELS, "optimizer": optimizers.OPTIMIZERS, "schedule": schedules.SCHEDULES}[kind]
    function = options.resolve(kind, table, section.name, section.get("factory"))
    shared = ("name", "factory", "learning_rate", "scale_with_batch", "base_batch_size", "clip_norm", "multipliers")
    taken = {*shared, "freeze", *options.accepted(function)}
    for key in list(section):
        # A duration is an option in steps, whatever its unit.
        option = re.sub("^(warmup|decay_every)_(epochs|fraction)$", r"\1_steps", key)
        if option not in taken and f"{kind}.{key}" not in typed:
            section[key] = None


def _locate(config: ConfigDict, key: str) -> tuple[ConfigDict, str]:
    *path, name = key.split(".")
    for part in path:
        config = config[part]
    return config, name


def unexpected(word: str, *, is_evaluation: bool = False) -> str:
    """Says what to write for a word of the command line that `parse_flags` has left."""
    if word.startswith(_OVERRIDE):
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
            if given is None:
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
        config = module.get_config(rest)
    except TypeError as error:
        raise ConfigError(
            f"{path}: get_config(argument) is called with what stands behind the colon: {error}"
        ) from error
    if not isinstance(config, ConfigDict):
        raise ConfigError(f"{path}: get_config() returns no ConfigDict; start from configs.default.get_config()")
    return config


def _check_keys(config: ConfigDict, typed: set[str]) -> None:
    known = flatten(config)
    for key in sorted(typed):
        if key in known:
            continue
        inside = [name for name in known if name.startswith(f"{key}.")]
        if inside:
            name = f"{key}.name"
            meant = f"; did you mean {name!r}?" if name in known else f": set one of its keys ({', '.join(inside)})"
            raise ConfigError(f"config key {key!r} is a section{meant}")
        raise ConfigError(f"unknown config key {key!r}{key_hints.hint(key, known)}")


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


# ------------------------------------------------------------------------------- what a config describes

# Keys of `config.data` that belong to the pipeline; the others are options of the data source.
PIPELINE_KEYS = {
    "name",
    "factory",
    "inputs",
    "frames",
    "sampling",
    "stride",
    "fps",
    "position",
    "frame_number",
    "resize",
    "short_side",
    "short_side_max",
    "size",
    "crop",
    "crop_position",
    "cache",
    "cache_gigabytes",
    "check",
    "max_bad_fraction",
    "threads",
    "workers",
}


def source(config: ConfigDict) -> Source:
    """Builds the data source that `config.data` names.

    Raises:
      ConfigError: for an unknown name or an option that the source does not take.
      DataError: if the data are incomplete or contradict themselves.
    """
    check_source_options(config)
    name, factory, given = _source_options(config)
    built = options.build("data source", SOURCES, name, factory=factory, options=given)
    if factory:
        check_source(factory, built)
    return built


def check_source_options(config: ConfigDict) -> None:
    """Refuses an unknown data source, and options that it needs or does not take; looks at no data.

    Raises:
      ConfigError: naming them.
    """
    name, factory, given = _source_options(config)
    function = options.resolve("data source", SOURCES, name, factory)
    missing = [key for key in _required(function) if key not in given]
    if missing:
        raise ConfigError(
            f"data source {factory or name!r} needs {', '.join(f'--config.data.{key}=...' for key in missing)}"
        )
    options.check("data source", factory or name, function, given)


def _source_options(config: ConfigDict) -> tuple[str, str | None, dict[str, Any]]:
    """Name, factory, and the options that were given."""
    data = config.data.to_dict()
    given = {key: value for key, value in data.items() if key not in PIPELINE_KEYS and value is not None}
    return data["name"], data["factory"], given


def _required(function: Callable[..., Any]) -> list[str]:
    parameters = inspect.signature(function).parameters.values()
    return [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty]


def clip(config: ConfigDict) -> Clip:
    """Builds the description of what is cut from a video; what letterbox adds is the mean colour."""
    fields = {field.name for field in dataclasses.fields(Clip)}
    given = {key: value for key, value in config.data.items() if key in fields and value is not None}
    return Clip(**given, padding=round(min(max(config.preprocessing.mean, 0.0), 255.0)))


def test_views(config: ConfigDict) -> Views:
    """The views per test video. Several crops are cut at the size that the model sees, so they reach the edges."""
    evaluate, side = config.evaluate, config.evaluate.crop or config.preprocessing.crop
    views = Views(evaluate.clips, evaluate.crops, evaluate.flip, None if evaluate.crops == "centre" else side)
    if views.crops == "ten" and config.data.crop_position == "centre" and side in (None, config.data.crop):
        raise ConfigError(
            f"evaluate.crops=ten: the ten would be two, since the model sees all of data.crop={config.data.crop}:"
            " give a smaller preprocessing.crop, or data.crop_position=random for corners of the whole frame"
        )
    return views


def validation_views(config: ConfigDict) -> Views:
    """The views per validation video: centre crops, not mirrored."""
    return Views(config.evaluate.validation_clips)


def documented_keys(chosen: ConfigDict | None = None, path: Path = _DECLARED) -> str:
    """Returns the keys that a config file declares, each with its value and comment, for `--help`.

    Args:
      chosen: shows its values; None: the declared defaults.
      path: the file.
    """
    lines = []
    values = flatten(chosen) if chosen is not None else {}
    text = path.read_text() if path.is_file() else ""
    # A comment goes on in the next lines; what stands behind an empty line is a heading.
    for found in re.finditer(r"^    (\w+)\.(\w+) = (.+?)  # (.+(?:\n    # .+)*)", text, re.MULTILINE):
        section, name, value, comment = found.groups()
        key = name if section == "config" else f"{section}.{name}"
        value = values.get(key, re.sub(r"placeholder\(\w+\)", "None", value).strip("\"'"))
        comment = re.sub(r"\n    # ", "\n      ", comment)
        lines.append(f"  --config.{key}={value}\n      {comment}")
    return "\n".join(lines)


def _values_of(argv: Sequence[str], *names: str) -> list[str]:
    """What is given for these flags, as --name=value; for the config also as --config value."""
    given = [arg.lstrip("-").split("=", 1) for arg in _joined(list(argv)) if arg.startswith("-") and "=" in arg]
    return [os.path.expanduser(value) for flag, value in given if flag in names]


def help_on_keys(argv: Sequence[str]) -> str:
    """The keys of the config on the command line with its values; without one, of the declared defaults."""
    chosen = _values_of(argv, "config")
    if not chosen:
        return "Config keys, with their declared defaults (a preset sets some of them):\n" + documented_keys()
    return f"Config keys, with their values in {chosen[-1]}:\n" + documented_keys(_load_file(chosen[-1]))


def help_on_files(argv: Sequence[str]) -> str:
    """What the config or the experiment on the command line says about itself; "" where there is none."""
    paths = [Path(value.partition(":")[0]) for value in _values_of(argv, "config", "experiment")]
    try:
        texts = [ast.get_docstring(ast.parse(path.read_text("utf-8"))) for path in paths if path.is_file()]
    except SyntaxError as error:
        raise ConfigError(f"{error.filename}: {error.msg}, line {error.lineno}") from error
    return "\n\n".join(filter(None, texts))


def default_workdir(config: ConfigDict) -> Path:
    """Returns `runs/<config name>`."""
    return Path("runs") / config.name


def command_line() -> str:
    """Returns the command that started this process, as a reader would type it."""
    return shlex.join(["python", *sys.argv])

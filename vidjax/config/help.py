"""The `--help` of a config: its keys with their declarations, and the docstring of its file."""

import ast
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from vidjax.config import declarations, flat, loading, overrides, sections
from vidjax.errors import ConfigError
from vidjax.options.declaring import OptionSpec

_NAMED = 4  # of those that take an option; the others are counted


def _values_of(argv: Sequence[str], *names: str) -> list[str]:
    """Returns the values of these flags, given as --name=value, or as --config value."""
    given = [
        arg.lstrip("-").split("=", 1) for arg in overrides.join_flag_values(argv) if arg.startswith("-") and "=" in arg
    ]
    return [os.path.expanduser(value) for flag, value in given if flag in names]


def describe_keys(argv: Sequence[str]) -> str:
    """Lists the keys of the config on the command line with their values; without a config, all keys."""
    chosen = _values_of(argv, "config")
    if not chosen:
        return "\n".join(["Config keys, with their defaults (a preset sets some of them):", *_all_keys()])
    words = [word.removeprefix(overrides.OVERRIDE).partition("=") for word in overrides.join_flag_values(argv)]
    choices = {f"{section}.{key}" for section in declarations.NAMED_SECTIONS for key in ("name", "factory")}
    config = loading.load(chosen[-1], {key: text for key, _, text in words if key in choices})
    declarations.declare_all(config)
    values, lines = flat.flatten(config), [f"Config keys, with their values in {chosen[-1]}:"]
    for name, key in declarations.keys_of(config).items():
        default = f" ({key.default})" if values[name] is None and key.default is not None else ""
        lines.append(_key_line(f"{name}={values[name]}{default}", key))
        if key.option.help:  # options of a custom factory may have none
            lines.append(f"      {key.option.help}")
    return "\n".join(lines)


def _all_keys() -> Iterator[str]:
    """Yields lines on the keys of all sections and the options of all components."""
    for section, keys in sections.KEYS.items():
        prefix = f"{section}." if section else ""
        for name, key in keys.items():
            yield _key_line(f"{prefix}{name}={key.default}", key)
            yield f"      {key.option.help}"
        for name, takers in declarations.all_options(section).items() if section in declarations.NAMED_SECTIONS else ():
            yield _key_line(f"{prefix}{name}=None", next(iter(takers.values())))
            alike: dict[str, list[str]] = {}
            for taker, key in takers.items():
                alike.setdefault(key.option.help, []).append(taker)
            for text, names in alike.items():
                more = [f"{len(names) - _NAMED} others"] if len(names) > _NAMED + 1 else names[_NAMED:]
                yield f"      {', '.join([*names[:_NAMED], *more])}: {text}"


def _key_line(shown: str, key: OptionSpec) -> str:
    allowed = key.option.range.removeprefix("a ").removeprefix("finite ").removeprefix("number").strip(", ")
    allowed = allowed or " | ".join(key.option.choices)
    return f"  --config.{shown}  [{key.type_name}{f': {allowed}' if allowed else ''}]"


def describe_files(argv: Sequence[str]) -> str:
    """Returns the docstring of the config or experiment on the command line; "" if there is none."""
    paths = [Path(value.partition(":")[0]) for value in _values_of(argv, "config", "experiment")]
    try:
        texts = [ast.get_docstring(ast.parse(path.read_text("utf-8"))) for path in paths if path.is_file()]
    except SyntaxError as error:
        raise ConfigError(f"{error.filename}: {error.msg}, line {error.lineno}") from error
    return "\n\n".join(filter(None, texts))

"""The command line: flags, and the overrides --config.KEY=VALUE."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict

from vidjax.config import declarations, hints
from vidjax.errors import ConfigError
from vidjax.options import suggestions

OVERRIDE = "--config."  # begins an override of a config key


def parse_flags(argv: list[str], values: flags.FlagValues = flags.FLAGS) -> list[str]:
    """Parses all flags except overrides of config keys.

    Args:
      argv: program name and arguments.
      values: the flags.

    Returns:
      The rest of `argv`: the program name, positional arguments, then all --config.KEY=VALUE.

    Raises:
      ConfigError: for an unknown flag or a value that does not fit.
    """
    argv = join_flag_values(argv)
    typed = [arg for arg in argv[1:] if arg.startswith(OVERRIDE)]
    try:
        return [*values([arg for arg in argv if arg not in typed]), *typed]
    except flags.UnrecognizedFlagError as error:
        raise ConfigError(_unknown_flag(error.flagname, values)) from error
    except flags.Error as error:
        raise ConfigError(" ".join(str(error).split())) from error


def join_flag_values(argv: Sequence[str]) -> list[str]:
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


def _unknown_flag(name: str, values: flags.FlagValues) -> str:
    """The message for an unknown flag: a similar flag, or the config key that it may mean."""
    own = ["config", *(n for n in values if not str(values.find_module_defining_flag(n)).startswith("absl"))]
    own = [f"--{flag}" for flag in dict.fromkeys(own)]
    if found := suggestions.closest_match(f"--{name}", own):
        return f"unknown flag --{name}; did you mean {found!r}?"
    near = hints.hint(name, declarations.known_keys(), OVERRIDE)
    if near.startswith(" ("):
        near = f" (flags: {', '.join(own)}; keys of the config are given as --config.KEY=VALUE)"
    return f"unknown flag --{name}{near}"


def unexpected_argument(word: str, *, is_evaluation: bool = False) -> str:
    """The message for an argument that `parse_flags` left over: what to write instead."""
    if word.startswith(OVERRIDE):
        missing = "--workdir=DIR of a run, or its --config" if is_evaluation else "--config=FILE"
        return f"{word} has no config to override: add {missing}, e.g. --config=configs/early_fusion.py"
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
        if not name.startswith(OVERRIDE) or name == OVERRIDE:
            raise ConfigError(f"unknown argument {word!r} (config keys are given as --config.KEY=VALUE)")
        if not equals:
            given = next(remaining, None)
            if given is None or given.startswith("--"):
                raise ConfigError(f"{name} needs a value: {name}=VALUE")
            value = given
        overrides[name.removeprefix(OVERRIDE)] = value
    return overrides


def default_workdir(config: ConfigDict) -> Path:
    """Returns `runs/<config name>`."""
    return Path("runs") / config.name


def program() -> list[str]:
    """Returns how this program was started: ["python", "launch.py"] or, e.g., ["python", "-m", "vidjax", "train"]."""
    path = Path(sys.argv[0])
    is_package = path.name == "vidjax" or (path.name == "__main__.py" and path.parent.name == "vidjax")
    return ["python", "-m", "vidjax", *sys.argv[1:2]] if is_package else ["python", sys.argv[0]]


def arguments() -> list[str]:
    """Returns what follows `program` on the command line."""
    start = program()
    return sys.argv[2:] if start[1] == "-m" else sys.argv[1:]


def command_line() -> str:
    """Returns the command that started this process, as a reader would type it."""
    return shlex.join([*program(), *arguments()])

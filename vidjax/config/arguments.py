"""The argument of a config: the text after the colon in --config=FILE:ARGUMENT."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from vidjax.errors import ConfigError
from vidjax.options import suggestions


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
                named = [f"{name}={key}" for name, words in choices.items() if key in words]
                if named:
                    raise ConfigError(f"unknown data preset {key!r}; did you mean {' or '.join(named)}?")
                raise ConfigError(
                    f"unknown data preset {key!r}{suggestions.did_you_mean(key, presets)} (known: {', '.join(presets)})"
                )
            values["preset"] = key
        elif key not in defaults:
            known = ", ".join(f"{name}=..." for name in defaults) or "none"
            raise ConfigError(
                f"config argument {part!r}: no key {key!r}{suggestions.did_you_mean(key, defaults)} (known: {known})"
            )
        else:
            values[key] = _read_as(type(defaults[key]), text, part)
            if key in choices and text not in choices[key]:
                words = [word for word in choices[key] if word]
                raise ConfigError(
                    f"config argument {part!r}: no {key} {text!r}{suggestions.did_you_mean(text, words)}"
                    f" (known: {', '.join(words)})"
                )
    changed = tuple(key for key, default in defaults.items() if values[key] != default)
    return SimpleNamespace(**values, changed=changed)


def _read_as(kind: type, text: str, part: str) -> Any:
    try:
        return {"true": True, "false": False}[text.lower()] if kind is bool else kind(text)
    except (KeyError, ValueError) as error:
        raise ConfigError(f"config argument {part!r}: {text!r} is not of type {kind.__name__}") from error

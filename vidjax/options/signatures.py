"""The options that a function or a class takes."""

import inspect
from collections.abc import Callable
from typing import Any


def accepted(function: Callable[..., Any], positional: int = 0) -> tuple[str, ...]:
    """Names of the options that `function` takes: its parameters that are keyword-only or have a default.

    Args:
      function: may be a Flax module class: its fields with a default are its options.
      positional: how many arguments it is given by position: the first parameters are no options.
    """
    parameters = inspect.signature(function).parameters
    internal = _INTERNAL_FIELDS if parameters.keys() >= set(_INTERNAL_FIELDS) else ()
    by_position = [p.name for p in parameters.values() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return tuple(
        p.name
        for p in parameters.values()
        if (p.kind is p.KEYWORD_ONLY or (p.default is not p.empty and p.kind is not p.POSITIONAL_ONLY))
        and p.name not in internal
        and p.name not in by_position[:positional]
    )


def accepts_any_option(function: Callable[..., Any]) -> bool:
    """Whether `function` has a parameter like **options."""
    return any(p.kind is p.VAR_KEYWORD for p in inspect.signature(function).parameters.values())


_INTERNAL_FIELDS = ("parent", "name")  # every Flax module has these two

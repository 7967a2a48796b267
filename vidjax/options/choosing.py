"""Chooses components by name and builds them with their options, with the same errors everywhere."""

import importlib
import inspect
import os
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from vidjax.errors import ConfigError, UnknownKeyError
from vidjax.options.declaring import declared_options
from vidjax.options.signatures import accepted, accepts_any_option
from vidjax.options.suggestions import closest_match, did_you_mean


def resolve(
    kind: str, table: Mapping[str, Callable[..., Any]], name: str, factory: str | None = None
) -> Callable[..., Any]:
    """Looks `name` up in `table`, or imports `factory` ("package.module:function") where one is given.

    A factory may lie in the working directory, which is searched last.

    Raises:
      ConfigError: if there is no such name or factory.
    """
    if factory:
        return _import(kind, factory)
    if name not in table:
        raise ConfigError(f"unknown {kind} {name!r}{did_you_mean(name, table)} (known: {', '.join(sorted(table))})")
    return table[name]


def _import(kind: str, factory: str) -> Callable[..., Any]:
    """Imports a factory, and refuses objects that cannot be called with options."""
    module, _, name = factory.partition(":")
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    told = f"{kind} factory {factory!r}"
    if module.startswith("."):
        raise ConfigError(
            f"{told} (written 'package.module:function') was not found: a module's name begins with no dot"
        )
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"{told} (written 'package.module:function') was not found on Python's path and in {os.getcwd()}: {error}"
        ) from error
    except SyntaxError as error:
        raise ConfigError(f"{told}: {error.filename}: {error.msg}, line {error.lineno}") from error
    if not callable(function):
        raise ConfigError(f"{told} is a {type(function).__name__}: name a function or a class")
    try:
        inspect.signature(function)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{told} has no signature: wrap it in a function") from error
    return function


def check_call(kind: str, factory: str, function: Callable[..., Any], positional: int, given: Collection[str]) -> None:
    """Refuses a factory whose signature does not fit the call.

    Args:
      kind, factory: for the message.
      function: the factory.
      positional: how many arguments it is given by position.
      given: names of the options that it is given.

    Raises:
      ConfigError: saying how it is called.
    """
    try:
        inspect.signature(function).bind(*[None] * positional, **dict.fromkeys(given))
    except TypeError as error:
        plural = "" if positional == 1 else "s"
        raise ConfigError(
            f"{kind} factory {factory!r} is called with {positional or 'no'} argument{plural} by position and its"
            f" options by name: {error}"
        ) from error


def check(
    kind: str,
    table: Mapping[str, Callable[..., Any]],
    name: str,
    function: Callable[..., Any],
    given: Mapping[str, Any],
    *,
    positional: int = 0,
) -> None:
    """Refuses options that `function` does not take, and values that it does not allow.

    Args:
      kind: of thing, as messages name it.
      table: of what can be chosen by name.
      name: of what is chosen.
      function: it; a factory, where it is not in the table.
      given: option -> value.
      positional: how many arguments it is given by position.

    Raises:
      ConfigError: naming the option, and what takes it, or what is allowed.
    """
    taken, known = accepted(function, positional), declared_options(function, positional=positional)
    for key, value in given.items():
        if key not in taken and not accepts_any_option(function):
            others = [other for other, each in table.items() if name in table and key in accepted(each)]
            raise not_taken(kind, name, key, taken, others)
        if key in known:
            known[key].option.check(key, value)


def not_taken(
    kind: str, name: str, key: str, taken: Collection[str], others: Sequence[str], section: str = ""
) -> UnknownKeyError:
    """The error of an option that the chosen thing does not take: names which others do, or else what it takes.

    Example:
      >>> str(not_taken("shape", "square", "radius", ["side"], ["circle", "sphere"]))
      "shape 'square' takes no option 'radius' (shape 'circle' and 1 other do)"
    """
    keys, said = [f"{section}.{key}" if section else key], f"{kind} {name!r} takes no option {key!r}"
    if others:
        more = len(others) - 1
        rest = f" and {more} other{'s' * (more > 1)} do" if more else " does"
        return UnknownKeyError(f"{said} ({kind} {others[0]!r}{rest})", keys)
    found = closest_match(key, taken)
    meant = f"{section}.{found}" if section and found else found
    return UnknownKeyError(f"{said}{did_you_mean(key, taken)} (it takes: {', '.join(taken) or 'none'})", keys, meant)


def build(
    kind: str,
    table: Mapping[str, Callable[..., Any]],
    name: str,
    *args: Any,
    factory: str | None = None,
    options: Mapping[str, Any],
) -> Any:
    """Calls the named function with `args` and those of `options` that are not None.

    An option that is None was not given: the function's own default holds.

    Example:
      >>> build("shape", {"square": lambda *, side=1.0: side**2}, "square", options={"side": 3.0})
      9.0
    """
    function = resolve(kind, table, name, factory)
    given = {key: value for key, value in options.items() if value is not None}
    check(kind, table, factory or name, function, given, positional=len(args))
    if factory:
        check_call(kind, factory, function, len(args), given)
    return function(*args, **given)

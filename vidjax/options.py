"""Things chosen by name with options: models, data sources, optimizers, schedules.

Every such choice goes through `build`, so that a wrong name, or an option that the chosen thing does
not take, is the same one-line error everywhere and names the nearest right one.
"""

import difflib
import importlib
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from vidjax.errors import ConfigError


def closest(name: str, candidates: Iterable[str]) -> str | None:
    """Returns the candidate that `name` may be a slip of, or None: a wrong guess costs more than none."""
    plain = {candidate.lower().replace("-", "_"): candidate for candidate in candidates}
    found = difflib.get_close_matches(name.lower().replace("-", "_"), plain, n=1, cutoff=0.75)
    return plain[found[0]] if found else None


def nearest(name: str, candidates: Iterable[str]) -> str:
    """Returns "; did you mean 'x'?" for the candidate that `name` may be a slip of, or "" where there is none."""
    found = closest(name, candidates)
    return f"; did you mean {found!r}?" if found is not None else ""


def accepted(function: Callable[..., Any]) -> tuple[str, ...]:
    """Names of the options that `function` takes: its parameters that are keyword-only or have a default.

    `function` may be a Flax module class: its fields with a default are its options.
    """
    parameters = inspect.signature(function).parameters.values()
    internal = ("parent", "name")  # every Flax module has these two
    return tuple(
        p.name for p in parameters if (p.kind is p.KEYWORD_ONLY or p.default is not p.empty) and p.name not in internal
    )


def resolve(
    kind: str, table: Mapping[str, Callable[..., Any]], name: str, factory: str | None = None
) -> Callable[..., Any]:
    """Looks `name` up in `table`, or imports `factory` ("package.module:function") where one is given.

    Raises:
      ConfigError: if there is no such name or factory.
    """
    if factory:
        module, _, function = factory.partition(":")
        try:
            return getattr(importlib.import_module(module), function)
        except (ImportError, AttributeError, ValueError) as error:
            raise ConfigError(
                f"{kind} factory {factory!r} (written 'package.module:function') was not found: {error}"
            ) from error
    if name not in table:
        raise ConfigError(f"unknown {kind} {name!r}{nearest(name, table)} (known: {', '.join(sorted(table))})")
    return table[name]


def check(kind: str, name: str, function: Callable[..., Any], options: Mapping[str, Any]) -> None:
    """Refuses an option that `function` does not take.

    Raises:
      ConfigError: naming the option, and those that are taken.
    """
    taken = accepted(function)
    takes_any = any(p.kind is p.VAR_KEYWORD for p in inspect.signature(function).parameters.values())
    for key in options:
        if key not in taken and not takes_any:
            raise ConfigError(
                f"{kind} {name!r} takes no option {key!r}{nearest(key, taken)} (it takes: {', '.join(taken) or 'none'})"
            )


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
    check(kind, factory or name, function, given)
    return function(*args, **given)

"""Options declared once, on the fields or parameters of what takes them."""

import ast
import collections.abc
import dataclasses
import functools
import inspect
import math
import types
import typing
from collections.abc import Callable
from typing import Annotated, Any

from vidjax.errors import OptionError
from vidjax.options.signatures import accepted
from vidjax.options.suggestions import did_you_mean


@dataclasses.dataclass(frozen=True)
class Option:
    """Help and constraints of an option, as metadata of `typing.Annotated`.

    Attributes:
      help: what it is, in one line.
      at_least, above, at_most, below: its range. Numbers must be finite in any case.
      choices: the accepted strings; empty: any.
    """

    help: str
    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None
    choices: tuple[str, ...] = ()

    @property
    def range(self) -> str:
        """Describes the valid values, e.g. "a number from 0 to below 1"; "" if there is no range."""
        if self.at_most is not None or self.below is not None:
            if self.at_least is None and self.above is None:
                below = f" below {_text(self.below)}" if self.below is not None else f", at most {_text(self.at_most)}"
                return f"a number{below}"
            start = f"from {_text(self.at_least)}" if self.at_least is not None else f"above {_text(self.above)}"
            if self.below is not None:
                return f"a number {start} {'to' if self.at_least is not None else 'and'} below {_text(self.below)}"
            return f"a number {start}{' to' if self.at_least is not None else ', at most'} {_text(self.at_most)}"
        if self.at_least is not None:
            return "a finite number, 0 or more" if self.at_least == 0 else f"at least {_text(self.at_least)}"
        return f"a finite number above {_text(self.above)}" if self.above is not None else ""

    def check(self, key: str, value: Any) -> None:
        """Refuses a value that is out of range or not among the choices; of a tuple each element counts.

        Args:
          key: as the message names it.
          value: of the right type.

        Raises:
          OptionError: naming key and value, and what to give.
        """
        if self.choices and value not in self.choices:
            raise OptionError(
                f"{{{key}}}={value!r} is not one of {', '.join(self.choices)}{did_you_mean(value, self.choices)}", [key]
            )
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, int | float) and not self._in_range(number):
                raise OptionError(f"{{{key}}}={value}: give {self.range or 'a finite number'}", [key])

    def _in_range(self, number: float) -> bool:
        return (
            math.isfinite(number)
            and (self.at_least is None or number >= self.at_least)
            and (self.above is None or number > self.above)
            and (self.at_most is None or number <= self.at_most)
            and (self.below is None or number < self.below)
        )


def _text(number: float | None) -> str:
    """Integers in full: 2**63 is a bound of seeds."""
    return str(number) if isinstance(number, int) else f"{number:g}"


@dataclasses.dataclass(frozen=True)
class OptionSpec:
    """An option as a function, a module class or a section of the config declares it.

    Attributes:
      name: of the parameter or field.
      types: of its values: int, float, bool, str or tuple, or float and tuple; object: any Python literal or text.
      default: where it is not given; None for a required one, too.
      option: help and range.
      required: it has no default.
    """

    name: str
    types: tuple[type, ...]
    default: Any = None
    option: Option = Option("")
    required: bool = False

    @property
    def field_type(self) -> type:
        """The type of the config's field."""
        return self.types[0] if len(self.types) == 1 else object

    @property
    def type_name(self) -> str:
        """E.g. "float" or "float or tuple"; "value" for any."""
        return " or ".join(kind.__name__ for kind in self.types) if self.types != (object,) else "value"

    def read(self, text: str) -> Any:
        """Reads a value from the command line; "none" is None, unless it may be meant as a word.

        Raises:
          ValueError: saying what the text is not.
        """
        may_be_word = self.types == (str,) and (not self.option.choices or "none" in self.option.choices)
        if text == "None" or (text.lower() == "none" and not may_be_word):
            return None
        try:
            return self._read(text)
        except ValueError:
            if str in self.types:
                return text
            raise

    def _read(self, text: str) -> Any:
        """Reads a value that is not plain text."""
        if bool in self.types:
            truth = {"true": True, "t": True, "false": False, "f": False}
            truth |= {} if {int, float} & {*self.types} else {"1": True, "0": False}
            if text.lower() in truth:
                return truth[text.lower()]
            if self.types == (bool,):
                raise ValueError(f"{text!r} is not a boolean: give True or False")
        if object in self.types:
            return self.cast(_literal(text, text))
        if tuple in self.types:
            value = _literal(text)
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if is_number and not {int, float} & {*self.types}:
                return (value,)
            if not isinstance(value, tuple | list) and float in self.types:
                return self._number(text, f"{text!r} is not of type {self.type_name}")
            try:
                return self.cast(value)
            except ValueError as error:
                raise ValueError(f"{text!r} is not of type {self.type_name}") from error
        return self._number(text, f"{text!r} is not a number")

    def _number(self, text: str, refusal: str) -> int | float:
        try:
            if int in self.types and text.lstrip("+-").isdigit():
                return float(text) if float in self.types else int(text)
            number = float(text)
            if float in self.types:  # what is not finite is refused by the range
                return number
            whole = int(number)
        except (ValueError, OverflowError) as error:
            raise ValueError(refusal) from error
        if number != whole:
            raise ValueError(f"{text!r} is not a whole number")
        return whole

    def cast(self, value: Any) -> Any:
        """Casts a value to a type of the option: 1 to 1.0 for a float, a list to a tuple.

        Raises:
          ValueError: if it is of another type.
        """
        if object in self.types:
            if not _is_json_value(value):
                raise ValueError(f"{value!r} is not a number, a text or a tuple of these")
            return tuple(value) if isinstance(value, list) else value
        if isinstance(value, list | tuple) and tuple in self.types:
            if float not in self.types:
                return tuple(value)
            if value and all(isinstance(item, int | float) for item in value):
                return tuple(float(item) for item in value)
        if isinstance(value, bool | str):
            if type(value) in self.types:
                return value
        elif isinstance(value, int | float):
            if float in self.types:
                return float(value)
            if int in self.types and isinstance(value, int):
                return value
        raise ValueError(f"{value!r} is not of type {self.type_name}")


def _literal(text: str, otherwise: Any = None) -> Any:
    """Evaluates a Python literal; returns `otherwise` if the text is not one."""
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError, TypeError):
        return otherwise


def _is_json_value(value: Any) -> bool:
    """Whether a config and its JSON can store this as one value."""
    if isinstance(value, list | tuple):
        return all(map(_is_json_value, value))
    return value is None or isinstance(value, bool | int | float | str)


def declared_options(
    function: Callable[..., Any], *, is_custom: bool = False, positional: int = 0
) -> dict[str, OptionSpec]:
    """The options that a function, a module class or a `functools.partial` of one declares: name -> what it is.

    Args:
      function: its parameters that are keyword-only or have a default count, where they carry an `Option`.
      is_custom: it is a factory of the user's: parameters without an `Option` count, too, if their type can be given in
        a config. Without an annotation the type is that of the default; without either, any value is accepted.
      positional: how many arguments it is given by position, which are no options.

    Example:
      >>> def build(classes, *, hidden: Annotated[int, Option("units", at_least=1)] = 64, rate=0.5): ...
      >>> list(declared_options(build)), declared_options(build, is_custom=True)["rate"].types
      (['hidden'], (<class 'float'>,))
    """
    hints, parameters = _hints(function), inspect.signature(function).parameters
    found = {}
    for name in accepted(function, positional):
        option = next((note for note in _notes(hints.get(name)) if isinstance(note, Option)), None)
        if option is None and not is_custom:
            continue
        required = parameters[name].default is inspect.Parameter.empty
        default = None if required else parameters[name].default
        kinds = _types(hints[name]) if name in hints else _types_of(default)
        if kinds or option:
            option = option or Option("")
            if not option.choices and (choices := _choices(hints.get(name))):
                option = dataclasses.replace(option, choices=choices)
            found[name] = OptionSpec(name, kinds or (object,), default, option, required)
    return found


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    """The annotations of the parameters; none where one of them cannot be evaluated."""
    while isinstance(function, functools.partial):
        function = function.func
    target: Any = function
    if inspect.isclass(function) and not dataclasses.is_dataclass(function):
        target = function.__init__
    elif not inspect.isclass(function) and not inspect.isroutine(function):
        target = type(function).__call__
    try:
        return typing.get_type_hints(target, include_extras=True)
    except (NameError, TypeError, AttributeError):
        return {}


def _notes(hint: Any) -> tuple[Any, ...]:
    """The metadata of `Annotated`, also of one side of `X | None`."""
    if typing.get_origin(hint) is Annotated:
        return hint.__metadata__
    return tuple(note for side in typing.get_args(hint) for note in _notes(side)) if _is_union(hint) else ()


def _is_union(hint: Any) -> bool:
    return typing.get_origin(hint) in (typing.Union, types.UnionType)


def _types(hint: Any) -> tuple[type, ...]:
    """The types of values that a config can hold for an annotation; none where it can hold none."""
    origin = typing.get_origin(hint)
    if origin is Annotated:
        return _types(typing.get_args(hint)[0])
    if _is_union(hint):
        sides = [_types(side) for side in typing.get_args(hint) if side is not type(None)]
        return tuple(dict.fromkeys(kind for side in sides for kind in side)) if all(sides) else ()
    if origin is typing.Literal:
        kinds = dict.fromkeys(type(word) for word in typing.get_args(hint) if word is not None)
        return tuple(kinds) if kinds.keys() <= {int, bool, str} else ()
    if (origin or hint) in (tuple, list, collections.abc.Sequence):
        return (tuple,)
    return (hint,) if hint in (int, float, bool, str) else ()


def _choices(hint: Any) -> tuple[str, ...]:
    """The words of a `Literal`, also of one side of `X | None`; none where it has other values."""
    if typing.get_origin(hint) is Annotated:
        return _choices(typing.get_args(hint)[0])
    if _is_union(hint):
        sides = [side for side in typing.get_args(hint) if side is not type(None)]
        return _choices(sides[0]) if len(sides) == 1 else ()
    words = tuple(word for word in typing.get_args(hint) if word is not None)
    return words if typing.get_origin(hint) is typing.Literal and all(isinstance(w, str) for w in words) else ()


def _types_of(default: Any) -> tuple[type, ...]:
    """The type of an option without an annotation."""
    if default is None:
        return (object,)
    kind = tuple if isinstance(default, list) else type(default)
    return (kind,) if kind in (int, float, bool, str, tuple) else ()

"""Docstrings here are plain text with `code` in single backticks; autodoc reads reStructuredText.

Code becomes a literal, what reStructuredText would take for its own markup (asterisks, bars, underscores at the ends of
words) is escaped, and an indented passage behind a colon is shown as it stands. Annotations lose what `Option` says,
which the page on configuration has.
"""

import functools
import inspect
import operator
import re
import types
import typing

_CODE = re.compile(r"(`+[^`]+`+)")
_MARKUP = re.compile(r"([*|\\]|(?<=\w)_(?!\w))")
_SECTION = re.compile(
    r"\s*(Args|Arguments|Attributes|Example|Examples|Note|Raises|Returns|Yields|References|Methods):\s*$"
)


_NAMES = re.compile(r"(\s+)(\w+(?:, \*{0,2}\w+)+)(: .*)")


def as_restructured_text(lines: list[str]) -> list[str]:
    """The same docstring as napoleon and Sphinx want it."""
    done: list[str] = []
    literal_until: int | None = None  # the indentation that ends a literal passage
    for i, line in enumerate(lines):
        indentation = _indentation(line)
        if literal_until is not None and line.strip() and indentation <= literal_until:
            literal_until = None
            if done[-1].strip():
                done.append("")
        is_doctest = line.lstrip().startswith((">>>", "..."))
        if literal_until is not None or is_doctest or (i and lines[i - 1].lstrip().startswith((">>>", "..."))):
            done.append(line)
            continue
        follows = next((_indentation(other) for other in lines[i + 1 :] if other.strip()), 0)
        has_gap = i + 1 < len(lines) and not lines[i + 1].strip()
        escaped = "".join(
            f"``{part.strip('`')}``" if part.startswith("`") else _MARKUP.sub(r"\\\1", part)
            for part in _CODE.split(line)
        )
        if line.strip() and has_gap and follows > indentation and not _SECTION.match(line):
            literal_until = indentation
            escaped = f"{escaped}:" if escaped.endswith(":") else f"{escaped} ::"
        done.append(escaped)
    return done


def _one_name_a_line(lines: list[str]) -> list[str]:
    """Several names that one line of a section describes, "low, high: bounds", each on a line of its own."""
    done: list[str] = []
    inside: int | None = None  # the indentation of the entries of a section
    for i, line in enumerate(lines):
        if _SECTION.match(line):
            inside = next((_indentation(other) for other in lines[i + 1 :] if other.strip()), None)
        elif line.strip() and inside is not None and _indentation(line) < inside:
            inside = None
        names = _NAMES.fullmatch(line) if inside is not None and _indentation(line) == inside else None
        if names is None:
            done.append(line)
            continue
        rest = []
        for other in lines[i + 1 :]:
            if _indentation(other) <= inside:
                break
            rest.append(other)
        *first, last = names[2].split(", ")
        for name in first:
            done += [f"{names[1]}{name}{names[3]}", *rest]
        done.append(f"{names[1]}{last}{names[3]}")
    return done


def _indentation(line: str) -> int:
    return len(line) - len(line.lstrip())


_kept: dict[str, list[str]] = {}


def _before_napoleon(app, what, name, obj, options, lines) -> None:
    if what == "module" and name.startswith("vidjax.cli."):  # what --help says, laid out in columns
        first, *rest = lines
        literal = ["", "::", "", *(f"    {line}" for line in rest)] if any(rest) else []
        lines[:] = [*as_restructured_text([first]), *literal]
    else:
        lines[:] = as_restructured_text(_one_name_a_line(lines))
    if what in ("attribute", "property"):  # napoleon would take what stands before a colon for its type
        _kept[name] = lines[:]
        lines.clear()


def _after_napoleon(app, what, name, obj, options, lines) -> None:
    lines[:] = _kept.pop(name, lines)


def without_notes(annotation: object) -> object:
    """An annotation without the metadata of `typing.Annotated`, whose help and range the configuration page shows."""
    if typing.get_origin(annotation) is typing.Annotated:
        return typing.get_args(annotation)[0]
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
        return functools.reduce(operator.or_, map(without_notes, typing.get_args(annotation)))
    return annotation


def _strip_notes(app, obj, bound_method) -> None:
    if isinstance(annotations := getattr(inspect.unwrap(obj), "__annotations__", None), dict):
        for name, annotation in annotations.items():
            annotations[name] = without_notes(annotation)


def _readable_defaults(app, what, name, obj, options, signature, returns) -> tuple[str | None, str | None]:
    """A default like <factory> or <class 'X'> is not Python, and Sphinx could not read the signature."""
    return signature and re.sub(r"= ?<(?:[^<>]|<[^<>]*>)*>", "= ...", signature), returns


def setup(app) -> dict[str, bool]:
    app.connect("autodoc-process-docstring", _before_napoleon, priority=100)
    app.connect("autodoc-process-docstring", _after_napoleon, priority=900)
    app.connect("autodoc-before-process-signature", _strip_notes)
    app.connect("autodoc-process-signature", _readable_defaults)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

"""A CSV file that lists clips: path, label and part of each."""

import os
import re
from pathlib import Path
from typing import Annotated

from vidjax.data.flip_rule import FlipRuleOption, check_flip_rule
from vidjax.data.records import Source
from vidjax.data.sources.listed import ListedClip, build_listed_source
from vidjax.data.sources.partition import check_fractions
from vidjax.data.sources.shared_options import AllowMissing, Validation
from vidjax.data.sources.tables import CsvRow, read_table
from vidjax.data.sources.user_paths import existing_folder
from vidjax.errors import DataError, DuplicateError, EmptyPartError, OptionDataError
from vidjax.options.declaring import Option

_COLUMNS = ("path", "label", "split")
_PARTS = {"train": "train", "val": "validation", "validation": "validation", "test": "test"}


def load(
    *,
    annotations: Annotated[str, Option("the file with path,label,split")],
    root: Annotated[str | None, Option("folder that its paths start from; None: that of the file")] = None,
    allow_missing: AllowMissing = False,
    validation: Validation = 0.1,
    mirror: FlipRuleOption = None,
) -> Source:
    """Returns the clips that a CSV file names.

    Its header has path, label, split and, if wanted, group:

        path,label,split,group
        archery/a.mp4,archery,train,monday

    A path is that of a video, or of a folder of images.

    `split` is train, validation (or val) or test. Classes are in alphabetical order, or in that of the numbers
    where all labels are whole numbers. Clips with the same `group` are near-duplicates (one recording, say) and
    must be in one part; without one, a clip is a group of its own. Quotes follow RFC 4180; a byte order mark,
    Windows line ends and blank lines do no harm.

    Args:
      annotations: the CSV file.
      root: folder that the paths start from, unless they are absolute; None: the folder of the CSV file.
      allow_missing: skip listed clips that are missing. Classes without any clip are then dropped, and the remaining
        labels are renumbered.
      validation: fraction of each class's training groups that becomes the validation part where the file lists
        none: whole groups, at least one per class, the same ones on every machine.
      mirror: what a horizontal flip does to the classes: "invariant" (nothing) or "forbidden" (it may change
        them, as left and right); None leaves it undeclared, and then nothing may be flipped.

    Returns:
      The source; `name` is the file's, without suffix.

    Raises:
      ConfigError: if `validation` or `mirror` is out of range.
      DataError: if the file does not fit (with the number of the line), a clip is missing, a part is empty, or
        parts share a clip or a group.
    """
    check_fractions("csv", validation)
    check_flip_rule("csv", mirror)
    path = Path(os.path.expanduser(annotations))
    if os.path.isdir(path):
        raise OptionDataError(f"csv: {{annotations}}={path} is a folder; give the CSV file", ["annotations"])
    folder = existing_folder("csv", "root", root) if root else path.parent
    rows = read_table(path, _COLUMNS)
    listed: dict[str, list[ListedClip]] = {"train": [], "validation": [], "test": []}
    lines: dict[str, int] = {}
    for row in rows:
        part, clip = _read_row(path, row, folder)
        place = os.path.abspath(clip.path)
        if place in lines:
            raise DuplicateError(f"{path}:{row.line}: {clip.id} is already in line {lines[place]}")
        lines[place] = row.line
        listed[part].append(clip)
    for part in ("train", "test"):
        if not listed[part]:
            raise EmptyPartError(f"{path}: the {part} part is empty: no line has the split {part}")
    if not listed["validation"]:
        del listed["validation"]
    return build_listed_source(
        path.stem,
        "given",
        _classes(path, {row.fields["label"] for row in rows}),
        listed,
        root=folder,
        validation=validation,
        allow_missing=allow_missing,
        mirror=mirror,  # type: ignore[arg-type]
    )


def _read_row(path: Path, row: CsvRow, folder: Path) -> tuple[str, ListedClip]:
    """Returns the part that a row belongs to, and its clip."""
    for column in _COLUMNS:
        if not row.fields[column]:
            raise DataError(f"{path}:{row.line}: has no {column}")
        if len(row.fields[column].splitlines()) > 1:
            raise DataError(f"{path}:{row.line}: {column} {row.fields[column][:80]!r} holds a line break")
    split = row.fields["split"]
    if split not in _PARTS:
        raise DataError(f"{path}:{row.line}: split {split[:80]!r} is not one of {', '.join(_PARTS)}")
    identity = _identity(folder, Path(row.fields["path"]))
    place = Path(os.path.normpath(folder / row.fields["path"]))  # an absolute path stays as it is
    group = row.fields.get("group") or identity
    # Anything that exists: a folder of images is a clip, too, and its inspection refuses anything else.
    return _PARTS[split], ListedClip(identity, place, row.fields["label"], group, os.path.exists(place))


def _identity(folder: Path, path: Path) -> str:
    """The same for every spelling of a place and, unless it is written from / on, on every machine."""
    base = os.path.abspath(folder)
    place = Path(os.path.abspath(folder / path))
    if place.is_relative_to(base):
        return place.relative_to(base).as_posix()
    return place.as_posix() if path.is_absolute() else Path(os.path.normpath(path)).as_posix()


def _classes(path: Path, labels: set[str]) -> list[str]:
    if not all(re.fullmatch(r"-?[0-9]+", label) for label in labels):
        return sorted(labels)
    numbers: dict[int, str] = {}
    for label in sorted(labels):
        other = numbers.setdefault(int(label), label)
        if other != label:
            raise DataError(f"{path}: the labels {other!r} and {label!r} are the same number, written differently")
    return [numbers[number] for number in sorted(numbers)]

"""Kinetics (400, 600, 700): clips of about 10 s from YouTube, one or few per video, named by official CSV lists.

Kay et al. 2017, "The Kinetics Human Action Video Dataset". Videos vanish from YouTube, so hardly anybody has all
clips: a result states how many were missing.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from vidjax.data.records import Source
from vidjax.data.sources.listed import ListedClip, build_listed_source
from vidjax.data.sources.partition import check_fractions
from vidjax.data.sources.shared_options import AllowMissing, Validation
from vidjax.data.sources.tables import CsvRow, read_table
from vidjax.data.sources.user_paths import existing_folder
from vidjax.data.video.discovery import VIDEO_SUFFIXES
from vidjax.errors import DataError, DuplicateError, EmptyPartError, MissingFileError
from vidjax.options.declaring import Option

_COLUMNS = ("label", "youtube_id", "time_start", "time_end")
# What the official validation list is called; it is what papers test on, since test labels came late or never.
_VALIDATION = ("val", "validate", "validation")
_FOLDERS = {"train": ("train", ""), "test": (*_VALIDATION, "")}
_RELEASES = (400, 600, 700)


def load(
    *,
    root: Annotated[str, Option("folder of the clips")],
    annotations: Annotated[str, Option("folder of train.csv and val.csv, or one file of both")],
    allow_missing: AllowMissing = False,
    validation: Validation = 0.1,
) -> Source:
    """Returns Kinetics, tested on its official validation list; validation is carved out of the training list.

    A clip is `ID_START_END.mp4` (times in seconds with six digits, as the official archives name it; or another
    video suffix) in one of these folders: `root/PART/CLASS/`, `root/PART/`, `root/CLASS/`, `root/`, where PART is
    train for the training list and val, validate or validation for the other, and CLASS is the label with spaces or
    with underscores.

    Args:
      root: the folder of the clips.
      annotations: folder of train.csv and val.csv (or validate.csv), or one CSV file with the rows of both; columns
        label, youtube_id, time_start, time_end, and split where it is one file. test.csv is not used.
      allow_missing: skip listed clips that are missing. Classes without any clip are then dropped, and the remaining
        labels are renumbered.
      validation: fraction of each class's training videos that becomes the validation part: all clips of a YouTube
        video, at least one video per class, the same ones on every machine.

    Returns:
      The source; classes in alphabetical order, as the official ones; a horizontal flip leaves them as they are. A
      group is a YouTube video. Training clips of a video that is tested, too, are left out, and `notes` says so.

    Raises:
      ConfigError: if `validation` is out of range.
      DataError: if a folder, a list or a clip is missing, a list does not fit (with the number of the line), or a
        part is empty.
    """
    check_fractions("kinetics", validation)
    folder, lists = existing_folder("kinetics", "root", root), Path(os.path.expanduser(annotations))
    finder = _ClipLocator(folder)
    listed: dict[str, list[ListedClip]] = {"train": [], "test": []}
    lines: dict[tuple[str, str], str] = {}
    for part, path, row in _rows(lists):
        clip = _clip(path, row, part, finder)
        here = f"{path}:{row.line}"
        there = lines.setdefault((part, clip.id), here)
        if there != here:
            raise DuplicateError(f"{here}: {clip.id} is already in {there}")
        listed[part].append(clip)
    for part, name in (("train", "training"), ("test", "validation")):
        if not listed[part]:
            raise EmptyPartError(f"kinetics: {lists} lists no {name} clip")
    classes = sorted({clip.class_name for clips in listed.values() for clip in clips})
    return build_listed_source(
        f"kinetics{len(classes)}" if len(classes) in _RELEASES else "kinetics",
        "official validation list",
        classes,
        listed,
        root=folder,
        validation=validation,
        allow_missing=allow_missing,
        mirror="invariant",
        drop_overlap=True,
    )


def _rows(lists: Path) -> Iterator[tuple[str, Path, CsvRow]]:
    """Yields the part, file and row of each clip of the training and the validation list."""
    if not os.path.isdir(lists):
        for row in read_table(lists, (*_COLUMNS, "split")):
            part = _part(lists, row)
            if part is not None:
                yield part, lists, row
        return
    candidates = [lists / f"{name}.csv" for name in _VALIDATION]
    found = [path for path in candidates if path.is_file()]
    if len(found) != 1:
        named = f"kinetics: annotations {lists}"
        if not found:
            raise MissingFileError(f"{named} has neither val.csv nor validate.csv")
        raise DataError(f"{named} has both {found[0].name} and {found[1].name}; keep one")
    for part, path in (("train", lists / "train.csv"), ("test", found[0])):
        for row in read_table(path, _COLUMNS):
            if "split" in row.fields and _part(path, row) != part:
                raise DataError(f"{path}:{row.line}: split {row.fields['split']!r} does not belong in {path.name}")
            yield part, path, row


def _part(path: Path, row: CsvRow) -> str | None:
    """The part that a row's split stands for; None for the test list."""
    split = row.fields["split"]
    parts = {"train": "train", **dict.fromkeys(_VALIDATION, "test"), "test": None}
    if split not in parts:
        raise DataError(f"{path}:{row.line}: split {split[:80]!r} is not one of {', '.join(parts)}")
    return parts[split]


def _clip(path: Path, row: CsvRow, part: str, finder: "_ClipLocator") -> ListedClip:
    label, video = row.fields["label"], row.fields["youtube_id"]
    if not label or "/" in label or "\0" in label or label in (".", ".."):
        raise DataError(f"{path}:{row.line}: label {label[:80]!r} is not a class name")
    if not re.fullmatch(r"[\w-]+", video, re.ASCII):
        raise DataError(f"{path}:{row.line}: {video[:80]!r} is not a youtube_id")
    start, end = (_seconds(path, row, column) for column in ("time_start", "time_end"))
    name = f"{video}_{start:06d}_{end:06d}"
    found = finder.find(part, label, name)
    place = found or finder.root / label / f"{name}.mp4"
    return ListedClip(f"{label}/{name}", place, label, video, found is not None)


def _seconds(path: Path, row: CsvRow, column: str) -> int:
    text = row.fields[column]
    if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]*)?", text):
        raise DataError(f"{path}:{row.line}: {column} {text[:80]!r} is not a number of seconds")
    return int(float(text))


class _ClipLocator:
    """Finds clips in their possible folders, each of which is listed once."""

    def __init__(self, root: Path):
        self.root = root
        self._videos: dict[Path, dict[str, str]] = {}

    def find(self, part: str, label: str, name: str) -> Path | None:
        """Returns the file with that name, without suffix, or None."""
        for outer in _FOLDERS[part]:
            for inner in (label, label.replace(" ", "_"), ""):
                folder = self.root / outer / inner
                if name in self._listing(folder):
                    return folder / self._listing(folder)[name]
        return None

    def _listing(self, folder: Path) -> dict[str, str]:
        """Name without suffix -> file name of the videos in a folder; of several suffixes the last."""
        if folder not in self._videos:
            try:
                with os.scandir(folder) as entries:
                    names = sorted(entry.name for entry in entries if entry.is_file())
            except (FileNotFoundError, NotADirectoryError):
                names = []
            except OSError as error:
                raise DataError(f"kinetics: {folder} cannot be listed: {error.strerror}") from error
            pairs = [os.path.splitext(name) for name in names]
            self._videos[folder] = {stem: stem + suffix for stem, suffix in pairs if suffix.lower() in VIDEO_SUFFIXES}
        return self._videos[folder]

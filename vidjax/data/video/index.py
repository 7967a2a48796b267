"""The index of inspected video files: a table per folder in the user's cache, so that each file is inspected once.

Its key is the path of a file, with its size and the time of its last change.
"""

import csv
import dataclasses
import hashlib
import io
import logging
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from vidjax.data.video.file import as_file
from vidjax.data.video.inspection import VERSION, FileRecord
from vidjax.data.video.inspection_workers import inspect_in_subprocesses
from vidjax.errors import VideoError
from vidjax.system import files, processors
from vidjax.system.paths import cache_dir

logger = logging.getLogger(__name__)

_SAVE_SECONDS = 30.0
csv.field_size_limit(2**31 - 1)  # the seek table of a long video is a long text
_COLUMNS = tuple(field.name for field in dataclasses.fields(FileRecord))
_TYPES = {field.name: field.type for field in dataclasses.fields(FileRecord)}

# Wraps the records, given how many there will be, to show progress.
Progress = Callable[[Iterable[FileRecord], int], Iterable[FileRecord]]


def inspect_files(
    paths: Sequence[str], *, jobs: int | None = None, progress: Progress = lambda records, total: records
) -> dict[str, FileRecord]:
    """The record of each file; files that are new or have changed are inspected.

    Args:
      paths: of the files.
      jobs: number of child processes; None: one per core.
      progress: wraps the inspection, if there is anything to inspect.

    Returns:
      Path -> record.
    """
    tables = _Tables()
    found: dict[str, FileRecord] = {}
    waiting = []
    for path in dict.fromkeys(paths):
        record = tables.look_up(path)
        if record is None:
            waiting.append(path)
        else:
            found[path] = record
    if not waiting:
        return found
    jobs = jobs or processors.available()
    try:
        for record in progress(inspect_in_subprocesses(waiting, jobs), len(waiting)):
            found[record.path] = record
            tables.add(record)
    finally:
        tables.save()
    return found


def write_csv(path: Path, records: Iterable[FileRecord]) -> None:
    """Writes records as a table with a header, atomically."""
    files.write_bytes(path, _to_csv(records))


def read_csv(path: Path) -> list[FileRecord]:
    """Reads what `write_csv` wrote."""
    text = path.read_bytes().decode("utf-8", "surrogateescape")
    return [_from_row(row) for row in csv.DictReader(io.StringIO(text, newline=""))]


class _Tables:
    """The tables of the folders that were asked about."""

    def __init__(self) -> None:
        self._root = cache_dir() / "index"
        self._known: dict[str, dict[str, FileRecord]] = {}
        self._new: dict[str, dict[str, FileRecord]] = defaultdict(dict)
        self._saved = time.monotonic()

    def look_up(self, path: str) -> FileRecord | None:
        """The record of a file as it is now; None if there is none."""
        folder, name = _place(path)
        if folder not in self._known:
            self._known[folder] = {record.path: record for record in self._read(folder)}
        record = self._known[folder].get(name)
        if record is None or record.version != VERSION:
            return None
        try:
            now = as_file(path).load().signature()
        except (VideoError, OSError):
            return None
        return dataclasses.replace(record, path=path) if (record.size, record.mtime_ns) == now else None

    def add(self, record: FileRecord) -> None:
        """Adds a record, unless it is of no file or may be the machine's fault."""
        if not record.size or not record.lasting:
            return
        folder, name = _place(record.path)
        self._new[folder][name] = dataclasses.replace(record, path=name)
        if time.monotonic() - self._saved > _SAVE_SECONDS:
            self.save()

    def save(self) -> None:
        """Writes the new records; those that other processes have written meanwhile are kept."""
        try:
            for folder, records in self._new.items():
                with files.locked(self._root / ".lock"):
                    table = {**{record.path: record for record in self._read(folder)}, **records}
                    files.write_bytes(self._file(folder), _to_csv(table[name] for name in sorted(table)))
        except OSError as error:  # what is not saved is inspected again the next time
            logger.warning("cannot write the index of videos to %s: %s", self._root, error.strerror)
        self._new.clear()
        self._saved = time.monotonic()

    def _file(self, folder: str) -> Path:
        return self._root / f"{hashlib.sha256(os.fsencode(folder)).hexdigest()[:24]}.csv"

    def _read(self, folder: str) -> list[FileRecord]:
        try:
            return read_csv(self._file(folder))
        except (OSError, ValueError, KeyError, TypeError, csv.Error):
            return []  # missing, or not what `save` wrote: inspected anew


def _place(path: str) -> tuple[str, str]:
    """The folder of a file, with links resolved, and its name."""
    folder, name = os.path.split(os.path.abspath(path))
    return os.path.realpath(folder), name


def _to_csv(records: Iterable[FileRecord]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(_COLUMNS)
    for record in records:
        writer.writerow("" if value is None else value for value in dataclasses.astuple(record))
    return text.getvalue().encode("utf-8", "surrogateescape")


def _from_row(row: dict[str, str]) -> FileRecord:
    def read(name: str) -> Any:
        text, kind = row[name], _TYPES[name]
        if kind in (int, float):
            return kind(text)
        if kind is bool:
            return text == "True"
        if kind in (int | None, float | None):
            return (int if kind == int | None else float)(text) if text else None
        return text

    return FileRecord(**{name: read(name) for name in _COLUMNS})

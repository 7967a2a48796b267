"""What is known of video files, so that each is inspected once: a table for each folder in the user's cache.

A file is known by its path, its size and the time of its last change.
"""

import csv
import dataclasses
import hashlib
import io
import itertools
import logging
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from vidjax import files
from vidjax.data import arrays
from vidjax.data.guard import guarded
from vidjax.data.inputs import Input
from vidjax.data.inspection import VERSION, FileRecord
from vidjax.data.opening import identity
from vidjax.data.records import Source, Stream, Video, VideoInfo
from vidjax.errors import DataError, VideoError
from vidjax.paths import cache_dir

logger = logging.getLogger(__name__)

_SAVE_SECONDS = 30.0
_LENGTH_SHARE = 0.05  # of the frames, by which a stream may be shorter than another, beside one frame
_RATIO_SHARE = 0.05  # by which aspect ratios may differ, as rounded sizes do
csv.field_size_limit(2**31 - 1)  # the times of the frames of a long video are a long text
_COLUMNS = tuple(field.name for field in dataclasses.fields(FileRecord))
_TYPES = {field.name: field.type for field in dataclasses.fields(FileRecord)}

# Wraps the records that come, given how many there will be; shows how far the inspection is.
Progress = Callable[[Iterable[FileRecord], int], Iterable[FileRecord]]


def known(
    paths: Sequence[str], *, jobs: int | None = None, progress: Progress = lambda records, total: records
) -> dict[str, FileRecord]:
    """The record of each file; files that are not known, or have changed, are inspected.

    Args:
      paths: of the files.
      jobs: child processes that inspect; None: one for each core.
      progress: wraps the inspection, where anything is to be inspected.

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
    jobs = jobs or len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else jobs or os.cpu_count() or 1
    try:
        for record in progress(guarded(waiting, jobs), len(waiting)):
            found[record.path] = record
            tables.add(record)
    finally:
        tables.save()
    return found


def indexed(
    source: Source,
    parts: Sequence[str] = ("train", "validation", "test"),
    *,
    progress: Progress = lambda records, total: records,
    certain: bool = False,
) -> Source:
    """The source with what is known of its files: `info` and `refused` of each stream.

    Of arrays the header is read. What is in memory or packed, and videos of which the source itself knows that seeking
    is exact, stay as they are.

    Args:
      source: its videos.
      parts: of the source that are going to be read.
      progress: as in `known`.
      certain: raise where a video could not be inspected, though that may be the machine's fault.

    Raises:
      DataError: in the case of `certain`.
    """
    input_of = {input.stream_name: input for input in source.inputs}
    asked = [
        stream.path
        for part in parts
        for video in getattr(source, part)
        for name, stream in video.streams.items()
        if name in input_of and input_of[name].reader == "video" and _is_asked(stream)
    ]
    records = known(asked, progress=progress)

    def with_info(video: Video) -> Video:
        streams = {
            name: _with_info(stream, input_of[name], records) if name in input_of and _is_asked(stream) else stream
            for name, stream in video.streams.items()
        }
        return dataclasses.replace(video, streams=streams)

    with_infos: dict[str, Any] = {}
    with ThreadPoolExecutor() as pool:  # headers of arrays are read in it
        for part in ("train", "validation", "test"):
            videos = getattr(source, part)
            with_infos[part] = tuple(pool.map(with_info, videos) if part in parts else videos)

    shortened = [records[path] for path in asked if records[path].warning]
    notes = [*source.notes, *_disagreements(source.inputs, itertools.chain(*with_infos.values()))]
    uncertain = [records[path] for path in asked if _is_uncertain(records[path])]
    if uncertain:
        first = uncertain[0]
        if certain:
            raise DataError(f"{VideoError(first.path, first.reason)}; try again, repair or remove it")
        notes.append(
            f"{len(uncertain)} videos are taken for unreadable this time, for which the machine may be the cause, "
            f"e.g. {VideoError(first.path, first.reason)}"
        )
    if shortened:
        first = shortened[0]
        notes.append(f"{len(shortened)} videos are not whole, e.g. {first.path}: {first.warning}")
    return dataclasses.replace(
        source,
        **with_infos,
        notes=tuple(notes),
    )


def _disagreements(inputs: Sequence[Input], videos: Iterable[Video]) -> Iterator[str]:
    """Notes of streams that can hardly belong together: much shorter than another, or of another shape of picture."""
    images = {input.stream_name for input in inputs if input.space == "image"}
    lengths, shapes = [], []
    for video in videos if len(inputs) > 1 else ():
        known = {each.stream_name: video.streams[each.stream_name].info for each in inputs}
        infos = {name: info for name, info in known.items() if info is not None}
        counts = {name: info.frames for name, info in infos.items()}
        if counts and max(counts.values()) - min(counts.values()) > max(1, _LENGTH_SHARE * max(counts.values())):
            lengths.append(f"{video.id}: {', '.join(f'{name} {count} frames' for name, count in counts.items())}")
        sizes = {name: (info.height, info.width) for name, info in infos.items() if name in images}
        ratios = [width / height for height, width in sizes.values()]
        if ratios and max(ratios) > min(ratios) * (1 + _RATIO_SHARE):
            shapes.append(f"{video.id}: {', '.join(f'{name} {h}x{w}' for name, (h, w) in sizes.items())}")
    if lengths:
        yield f"{len(lengths)} videos are cut to the shortest of streams of different lengths, e.g. {lengths[0]}"
    if shapes:
        yield f"{len(shapes)} videos have pictures of different aspect ratios, e.g. {shapes[0]}"


def _with_info(stream: Stream, input: Input, records: Mapping[str, FileRecord]) -> Stream:
    if input.reader == "array":
        try:
            return dataclasses.replace(stream, info=arrays.probe(stream.path, input))
        except VideoError as error:
            return dataclasses.replace(stream, refused=error.reason)
    record = records.get(stream.path)
    if record is None:  # of a part that is not going to be read
        return stream
    if record.verdict == "refused":
        return dataclasses.replace(stream, refused=record.reason)
    identity_then = (record.size, record.mtime_ns)
    info = VideoInfo(record.frames, record.fps, record.height, record.width, record.table, identity_then)
    return dataclasses.replace(stream, info=info)


def _is_uncertain(record: FileRecord) -> bool:
    return record.verdict == "refused" and not record.lasting


def _is_asked(stream: Stream) -> bool:
    known = stream.exact_seek or stream.packed is not None or stream.refused is not None
    return stream.frames is None and not known


def write_csv(path: Path, records: Iterable[FileRecord]) -> None:
    """Writes records as a table with a header, whole or not at all."""
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
        """The record of a file as it is now; None where there is none."""
        folder, name = _place(path)
        if folder not in self._known:
            self._known[folder] = {record.path: record for record in self._read(folder)}
        record = self._known[folder].get(name)
        if record is None or record.version != VERSION:
            return None
        try:
            now = identity(path)
        except (VideoError, OSError):
            return None
        return dataclasses.replace(record, path=path) if (record.size, record.mtime_ns) == now else None

    def add(self, record: FileRecord) -> None:
        """Remembers a record; what is no file is found out anew each time."""
        if not record.size or not record.lasting:
            return
        folder, name = _place(record.path)
        self._new[folder][name] = dataclasses.replace(record, path=name)
        if time.monotonic() - self._saved > _SAVE_SECONDS:
            self.save()

    def save(self) -> None:
        """Writes what is new beside what others have written meanwhile."""
        try:
            for folder, records in self._new.items():
                with files.locked(self._root / ".lock"):
                    table = {**{record.path: record for record in self._read(folder)}, **records}
                    files.write_bytes(self._file(folder), _to_csv(table[name] for name in sorted(table)))
        except OSError as error:  # what is not kept is found out again the next time
            logger.warning("what is known of the videos cannot be kept in %s: %s", self._root, error.strerror)
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
    """The folder of a file, whatever link leads there, and its name."""
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

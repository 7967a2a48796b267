"""Adds lengths, sizes and seek tables of the files to the streams of a source."""

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from vidjax.data import arrays
from vidjax.data.inputs import Input
from vidjax.data.records import Source, Stream, Video
from vidjax.data.video.index import Progress, inspect_files
from vidjax.data.video.info import VideoInfo
from vidjax.data.video.inspection import FileRecord
from vidjax.errors import DataError, VideoError

_LENGTH_TOLERANCE = 0.05  # fraction of its frames by which a stream may be shorter than another; at least one
_ASPECT_TOLERANCE = 0.05  # by which aspect ratios may differ, as rounded sizes do


def with_file_info(
    source: Source,
    parts: Sequence[str] = ("train", "validation", "test"),
    *,
    progress: Progress = lambda records, total: records,
    certain: bool = False,
) -> Source:
    """The source with `info` and `refused` of each stream, by an inspection of its files.

    Arrays have their headers read. Streams that are in memory or packed, and videos for which the source states that
    seeking is exact, are unchanged.

    Args:
      source: with files.
      parts: those that are going to be read.
      progress: as in `inspect_files`.
      certain: raise if a video could not be inspected, possibly because of this machine.

    Raises:
      DataError: in the case of `certain`.
    """
    spec_of = {spec.stream_name: spec for spec in source.inputs}
    paths = [
        stream.path
        for part in parts
        for video in getattr(source, part)
        for name, stream in video.streams.items()
        if name in spec_of and spec_of[name].reader == "video" and _is_uninspected(stream)
    ]
    records = inspect_files(paths, progress=progress)

    def with_info(video: Video) -> Video:
        streams = {
            name: _with_info(stream, spec_of[name], records) if name in spec_of and _is_uninspected(stream) else stream
            for name, stream in video.streams.items()
        }
        return dataclasses.replace(video, streams=streams)

    with_infos: dict[str, Any] = {}
    with ThreadPoolExecutor() as pool:  # headers of arrays are read in it
        for part in ("train", "validation", "test"):
            videos = getattr(source, part)
            with_infos[part] = tuple(pool.map(with_info, videos) if part in parts else videos)

    shortened = [records[path] for path in paths if records[path].warning]
    notes = [*source.notes, *_stream_mismatches(source.inputs, itertools.chain(*with_infos.values()))]
    uncertain = [records[path] for path in paths if _is_uncertain(records[path])]
    if uncertain:
        first = uncertain[0]
        if certain:
            raise DataError(f"{VideoError(first.path, first.reason)}; try again, repair or remove it")
        notes.append(
            f"{len(uncertain)} videos could not be read, possibly because of this machine, "
            f"e.g. {VideoError(first.path, first.reason)}"
        )
    if shortened:
        first = shortened[0]
        notes.append(f"{len(shortened)} videos are damaged or cut short, e.g. {first.path}: {first.warning}")
    return dataclasses.replace(
        source,
        **with_infos,
        notes=tuple(notes),
    )


def _stream_mismatches(inputs: Sequence[Input], videos: Iterable[Video]) -> Iterator[str]:
    """Notes on streams that hardly belong together: much shorter than another, or of another aspect ratio."""
    images = {spec.stream_name for spec in inputs if spec.space == "image"}
    lengths, shapes = [], []
    for video in videos if len(inputs) > 1 else ():
        known = {each.stream_name: video.streams[each.stream_name].info for each in inputs}
        infos = {name: info for name, info in known.items() if info is not None}
        counts = {name: info.frames for name, info in infos.items()}
        if counts and max(counts.values()) - min(counts.values()) > max(1, _LENGTH_TOLERANCE * max(counts.values())):
            lengths.append(f"{video.id}: {', '.join(f'{name} {count} frames' for name, count in counts.items())}")
        sizes = {name: (info.height, info.width) for name, info in infos.items() if name in images}
        ratios = [width / height for height, width in sizes.values()]
        if ratios and max(ratios) > min(ratios) * (1 + _ASPECT_TOLERANCE):
            shapes.append(f"{video.id}: {', '.join(f'{name} {h}x{w}' for name, (h, w) in sizes.items())}")
    if lengths:
        yield f"{len(lengths)} videos are as long as the shortest of their streams, e.g. {lengths[0]}"
    if shapes:
        yield f"{len(shapes)} videos have streams of different aspect ratios, e.g. {shapes[0]}"


def _with_info(stream: Stream, spec: Input, records: Mapping[str, FileRecord]) -> Stream:
    if spec.reader == "array":
        try:
            return dataclasses.replace(stream, info=arrays.probe(stream.file, spec))
        except VideoError as error:
            return dataclasses.replace(stream, refused=error.reason)
    record = records.get(stream.path)
    if record is None:  # of a part that is not going to be read
        return stream
    if record.verdict == "refused":
        return dataclasses.replace(stream, refused=record.reason)
    signature = (record.size, record.mtime_ns)
    info = VideoInfo(record.frames, record.fps, record.height, record.width, record.table, signature)
    return dataclasses.replace(stream, info=info)


def _is_uncertain(record: FileRecord) -> bool:
    return record.verdict == "refused" and not record.lasting


def _is_uninspected(stream: Stream) -> bool:
    return stream.is_on_disk and not stream.exact_seek and stream.refused is None

"""Sources with what is known of their files: lengths, sizes and seek tables of every stream."""

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

_LENGTH_TOLERANCE = 0.05  # of the frames, by which a stream may be shorter than another, beside one frame
_ASPECT_TOLERANCE = 0.05  # by which aspect ratios may differ, as rounded sizes do


def with_file_info(
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
    spec_of = {spec.stream_name: spec for spec in source.inputs}
    asked = [
        stream.path
        for part in parts
        for video in getattr(source, part)
        for name, stream in video.streams.items()
        if name in spec_of and spec_of[name].reader == "video" and _is_asked(stream)
    ]
    records = inspect_files(asked, progress=progress)

    def with_info(video: Video) -> Video:
        streams = {
            name: _with_info(stream, spec_of[name], records) if name in spec_of and _is_asked(stream) else stream
            for name, stream in video.streams.items()
        }
        return dataclasses.replace(video, streams=streams)

    with_infos: dict[str, Any] = {}
    with ThreadPoolExecutor() as pool:  # headers of arrays are read in it
        for part in ("train", "validation", "test"):
            videos = getattr(source, part)
            with_infos[part] = tuple(pool.map(with_info, videos) if part in parts else videos)

    shortened = [records[path] for path in asked if records[path].warning]
    notes = [*source.notes, *_stream_mismatches(source.inputs, itertools.chain(*with_infos.values()))]
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


def _stream_mismatches(inputs: Sequence[Input], videos: Iterable[Video]) -> Iterator[str]:
    """Notes of streams that can hardly belong together: much shorter than another, or of another shape of picture."""
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
        yield f"{len(lengths)} videos are cut to the shortest of streams of different lengths, e.g. {lengths[0]}"
    if shapes:
        yield f"{len(shapes)} videos have pictures of different aspect ratios, e.g. {shapes[0]}"


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


def _is_asked(stream: Stream) -> bool:
    return stream.is_on_disk and not stream.exact_seek and stream.refused is None

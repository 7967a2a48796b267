"""Packs a data set into ArrayRecord shards; `vidjax.data.packed.records` describes their format."""

import contextlib
import dataclasses
import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from vidjax.data import indexing
from vidjax.data.inputs import RGB
from vidjax.data.packed.frames import CODEC, resized_frames
from vidjax.data.packed.records import (
    DATASET,
    FORMAT_OF_FRAMES,
    FORMAT_OF_RGB,
    FORMAT_OF_STREAMS,
    content_of,
    digest_of,
    encoded,
    to_record,
)
from vidjax.data.records import Source, Stream, Video
from vidjax.data.video import index
from vidjax.data.video.conversion import short_side_size
from vidjax.data.video.opening import open_video
from vidjax.errors import ConfigError, DataError, InUseError, VideoError

_PARTS = ("train", "validation", "test")
_VIDEO = ["id", "label", "group"]
_STREAM = ["name", "refused", "shard", "number", "size", "digest", "frames", "fps", "height", "width"]
_OPTIONS = "group_size:1,uncompressed"  # each record on its own; videos are compressed already


@dataclasses.dataclass
class PackedPart:
    """What was packed of a part: number of videos, shards and bytes; why others were refused."""

    videos: int = 0
    shards: int = 0
    bytes: int = 0
    refused: dict[str, str] = dataclasses.field(default_factory=dict)


def pack(
    source: Source,
    folder: Path,
    *,
    short_side: int | None = None,
    shard_bytes: int = 512_000_000,
    inspect_progress: index.Progress = lambda records, total: records,
    pack_progress: Callable[[Iterable[Video], int], Iterable[Video]] = lambda videos, total: videos,
) -> dict[str, PackedPart]:
    """Packs all videos of a source, in its order; the folder appears when it is complete.

    Of each video the streams of `Source.inputs` are packed, each as its own record. Videos that cannot be read are
    listed with the reason, so that training and evaluation treat them as they do on the files.

    Args:
      source: of files.
      folder: is created; must not exist, or be empty.
      short_side: frames are resized to this shorter side, in pixels, and stored one by one, without loss; None stores
        the files as they are.
      shard_bytes: a shard is closed when it has reached this size.
      inspect_progress, pack_progress: wrap the records and the videos, given how many there are, to show progress.

    Returns:
      Part -> what was packed of it.

    Raises:
      ConfigError: if the videos are in memory or packed already, the folder is not empty, or there is more to resize
        than RGB videos.
      InUseError: if another process is packing into it.
      DataError: if a file could not be inspected or changes meanwhile, or nothing can be written.
    """
    parts = {part: tuple(getattr(source, part)) for part in _PARTS}
    streams = [stream for videos in parts.values() for video in videos for stream in video.streams.values()]
    if not all(stream.is_on_disk for stream in streams):
        raise ConfigError(f"pack: the videos of {source.name} are no files: they are packed already, or in memory")
    is_rgb = source.inputs == (RGB,)
    if short_side is not None and not is_rgb:
        names = ", ".join(spec.name for spec in source.inputs)
        raise ConfigError(f"pack: only RGB videos are resized, and {source.name} has {names}: leave --short-side out")
    folder = Path(os.path.realpath(folder))
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"pack: {folder} exists and is not an empty folder")
    if os.path.ismount(folder):
        raise ConfigError(f"pack: {folder} is a mount point, which nothing can be renamed to: name a folder in it")
    # Every file is inspected, even if the source states that seeking is exact: packed, it is read by its table.
    asked: dict[str, Any] = {}
    for part, videos in parts.items():
        asked[part] = tuple(map(_without_info, videos))
    source = indexing.with_file_info(dataclasses.replace(source, **asked), progress=inspect_progress, certain=True)
    todo = [(part, video) for part in _PARTS for video in getattr(source, part)]
    done = {part: PackedPart() for part in _PARTS}
    rows: dict[str, list[list[Any]]] = {part: [] for part in _PARTS}
    try:
        with _unfinished(folder) as unfinished, contextlib.ExitStack() as closing:
            shards = {part: _Shards(unfinished, part, shard_bytes) for part in _PARTS}
            for each in shards.values():
                closing.callback(each.close)
            for (part, _), video in zip(todo, pack_progress((video for _, video in todo), len(todo)), strict=True):
                packed = _pack_video(video, part, source, shards[part], short_side)
                done[part].bytes += sum(row.get("stored", 0) for row in packed.values())
                refused = {name: row["refused"] for name, row in packed.items() if row.get("refused")}
                for name, reason in refused.items():
                    done[part].refused.setdefault(video.id, reason if len(packed) == 1 else f"{name}: {reason}")
                done[part].videos += not refused
                of_streams = {name: [row.get(column) for column in _STREAM] for name, row in packed.items()}
                about_video = [getattr(video, column) for column in _VIDEO]
                rows[part].append(about_video + (of_streams["rgb"] if is_rgb else [of_streams]))
            for part in _PARTS:
                shards[part].close()
                done[part].shards = shards[part].count
            about = {key: getattr(source, key) for key in ("name", "split", "classes", "mirror")}
            about |= {"absent": source.num_missing_clips, "notes": source.notes}
            if is_rgb:
                form: dict[str, Any] = {"format": FORMAT_OF_RGB}
                if short_side is not None:
                    form = {"format": FORMAT_OF_FRAMES, "short_side": short_side, "codec": CODEC, "lossless": True}
                listed = {**form, **about, "columns": [*_VIDEO, *_STREAM], **rows}
            else:
                about |= {"inputs": [spec.to_json() for spec in source.inputs], "stream_columns": _STREAM}
                listed = {"format": FORMAT_OF_STREAMS, **about, "columns": [*_VIDEO, "streams"], **rows}
            content = json.dumps(listed).encode()
            with _writer(unfinished / DATASET) as write:
                write(content)
    except OSError as error:
        raise DataError(f"pack: {folder} cannot be written: {error.strerror or error}") from error
    return done


def _without_info(video: Video) -> Video:
    """The video, so that all of its files are inspected."""
    streams = {name: dataclasses.replace(stream, exact_seek=False) for name, stream in video.streams.items()}
    return dataclasses.replace(video, streams=streams)


def _pack_video(
    video: Video, part: str, source: Source, shards: "_Shards", short_side: int | None
) -> dict[str, dict[str, Any]]:
    """Packs the streams of a video; returns, of each, its row of the list."""
    readers = {spec.stream_name: spec.reader for spec in source.inputs}
    about: dict[str, Any] = {column: getattr(video, column) for column in _VIDEO}
    extra = {"class": source.classes[video.label], "part": part}
    rows = {}
    for name, reader in readers.items():
        if source.inputs != (RGB,):
            extra["stream"] = name
        rows[name] = _pack_stream(video.streams[name], about, extra, reader == "video", shards, short_side)
    return rows


def _pack_stream(
    stream: Stream,
    about: dict[str, Any],
    extra: dict[str, Any],
    is_decoded: bool,
    shards: "_Shards",
    short_side: int | None,
) -> dict[str, Any]:
    """Packs a stream, unless it is refused; returns its row of the list.

    Args:
      stream: of a video.
      about: the video.
      extra: further fields of the record's header.
      is_decoded: whether it is a video, and no array.
      shards: to which it is written.
      short_side: of its frames, as in `pack`.
    """
    row: dict[str, Any] = {"name": os.path.basename(stream.path)}
    if stream.refused is not None:
        return {**row, "refused": stream.refused}
    assert stream.info is not None
    file, table, info = stream.file.load(), stream.info.table, stream.info
    content = content_of(file)
    if file.signature() != info.signature:
        raise DataError(f"pack: {stream.path} has changed since it was inspected; give the command again")
    full = {**row, "size": sum(len(each) for _, each in content)}
    full |= {"digest": digest_of(content), "frames": info.frames, "fps": info.fps}
    if short_side is not None:
        return _pack_frames(stream, full, {**about, **extra}, shards, short_side)
    full |= {"height": info.height, "width": info.width}
    header = {**about, **full, **extra, "seek": table.text if table else ""}
    record = to_record({**header, "is_folder": file.is_folder()}, content)
    if is_decoded and table is None:  # it has no verified index: a damaged file may show other frames from memory
        shown = _frames_of(record)
        if shown != info.frames:
            why = f"shows {shown} frames when it is read from memory, {info.frames} from its file"
            return {**row, "refused": f"{why}: write it anew (ffmpeg -i OLD NEW) and pack again"}
    shard, number = shards.write([record])
    return {**full, "shard": shard, "number": number, "stored": full["size"]}


def _pack_frames(
    stream: Stream, row: dict[str, Any], header: dict[str, Any], shards: "_Shards", short_side: int
) -> dict[str, Any]:
    """Packs each frame of a stream as a record; returns its row of the list."""
    info, count, stored = stream.info, 0, 0
    assert info is not None
    height, width = short_side_size(info.height, info.width, short_side)
    full = {**row, "height": height, "width": width}

    def records() -> Iterator[bytes]:
        nonlocal count, stored
        for image in resized_frames(stream.file.load(), short_side):
            name = f"{count:06d}.{CODEC}"
            yield to_record({**header, **full, "frame": count, "is_folder": True}, [(name, image)])
            count, stored = count + 1, stored + len(image)

    shard, number = shards.write(records())
    if count != info.frames or stream.file.load().signature() != info.signature:
        raise DataError(f"pack: {stream.path} has changed since it was inspected; give the command again")
    return {**full, "shard": shard, "number": number, "stored": stored}


def _frames_of(record: bytes) -> int:
    try:
        with open_video(encoded(record)) as walk:
            return sum(1 for _ in walk)
    except VideoError:
        return 0


class _Shards:
    """The shards of a part, one after the other.

    Attributes:
      count: of shards so far.
    """

    def __init__(self, folder: Path, part: str, shard_bytes: int):
        self.count = 0
        self._folder, self._part, self._limit = folder, part, shard_bytes
        self._shard = contextlib.ExitStack()
        self._name = ""
        self._write: Callable[[bytes], None] | None = None
        self._bytes = self._records = 0

    def write(self, records: Iterable[bytes]) -> tuple[str, int]:
        """Writes records into one shard; returns its name, and the number of the first of them in it."""
        if self._write is None:
            self._name = f"{self._part}-{self.count:05d}.arrayrecord"
            self._write = self._shard.enter_context(_writer(self._folder / self._name))
            self.count += 1
            self._bytes = self._records = 0
        name, first = self._name, self._records
        for record in records:
            self._write(record)
            self._bytes += len(record)
            self._records += 1
        if self._bytes >= self._limit:
            self.close()
        return name, first

    def close(self) -> None:
        """Ends the shard that is being written."""
        self._write = None
        self._shard.close()


@contextlib.contextmanager
def _writer(path: Path) -> Iterator[Callable[[bytes], None]]:
    """Writes records into a new ArrayRecord file; OSError where that fails."""
    from array_record.python.array_record_module import ArrayRecordWriter

    try:
        writer = ArrayRecordWriter(str(path), _OPTIONS)
        try:
            yield writer.write
        finally:
            writer.close()
    except RuntimeError as error:
        raise OSError(str(error).split(";")[0]) from error


@contextlib.contextmanager
def _unfinished(folder: Path) -> Iterator[Path]:
    """A temporary folder that is renamed to `folder` in the end; what a killed process left there is removed."""
    unfinished = folder.with_name(f".{folder.name}.vidjax-pack")
    unfinished.mkdir(parents=True, exist_ok=True)
    lock = os.open(unfinished, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        others = [left for left in unfinished.iterdir() if left.suffix != ".arrayrecord"]
        if others:
            raise ConfigError(f"pack: {unfinished} exists and holds other files ({others[0].name})")
        for left in unfinished.iterdir():
            left.unlink()
        try:
            yield unfinished
            unfinished.replace(folder)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
    except BlockingIOError as error:
        raise InUseError(f"pack: another process is packing into {folder}") from error
    finally:
        os.close(lock)

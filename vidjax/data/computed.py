"""Streams that are computed from the pictures of a video, once, and kept in the cache: optical flow and poses."""

import abc
import concurrent.futures
import contextlib
import dataclasses
import hashlib
import shutil
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import numpy as np

from vidjax.data import indexing
from vidjax.data.inputs import RGB, Input
from vidjax.data.records import Source, Stream, Video
from vidjax.data.video.info import VideoInfo
from vidjax.errors import DataError, OptionError, VideoError
from vidjax.system import files, paths, processors

_PARTS = ("train", "validation", "test")
Progress = Callable[[Iterable[Any], int], Iterable[Any]]


class Computation(abc.ABC):
    """What is computed of a video, and how.

    Attributes:
      NAME: of the stream, and of the option that asks for it.
      TITLE: of what is computed, in words.
      method: which of several ways, as the option names it.
    """

    NAME: ClassVar[str]
    TITLE: ClassVar[str]
    method: str

    @property
    @abc.abstractmethod
    def input(self) -> Input:
        """What the stream holds."""

    @property
    @abc.abstractmethod
    def identity(self) -> tuple[Any, ...]:
        """All that determines the numbers, but the video and the versions of libraries."""

    @abc.abstractmethod
    def record(self) -> dict[str, Any]:
        """What is written beside the files, for the reader; refuses where what it needs is missing.

        Raises:
          DataError: naming it, and how to get it.
        """

    @abc.abstractmethod
    def file_bytes(self, about: VideoInfo) -> int:
        """About how large the file of a video is."""

    @abc.abstractmethod
    def compute_file(self, stream: Stream, stopped: threading.Event) -> None:
        """Computes the file of a video, and writes it whole or not at all.

        Args:
          stream: of pictures.
          stopped: gives up once this is set.

        Raises:
          VideoError: if it has none, or cannot be read.
        """

    @property
    def folder(self) -> Path:
        """In the cache, named after `identity`."""
        digest = hashlib.sha256(repr(self.identity).encode()).hexdigest()[:12]
        return paths.cache_dir() / self.NAME / f"{self.method.replace(':', '.')}-{digest}"

    def path(self, stream: Stream) -> Path:
        """The file of a video; another one if the video's content, place or time of change is another.

        Raises:
          VideoError: if there is no such video.
        """
        key = repr(stream.file.cache_key()).encode("utf-8", "surrogateescape")
        return self.folder / f"{hashlib.sha256(key).hexdigest()[:32]}.npy"


@contextlib.contextmanager
def array_file(path: Path, shape: tuple[int, ...], dtype: str) -> Iterator[BinaryIO]:
    """A NumPy file, to which the values are written in order; it is there when the context ends without an error.

    Args:
      path: of the file; its folder is made.
      shape, dtype: of the array.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Machines that share the folder may compute the same video.
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}.partial")
    try:
        with partial.open("wb") as file:
            header = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            yield file
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


class StoppedError(Exception):
    """Raised within `array_file` to give up."""


def with_streams(source: Source, computation: Computation) -> Source:
    """The source with one stream more for every video; its file may still have to be computed.

    Args:
      source: with a stream `rgb` of files.
      computation: what is computed.

    Raises:
      OptionError: if the source has such a stream already, or no pictures in files.
    """
    name = computation.NAME
    if name in [spec.stream_name for spec in source.inputs]:
        raise OptionError(f"the videos of {source.name} have {name} already: leave {{{name}}} out (None)", [name])
    videos = [video for part in _PARTS for video in getattr(source, part)]
    if RGB not in source.inputs or any(video.streams[RGB.name].frames is not None for video in videos):
        raise OptionError(
            f"{{{name}}}={computation.method}: {name} is computed from rgb in files, and {source.name} has none", [name]
        )

    def add(video: Video) -> Video:
        rgb = video.streams[RGB.name]
        try:
            stream = Stream(str(computation.path(rgb)), refused=rgb.refused)
        except VideoError as error:
            stream = Stream(rgb.path, refused=error.reason)
        return dataclasses.replace(video, streams={**video.streams, name: stream})

    return _with_videos(source, add, inputs=(*source.inputs, computation.input))


def missing(source: Source, computation: Computation, parts: Sequence[str] = _PARTS) -> tuple[Video, ...]:
    """The videos of a source with streams of the computation whose file is not there."""
    name = computation.NAME
    videos = [video for part in parts for video in getattr(source, part)]
    return tuple(v for v in videos if v.refusal([RGB.name, name]) is None and not _is_computed(v.streams[name]))


def compute(
    source: Source,
    computation: Computation,
    videos: Sequence[Video],
    *,
    threads: int | None = None,
    inspect_progress: Progress = lambda records, total: records,
    progress: Progress = lambda videos, total: videos,
) -> Source:
    """Computes the files of videos, several at once.

    Args:
      source: with streams of it (`with_streams`).
      computation: what is computed.
      videos: of the source, those whose files are computed.
      threads: videos at once; None: as many as this process has cores. What is used releases the GIL.
      inspect_progress, progress: wrap what is inspected and computed, given how much there is, to show progress.

    Returns:
      The source, in which the stream of those videos that have none, or cannot be read, is refused with the reason.

    Raises:
      DataError: if something to install or download is missing, or there is too little room on the disk.
    """
    if not videos:
        return source
    record = computation.record()  # whether all is there, before the videos are inspected
    files.check_folder(computation.folder, f"the cache {paths.cache_dir()} ($VIDJAX_CACHE)")
    asked = Source(source.name, source.split, source.classes, (), (), tuple(videos))
    inspected = indexing.with_file_info(asked, progress=inspect_progress).test
    refused = {v.id: reason for v in inspected if (reason := v.streams[RGB.name].refused) is not None}
    todo = {v.id: v.streams[RGB.name] for v in inspected if v.id not in refused}
    _check_space(todo.values(), computation)
    files.write_json(computation.folder / "settings.json", record)
    refused |= _computed(todo, computation, threads or processors.available(), progress)

    def refuse(video: Video) -> Video:
        if video.id not in refused:
            return video
        stream = Stream(video.streams[RGB.name].path, refused=refused[video.id])
        return dataclasses.replace(video, streams={**video.streams, computation.NAME: stream})

    return _with_videos(source, refuse)


def _is_computed(stream: Stream) -> bool:
    return not stream.is_on_disk or Path(stream.path).exists()


def _check_space(streams: Iterable[Stream], computation: Computation) -> None:
    infos = [stream.info for stream in streams if stream.info is not None]
    wanted = sum(map(computation.file_bytes, infos))
    computation.folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(computation.folder).free
    if wanted > free:
        raise DataError(
            f"{computation.TITLE} of {len(infos)} videos takes {wanted / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free"
            f" at {paths.cache_dir()}: choose another folder ($VIDJAX_CACHE), or compute it of smaller frames"
        )


def _computed(todo: Mapping[str, Stream], computation: Computation, threads: int, progress: Progress) -> dict[str, str]:
    """Computes the files of these streams, by the ids of their videos; id -> reason of those that cannot be."""
    refused: dict[str, str] = {}
    stopped = threading.Event()
    # The longest videos first, so that none is waited for at the end.
    order = sorted(todo, key=lambda name: -_length(todo[name]))
    pool = concurrent.futures.ThreadPoolExecutor(threads)
    try:
        waiting = {pool.submit(computation.compute_file, todo[name], stopped): name for name in order}
        for future in progress(concurrent.futures.as_completed(waiting), len(waiting)):
            try:
                future.result()
            except VideoError as error:
                refused[waiting[future]] = error.reason
    finally:
        stopped.set()
        pool.shutdown(cancel_futures=True)
    return refused


def _length(stream: Stream) -> int:
    """Frames of a video, as far as that is known."""
    return stream.info.frames if stream.info is not None else 0


def _with_videos(source: Source, change: Callable[[Video], Video], **others: Any) -> Source:
    parts: dict[str, Any] = {part: tuple(map(change, getattr(source, part))) for part in _PARTS}
    return dataclasses.replace(source, **parts, **others)

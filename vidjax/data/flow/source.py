"""A data source with the flow of its videos: names the files, and computes those that are missing."""

import concurrent.futures
import dataclasses
import shutil
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vidjax.data import indexing
from vidjax.data.flow import fields, methods
from vidjax.data.flow.fields import FlowSettings
from vidjax.data.inputs import RGB
from vidjax.data.records import Source, Stream, Video
from vidjax.errors import DataError, OptionError, VideoError
from vidjax.system import files, paths, processors

_PARTS = ("train", "validation", "test")
Progress = Callable[[Iterable[Any], int], Iterable[Any]]


def with_streams(source: Source, settings: FlowSettings) -> Source:
    """The source with a stream `flow` for every video; its file may still have to be computed.

    Args:
      source: with a stream `rgb` of files.
      settings: how flow is computed.

    Raises:
      OptionError: if the source has flow already, or no pictures in files.
    """
    if fields.NAME in [spec.stream_name for spec in source.inputs]:
        raise OptionError(f"the videos of {source.name} have flow already: leave {{flow}} out (None)", ["flow"])
    videos = [video for part in _PARTS for video in getattr(source, part)]
    if RGB not in source.inputs or any(video.streams[RGB.name].frames is not None for video in videos):
        raise OptionError(
            f"{{flow}}={settings.method}: flow is computed from rgb in files, and {source.name} has none", ["flow"]
        )

    def add(video: Video) -> Video:
        rgb = video.streams[RGB.name]
        try:
            flow = Stream(str(settings.path(rgb)), refused=rgb.refused)
        except VideoError as error:
            flow = Stream(rgb.path, refused=error.reason)
        return dataclasses.replace(video, streams={**video.streams, fields.NAME: flow})

    return _with_videos(source, add, inputs=(*source.inputs, fields.INPUT))


def missing(source: Source, parts: Sequence[str] = _PARTS) -> tuple[Video, ...]:
    """The videos of a source with streams of flow whose file is not there."""
    videos = [video for part in parts for video in getattr(source, part)]
    return tuple(v for v in videos if v.refusal(v.streams) is None and not _is_computed(v))


def compute(
    source: Source,
    settings: FlowSettings,
    videos: Sequence[Video],
    *,
    threads: int | None = None,
    inspect_progress: Progress = lambda records, total: records,
    progress: Progress = lambda videos, total: videos,
) -> Source:
    """Computes the flow of videos, several at once.

    Args:
      source: with streams of flow (`with_streams`).
      settings: the same.
      videos: of the source, those whose flow is computed.
      threads: videos at once; None: as many as this process has cores. OpenCV and decoding run beside each other.
      inspect_progress, progress: wrap what is inspected and computed, given how much there is, to show progress.

    Returns:
      The source, in which the flow of those videos that have none, or cannot be read, is refused with the reason.

    Raises:
      DataError: if OpenCV is missing, or there is too little room on the disk.
    """
    if not videos:
        return source
    methods.METHODS[settings.method]()  # whether it is there, before the videos are inspected
    files.check_folder(settings.folder, f"the cache {paths.cache_dir()} ($VIDJAX_CACHE)")
    asked = Source(source.name, source.split, source.classes, (), (), tuple(videos))
    inspected = indexing.with_file_info(asked, progress=inspect_progress).test
    refused = {v.id: reason for v in inspected if (reason := v.streams[RGB.name].refused) is not None}
    todo = {v.id: v.streams[RGB.name] for v in inspected if v.id not in refused}
    _check_space(todo.values(), settings)
    files.write_json(settings.folder / "settings.json", dataclasses.asdict(settings) | {"opencv": methods.version()})
    refused |= _computed(todo, settings, threads or processors.available(), progress)

    def refuse(video: Video) -> Video:
        if video.id not in refused:
            return video
        flow = Stream(video.streams[RGB.name].path, refused=refused[video.id])
        return dataclasses.replace(video, streams={**video.streams, fields.NAME: flow})

    return _with_videos(source, refuse)


def _is_computed(video: Video) -> bool:
    flow = video.streams[fields.NAME]
    return not flow.is_on_disk or Path(flow.path).exists()


def _check_space(streams: Iterable[Stream], settings: FlowSettings) -> None:
    infos = [stream.info for stream in streams if stream.info is not None]
    wanted = sum(fields.file_bytes(info, settings) for info in infos)
    settings.folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(settings.folder).free
    if wanted > free:
        raise DataError(
            f"optical flow of {len(infos)} videos takes {wanted / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free at"
            f" {paths.cache_dir()}: choose another folder ($VIDJAX_CACHE), or compute it of smaller frames"
        )


def _computed(todo: Mapping[str, Stream], settings: FlowSettings, threads: int, progress: Progress) -> dict[str, str]:
    """Computes the files of these streams, by the ids of their videos; id -> reason of those that cannot be."""
    refused: dict[str, str] = {}
    stopped = threading.Event()
    # The longest videos first, so that none is waited for at the end.
    order = sorted(todo, key=lambda name: -fields.length_of(todo[name]))
    pool = concurrent.futures.ThreadPoolExecutor(threads)
    try:
        waiting = {pool.submit(fields.compute_file, todo[name], settings, stopped): name for name in order}
        for future in progress(concurrent.futures.as_completed(waiting), len(waiting)):
            try:
                future.result()
            except VideoError as error:
                refused[waiting[future]] = error.reason
    finally:
        stopped.set()
        pool.shutdown(cancel_futures=True)
    return refused


def _with_videos(source: Source, change: Callable[[Video], Video], **others: Any) -> Source:
    parts: dict[str, Any] = {part: tuple(map(change, getattr(source, part))) for part in _PARTS}
    return dataclasses.replace(source, **parts, **others)

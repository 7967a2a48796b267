"""The videos that a trained network is given: files, folders and lists, inspected before they are read."""

import csv
import functools
import logging
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

from vidjax.data import computed
from vidjax.data.inputs import RGB, Input
from vidjax.data.records import Source, Video
from vidjax.data.video import index
from vidjax.data.video.discovery import is_video_name, videos_below
from vidjax.data.video.info import VideoInfo
from vidjax.errors import ConfigError, DataError, VideoError, printable
from vidjax.inference.network import TrainedNetwork

logger = logging.getLogger(__name__)

_HEADERS = ("path", "video")
_SMALL_SHARE = 0.25  # of a frame, below which it is said that the network sees no more
Progress = Callable[[Iterable[Any], int], Iterable[Any]]


class TitledProgress(Protocol):
    """Wraps what is computed, given how much there is and its description."""

    def __call__(self, videos: Iterable[Any], total: int, description: str) -> Iterable[Any]: ...


def untracked(videos: Iterable[Any], total: int, description: str) -> Iterable[Any]:
    """Shows nothing."""
    return videos


def listed_videos(paths: Iterable[str]) -> list[str]:
    """The videos that are meant by paths, in order.

    Args:
      paths: each a video file, a folder of images, which is one video, a folder of videos, searched recursively, or a
        list NAME.csv: a column of paths, named `path` or `video` in its first line or else the first one; they start
        from the folder of the list. Columns are separated by "," or ";".

    Returns:
      Paths of files and of folders of images; what does not exist, or is an empty folder, is among them.

    Raises:
      DataError: if a list cannot be read, names no video, or has a first line that names columns, but none of these.
    """
    found: list[str] = []
    for path in paths:
        if path.lower().endswith(".csv") and not Path(path).is_dir():
            found += _of_list(Path(path))
        elif Path(path).is_dir():
            found += videos_below(Path(path))[0] or [path]
        else:
            found.append(path)
    return found


def _of_list(path: Path) -> list[str]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            lines = list(stream)
        separator = _separator(path, lines)
        rows = [[field.strip() for field in row] for row in csv.reader(lines, delimiter=separator, strict=True)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as a list of videos: {error}") from error
    rows = [row for row in rows if any(row)]
    names = [field.lower() for field in rows[0]] if rows else []
    column = next((names.index(header) for header in _HEADERS if header in names), None)
    if column is None and len(rows) > 1 and _names_columns(path, *rows[:2]):
        raise DataError(
            f"{path}: its first line names the columns {', '.join(rows[0])}, and none of them is"
            f" {' or '.join(_HEADERS)}: rename the one with the paths"
        )
    rows, column = (rows, 0) if column is None else (rows[1:], column)
    found = [str(path.parent / row[column]) for row in rows if len(row) > column and row[column]]
    if not found:
        raise DataError(f"{path}: names no video; give one path a line, or a column named {' or '.join(_HEADERS)}")
    return found


def _separator(path: Path, lines: Sequence[str]) -> str:
    """Of columns: "," unless the beginning of the list makes sense with ";" alone, which may be part of a name."""
    first, *others = [line.strip() for line in lines if line.strip()][:2] or [""]
    if ";" not in first or "," in first or _exists(path, first):
        return ","
    columns, *rows = ([field.strip() for field in row] for row in csv.reader([first, *others], delimiter=";"))
    is_known = any(field.lower() in _HEADERS for field in columns)
    return ";" if is_known or any(_exists(path, field) for row in (columns, *rows) for field in row) else ","


def _names_columns(path: Path, first: Sequence[str], second: Sequence[str]) -> bool:
    """Whether the first line is no video, which might only be missing, but the second one has a path."""
    return not any(is_video_name(Path(field)) or _exists(path, field) for field in first) and any(
        _exists(path, field) for field in second
    )


def _exists(path: Path, field: str) -> bool:
    return bool(field) and os.path.exists(path.parent / field)


def video_input(network: TrainedNetwork) -> Input:
    """The input that is read from a video file.

    Raises:
      ConfigError: if the network takes anything else besides, or instead.
    """
    first, *others = network.inputs
    if others or first.reader != "video" or first.per_frame != 1:
        raise ConfigError(
            f"{network.name} takes {_taken(network)}: here only networks of RGB frames alone are possible"
        )
    return first


def video_stream(network: TrainedNetwork) -> str:
    """The stream of the pictures of a video, from which the network's inputs are read or computed."""
    return next((each.stream_name for each in network.inputs if each.reader == "video"), RGB.name)


def _taken(network: TrainedNetwork) -> str:
    return ", ".join(each.stream_name if each.seen == "as it is" else each.seen for each in network.inputs)


def inspected(
    paths: Sequence[str],
    network: TrainedNetwork,
    progress: Progress = lambda records, total: records,
    computing: TitledProgress = untracked,
) -> list[Video]:
    """Inspects files in processes that may be killed, and computes the streams that the network takes besides.

    Args:
      paths: video files, or folders of images.
      network: that is going to see them.
      progress: wraps the inspection, given how many files are new.
      computing: wraps the computation of a stream, given how many videos lack it, and its title.

    Returns:
      A video for each path, with a reason in `refused` where it cannot be read, or is smaller than the square that is
      cut of it.

    Raises:
      ConfigError: if the network takes what neither is a video nor is computed from it.
    """
    _check_inputs(network)
    stream = video_stream(network)
    videos, cut_off = [], []
    records = index.inspect_files(paths, progress=progress)
    for path in paths:
        record = records[path]
        if record.verdict == "refused":
            videos.append(Video.of(path, path, 0, path, stream=stream, refused=record.reason))
            continue
        if record.warning:
            logger.warning("%s", VideoError(path, f"{record.warning}; its first {record.frames} frames are used"))
        info = VideoInfo(record.frames, record.fps, record.height, record.width, record.table)
        refused = too_small(record.height, record.width, network)
        if refused is None and _seen_share(record.height, record.width, network) < _SMALL_SHARE:
            cut_off.append(f"{printable(path)} ({record.height}x{record.width})")
        videos.append(Video.of(path, path, 0, path, stream=stream, info=info, refused=refused))
    if cut_off:
        side, more = network.views.side_of(network.clip), f" and {len(cut_off) - 1} more" if len(cut_off) > 1 else ""
        logger.warning(
            "%s%s: the network sees only the %dx%d pixels in the middle; it was trained on smaller frames, so resize"
            " the videos first, or train with data.short_side",
            cut_off[0],
            more,
            side,
            side,
        )
    return _with_computed(videos, network, computing)


def _check_inputs(network: TrainedNetwork) -> None:
    computed_streams = {each.NAME for each in network.computations}
    if any(each.reader != "video" and each.stream_name not in computed_streams for each in network.inputs):
        raise ConfigError(
            f"{network.name} takes {_taken(network)}, and a video file has RGB frames alone: it cannot be used here"
        )
    if len({each.stream_name for each in network.inputs if each.reader == "video"}) > 1:
        raise ConfigError(f"{network.name} takes several videos for each prediction: it cannot be used here")


def _with_computed(videos: Sequence[Video], network: TrainedNetwork, computing: TitledProgress) -> list[Video]:
    source = Source(network.name, "", network.classes, (), (), tuple(videos))
    for each in network.computations:
        source = computed.with_streams(source, each)
        title = f"{each.TITLE} ({each.method})"
        progress = functools.partial(computing, description=title)
        source = computed.compute(source, each, computed.missing(source, each), progress=progress)
    return list(source.test)


def _seen_share(height: int, width: int, network: TrainedNetwork) -> float:
    """The part of a frame that lies within the square that the network sees."""
    if all(each.space != "image" for each in network.inputs):
        return 1.0
    side, clip = network.views.side_of(network.clip), network.clip
    rows, columns = clip.resizing(training=False)(height, width)
    return 1.0 if clip.resize == "letterbox" else side * side / (rows * columns)


def too_small(height: int, width: int, network: TrainedNetwork) -> str | None:
    """Why frames of this size cannot be shown to the network; None if they can."""
    if all(each.space != "image" for each in network.inputs):
        return None
    side, clip = network.views.side_of(network.clip), network.clip
    resized = clip.resizing(training=False)(height, width)
    if clip.resize == "letterbox" or min(resized) >= side:
        return None
    return f"its frames are {height}x{width} pixels, smaller than the {side}x{side} that the network sees"

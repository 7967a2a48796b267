"""Finds the videos below a folder: files by their names, folders of images by their content."""

import os
from collections.abc import Iterator
from pathlib import Path

from vidjax.data.video.checks import one_line
from vidjax.errors import DataError, VideoError

VIDEO_SUFFIXES = frozenset(
    {".3gp", ".asf", ".avi", ".flv", ".gif", ".h264", ".hevc", ".ivf", ".m4v", ".mkv", ".mov"}
    | {".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".nut", ".ogg", ".ogv", ".ts", ".webm", ".wmv"}
)

_IMAGES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})


def is_video_name(path: Path) -> bool:
    """Whether the name has a usual video suffix."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def image_files(folder: str) -> list[Path]:
    """The images in a folder in the order of their names, numbers by value: 2.jpg before 10.jpg.

    Hidden files are left out: macOS keeps notes of its own beside images (._1.jpg).

    Raises:
      VideoError: if the folder cannot be listed.
    """
    try:
        entries = [entry for entry in Path(folder).iterdir() if entry.suffix.lower() in _IMAGES and entry.is_file()]
    except OSError as error:
        raise VideoError(folder, error.strerror or one_line(error)) from error
    entries = [entry for entry in entries if not entry.name.startswith(".")]
    return sorted(entries, key=lambda entry: (_with_numbers(entry.stem), entry.name))


def is_image_sequence(path: Path) -> bool:
    """Whether this is a folder of images that holds, hidden entries aside, no video and no folder."""
    if not path.is_dir() or not image_files(str(path)):
        return False
    shown = (entry for entry in path.iterdir() if not entry.name.startswith("."))
    return not any(entry.is_dir() or is_video_name(entry) for entry in shown)


def videos_below(path: Path) -> tuple[list[str], int]:
    """Everything below a folder that is named like a video, or has no suffix, or is a folder of images.

    A pipe or a dangling link that is named like a video is found, too, and so is a folder that cannot be listed. Hidden
    entries are left out, and no folder is visited twice.

    Args:
      path: a folder; any other entry is returned as it is.

    Returns:
      The paths in order, and how many other files were skipped.

    Raises:
      DataError: if there is no such path, or it cannot be listed itself.
    """
    if not os.path.lexists(path):
        raise DataError(f"{path}: no such file or folder")
    if not path.is_dir() or is_image_sequence(path):
        return [str(path)], 0
    _entries(path)
    found, others = [], 0
    for entry in _walk(path, set()):
        if is_video_name(entry) or not entry.suffix or os.path.isdir(entry):
            found.append(str(entry))
        else:
            others += 1
    return found, others


def _walk(folder: Path, visited: set[tuple[int, int]]) -> Iterator[Path]:
    status = folder.stat()
    if (status.st_dev, status.st_ino) in visited:
        return
    visited.add((status.st_dev, status.st_ino))
    try:
        entries = _entries(folder)
    except DataError:
        yield folder  # reading it gives the reason
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if os.path.isdir(entry) and not is_video_name(entry) and not _is_sequence(entry):
            yield from _walk(entry, visited)
        else:
            yield entry


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise DataError(f"{folder} cannot be listed: {error.strerror}") from error


def _is_sequence(folder: Path) -> bool:
    try:
        return is_image_sequence(folder)
    except (VideoError, OSError):  # it cannot be listed
        return False


def _with_numbers(text: str) -> list[tuple[int, int, str]]:
    """A key by which names sort, numbers by value."""
    parts, digits = [], ""
    for letter in text + "\0":
        if letter.isdecimal() and letter.isascii():
            digits += letter
            continue
        if digits:
            parts.append((0, int(digits), ""))
            digits = ""
        parts.append((1, 0, letter))
    return parts

"""A video file: on a disk, or encoded in memory."""

import dataclasses
import os
import stat
from pathlib import Path
from typing import Any

from vidjax.errors import VideoError

_IMAGES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})


def image_files(folder: str) -> list[Path]:
    """The images in a folder, in the order of their names, numbers by their value: 2.jpg before 10.jpg.

    Hidden ones are left out: macOS leaves its own notes beside them (._1.jpg).
    """
    try:
        entries = [entry for entry in Path(folder).iterdir() if entry.suffix.lower() in _IMAGES and entry.is_file()]
    except OSError as error:
        raise VideoError(folder, error.strerror or one_line(error)) from error
    entries = [entry for entry in entries if not entry.name.startswith(".")]
    return sorted(entries, key=lambda entry: (_with_numbers(entry.stem), entry.name))


def _with_numbers(text: str) -> list[tuple[int, int, str]]:
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


# A frame of 8K cinema has 8192 x 4320; a small file that claims more is meant to fill the memory.
MAX_PIXELS = 8192 * 4320


@dataclasses.dataclass(frozen=True)
class EncodedVideo:
    """A video in memory, as its file holds it, or a folder of images.

    Attributes:
      name: for messages.
      files: name and content of the file; of a folder, of each image in order.
      is_folder: of images.
      identity: two numbers by which it is known again, as `identity` gives of a file.
      table: its `seeking.SeekTable`; None where there is none.
    """

    name: str
    files: tuple[tuple[str, bytes], ...]
    is_folder: bool
    identity: tuple[int, int]
    table: Any = None

    def __str__(self) -> str:
        return self.name


VideoFile = str | EncodedVideo


def check_pixels(path: str, height: int, width: int) -> None:
    """Refuses frames that are too large to be true.

    Raises:
      VideoError: naming their size.
    """
    if height * width > MAX_PIXELS:
        raise VideoError(path, f"has frames of {width} x {height} pixels; more than {MAX_PIXELS / 1e6:.0f} million")


def regular_file(path: str) -> os.stat_result:
    """Refuses what is not a regular file before it is opened: opening a FIFO waits for ever.

    Raises:
      VideoError: saying what it is.
    """
    try:
        status = os.stat(path)
    except (OSError, ValueError) as error:
        raise VideoError(path, getattr(error, "strerror", None) or one_line(error)) from error
    if not stat.S_ISREG(status.st_mode):
        raise VideoError(path, "is not a regular file")
    if status.st_size == 0:
        raise VideoError(path, "is empty (0 bytes)")
    return status


def file_signature(path: VideoFile) -> tuple[int, int]:
    """Size and time of change (ns) by which a file is known again; of a folder, those of its images together.

    Raises:
      VideoError: as `regular_file`.
    """
    if isinstance(path, EncodedVideo):
        return path.identity
    if not os.path.isdir(path):
        status = regular_file(path)
        return status.st_size, status.st_mtime_ns
    try:
        each = [os.stat(image) for image in image_files(path)]
    except OSError as error:
        raise VideoError(path, error.strerror or one_line(error)) from error
    return sum(status.st_size for status in each), max((status.st_mtime_ns for status in each), default=0)


def one_line(error: BaseException) -> str:
    """The message of a decoder's exception without its path and stack: at most 200 characters of one line."""
    message = getattr(error, "strerror", None) or str(error).strip() or type(error).__name__
    return message.splitlines()[0][:200]

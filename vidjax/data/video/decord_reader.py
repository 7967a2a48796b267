"""Reading frames by decord from files on a disk in which every frame is a key frame: there it is exact, and faster.

On other files its random access silently returns wrong frames (XviD with B-frames, open GOPs, transport streams).
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from vidjax.data.video.checks import one_line
from vidjax.data.video.conversion import Size
from vidjax.data.video.file import ReadableFile
from vidjax.errors import VideoError


def gives_size(own_size: Size, size: Size | None) -> bool:
    """Whether decord returns frames of this size, and those that PyAV returns.

    Args:
      own_size: (height, width) of the file's frames.
      size: (height, width) that is wanted; None: their own.
    """
    # What decord resizes differs from what PyAV does, and so from the same video packed. And, scaled or not, decord
    # 0.6.0 fails on widths of 8, 12, 16, 24, 48 and 72 (tried from 8 to 400).
    return size in (None, own_size) and own_size[1] >= 32 and own_size[1] not in (48, 72)


def read_frames(file: ReadableFile, indices: Sequence[int]) -> np.ndarray:
    """uint8 [T, H, W, 3]: the frames with these numbers, at their own size.

    Raises:
      VideoError: if the file cannot be read or has no such frame.
    """
    with _opened(file) as reader:
        if max(indices) >= len(reader):
            raise VideoError(file, f"frame {max(indices)} was requested, but the file has {len(reader)} frames")
        frames: np.ndarray = reader.get_batch(indices).asnumpy()
    return frames


def count_frames(file: ReadableFile) -> tuple[int, float | None]:
    """Number of frames, and frames per second; None if the file does not state them.

    Raises:
      VideoError: if the file cannot be read.
    """
    with _opened(file) as reader:
        return len(reader), reader.get_avg_fps() or None


@contextlib.contextmanager
def _opened(file: ReadableFile) -> Iterator[Any]:
    """Opens a file with decord; its errors become VideoError."""
    file.check()
    try:
        import decord
    except ImportError as error:
        raise VideoError(file, "decord is not installed, and exact_seek needs it: pip install decord") from error
    try:
        # `VideoFile.exact_seek` is said of files on a disk alone, whose name is their path.
        yield decord.VideoReader(str(file), num_threads=1)  # with more, damaged files read differently each time
    except (RuntimeError, decord.DECORDError, IndexError, UnicodeError) as error:
        raise VideoError(file, f"decord cannot read it: {one_line(error)}") from error

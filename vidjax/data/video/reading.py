"""Reading a video by its path: the functions that `vidjax.data` offers."""

import os
from collections.abc import Sequence

import numpy as np

from vidjax.data.video import decoding
from vidjax.data.video.conversion import Size
from vidjax.data.video.file import VideoFile, as_file
from vidjax.data.video.info import VideoInfo
from vidjax.data.video.seek_table import SeekTable


def read_frames(
    path: str | os.PathLike[str] | VideoFile,
    indices: Sequence[int],
    size: Size | None = None,
    *,
    exact_seek: bool = False,
    table: SeekTable | None = None,
) -> np.ndarray:
    """Reads the frames with the given numbers, in the given order; numbers may repeat.

    Args:
      path: a video file, or a folder of images; or the record of a packed one (`encoded`), or the place of one in a
        shard (`Stream.packed`), which have their table with them.
      indices: frame numbers, counted from 0 in the order of display.
      size: (height, width) to which frames are resized while they are decoded; None keeps their own.
      exact_seek: random access by decord is known to be right for this path, since every frame is a key frame.
      table: of the file at this path, so that it need not be decoded from its beginning; changes nothing else.

    Returns:
      uint8 [T, H, W, 3], RGB, rotated as the file asks.

    Raises:
      VideoError: the file is missing, not a regular file, not a video, damaged, or has no such frame.
      TypeError: for a number that is not an integer.
      ValueError: without a number, or for a size below 1.
    """
    return decoding.read_frames(as_file(path, exact_seek=exact_seek, table=table), indices, size)


def probe(path: str | os.PathLike[str], *, exact_seek: bool = False) -> VideoInfo:
    """Counts the frames of a video by decoding it once; kept in this process while the file does not change.

    Args:
      path: a video file, or a folder of images.
      exact_seek: as in `read_frames`: decord's index is asked instead.

    Raises:
      VideoError: as in `read_frames`.
    """
    return decoding.probe(as_file(path, exact_seek=exact_seek))

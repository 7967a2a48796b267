"""Reads the streams of a `Video`: videos and arrays, from files or from memory."""

from collections.abc import Sequence

import numpy as np

from vidjax.data import arrays
from vidjax.data.cache.interface import Cache, CachedVideo
from vidjax.data.inputs import Input
from vidjax.data.records import Stream
from vidjax.data.resizing import Resize
from vidjax.data.video import decoding
from vidjax.data.video.conversion import Size
from vidjax.data.video.info import VideoInfo
from vidjax.errors import VideoError


def probe(stream: Stream, spec: Input) -> VideoInfo:
    """Counts the frames of a stream; arrays have no frame rate.

    Raises:
      VideoError: as `decoding.probe` or `arrays.probe`.
    """
    _check_readable(stream)
    if stream.frames is not None:
        return arrays.info(stream.frames, stream.path, spec)
    if stream.info is not None:
        return stream.info
    if spec.reader == "array":
        return arrays.probe(stream.file, spec)
    return decoding.probe(stream.file)


def read_frames(stream: Stream, spec: Input, indices: Sequence[int], size: Size | None = None) -> np.ndarray:
    """Reads the frames with the given numbers, in the given order; numbers may repeat.

    Args:
      stream: which.
      spec: what it holds.
      indices: frame numbers, counted from 0.
      size: (height, width) to which images are resized; None keeps their own, and so does all that is no image.

    Returns:
      [T, H, W, C] of images, else [T, *spec.shape], of the input's dtype.

    Raises:
      VideoError: as `decoding.read_frames` or `arrays.read_frames`.
    """
    _check_readable(stream)
    if stream.frames is not None:
        return arrays.take(stream.frames, stream.path, spec, indices, size)
    if spec.reader == "array":
        return arrays.read_frames(stream.file, spec, indices, size)
    return decoding.read_frames(stream.file, indices, size)


def from_cache(stream: Stream, spec: Input, resize: Resize, cache: Cache | None) -> CachedVideo | None:
    """The whole stream from the cache; None if the cache has no room for it, or the frames are in memory.

    Raises:
      VideoError: as `decoding.read_video` or `arrays.read_video`.
    """
    if cache is None or stream.frames is not None:
        return None
    _check_readable(stream)
    return cache.video(stream.file, resize, spec)


def _check_readable(stream: Stream) -> None:
    if stream.refused is not None:
        raise VideoError(stream.path, stream.refused)

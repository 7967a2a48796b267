"""Reading a `Video`, whether its frames are in a file or in memory."""

from collections.abc import Sequence

import numpy as np

from vidjax.data import decoding
from vidjax.data.cache import Cache, HeldVideo
from vidjax.data.decoding import Size
from vidjax.data.records import Video, VideoInfo
from vidjax.data.resizing import Resize
from vidjax.errors import VideoError


def probe(video: Video) -> VideoInfo:
    """Counts the frames of a video; frames in memory have no frame rate.

    Raises:
      VideoError: as `decoding.probe`.
    """
    if video.refused is not None:
        raise VideoError(video.path, video.refused)
    if video.frames is None:
        return video.info or decoding.probe(video.path, exact_seek=video.exact_seek)
    t, h, w, _ = video.frames.shape
    return VideoInfo(t, None, h, w)


def read_frames(video: Video, indices: Sequence[int], size: Size | None = None) -> np.ndarray:
    """Reads the frames with the given numbers, in the given order; numbers may repeat.

    Args:
      video: which.
      indices: frame numbers, counted from 0.
      size: (height, width) to which frames are resized; None keeps their own.

    Returns:
      uint8 [T, H, W, 3], RGB.

    Raises:
      VideoError: as `decoding.read_frames`.
    """
    if video.refused is not None:
        raise VideoError(video.path, video.refused)
    if video.frames is None:
        table = video.info.table if video.info is not None else None
        return decoding.read_frames(video.file, indices, size, exact_seek=video.exact_seek, table=table)
    wanted, count = np.asarray(indices, np.int64), len(video.frames)
    if wanted.min() < 0 or wanted.max() >= count:
        raise VideoError(video.path, f"frames {wanted.min()} to {wanted.max()} were asked for; it has {count}")
    frames = video.frames[wanted]
    rgb = np.repeat(frames, 3, axis=-1) if frames.shape[-1] == 1 else frames
    return decoding.resize_frames(rgb, size) if size is not None else rgb


def from_cache(video: Video, resize: Resize, cache: Cache | None) -> HeldVideo | None:
    """The whole video where a cache holds it or has room for it; None else, and for frames in memory.

    Raises:
      VideoError: as `decoding.read_video`.
    """
    if cache is None or video.frames is not None:
        return None
    if video.refused is not None:
        raise VideoError(video.path, video.refused)
    return cache.video(video.file, resize, exact_seek=video.exact_seek)

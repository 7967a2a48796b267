"""Seeking that returns the same pixels as decoding in order.

The index of a file says when each frame is shown, and at which frames decoding may begin; an inspection has tried each
of these (`vidjax.data.video.inspection`). A reader seeks to the last of them before the frame it wants and decodes on
from there, checking the time of every frame against the index. If anything differs, it starts again at the beginning of
the file.
"""

import itertools
from collections.abc import Iterator

import av

from vidjax.data.video.seek_table import FrameIndex
from vidjax.data.video.sequential import SequentialReader, decode_frames


class SeekMismatchError(Exception):
    """Seeking returned frames that do not match the index; decoding in order still works."""


def seek(video: SequentialReader, number: int, index: FrameIndex) -> Iterator[av.VideoFrame]:
    """Yields the frames of a video from one at which decoding may begin.

    Args:
      video: opened for seeking.
      number: of that frame, in `index.keys`.
      index: of this file.

    Raises:
      SeekMismatchError: if any frame is not as the index says.
    """
    try:
        video.container.seek(index.pts[number], stream=video.stream, backward=True, any_frame=False)
        decoded = decode_frames(video.container, video.stream)
        for pts, frame in zip(itertools.islice(index.pts, number, None), decoded, strict=False):
            if frame.pts != pts or frame.is_corrupt:
                raise SeekMismatchError
            yield frame
    except (av.FFmpegError, ValueError, RuntimeError, OSError) as error:
        raise SeekMismatchError from error

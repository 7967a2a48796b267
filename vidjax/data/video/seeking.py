"""Random access that shows what decoding in order shows, to the pixel.

A table says when each frame of a file is shown, and at which frames one may begin to decode; an inspection has tried
each of these (`vidjax.data.video.inspection`). A reader goes to the last of them before the frame it wants and
decodes on from there, holding every frame to its time in the table. Where anything differs it begins again at the
start of the file.
"""

from collections.abc import Iterator

import av

from vidjax.data.video.seek_table import FrameIndex
from vidjax.data.video.sequential import SequentialReader, decode_frames


class SeekMismatchError(Exception):
    """A file does not show what the table says; decoding in order always works."""


def seek(video: SequentialReader, number: int, places: FrameIndex) -> Iterator[av.VideoFrame]:
    """Yields the frames of a video from one at which decoding may begin.

    Args:
      video: opened for seeking.
      number: in `places.keys`.
      places: of this file.

    Raises:
      SeekMismatchError: if anything is not as `places` says.
    """
    try:
        video.container.seek(places.pts[number], stream=video.stream, backward=True, any_frame=False)
        for frame in decode_frames(video.container, video.stream):
            if number >= len(places.pts) or frame.pts != places.pts[number] or frame.is_corrupt:
                raise SeekMismatchError
            yield frame
            number += 1
    except (av.FFmpegError, ValueError, RuntimeError, OSError) as error:
        raise SeekMismatchError from error

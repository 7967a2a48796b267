"""Random access that shows what decoding in order shows, to the pixel.

A table says when each frame of a file is shown, and at which frames one may begin to decode; an inspection has tried
each of these (`vidjax.data.inspection`). A reader goes to the last of them before the frame it wants and decodes on
from there, holding every frame to its time in the table. Where anything differs it begins again at the start of the
file.
"""

import base64
import bisect
import dataclasses
import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import av
import numpy as np

from vidjax.data.opening import InOrder, decoded


class Places(NamedTuple):
    """Where the frames of a file are.

    Attributes:
      pts: when each frame is shown, in units of the stream's time base, rising.
      keys: numbers of the frames at which decoding may begin, rising, the first of them 0.
    """

    pts: tuple[int, ...]
    keys: tuple[int, ...]

    def key_before(self, number: int) -> int:
        """The last frame not behind `number` at which decoding may begin."""
        return self.keys[bisect.bisect_right(self.keys, number) - 1]


@dataclasses.dataclass(frozen=True)
class SeekTable:
    """The `Places` of a file, packed: of a data set there are as many as videos.

    Attributes:
      text: of `pack`.
      identity: size and time of change (ns) of the file that this is about.
    """

    text: str
    identity: tuple[int, int]

    def places(self) -> Places:
        """What was packed."""
        return Places(*(_unpacked(part) for part in self.text.split(" ")))


def pack(places: Places) -> str:
    """The times and the keys as a short text."""
    return " ".join(map(_packed, places))


class LostTheWayError(Exception):
    """A file does not show what the table says; decoding in order always works."""


def seek(video: InOrder, number: int, places: Places) -> Iterator[av.VideoFrame]:
    """Yields the frames of a video from one at which decoding may begin.

    Args:
      video: opened for seeking.
      number: in `places.keys`.
      places: of this file.

    Raises:
      LostTheWayError: if anything is not as `places` says.
    """
    try:
        video.container.seek(places.pts[number], stream=video.stream, backward=True, any_frame=False)
        for frame in decoded(video.container, video.stream):
            if number >= len(places.pts) or frame.pts != places.pts[number] or frame.is_corrupt:
                raise LostTheWayError
            yield frame
            number += 1
    except (av.FFmpegError, ValueError, RuntimeError, OSError) as error:
        raise LostTheWayError from error


def _packed(numbers: tuple[int, ...]) -> str:
    steps = np.diff(np.asarray(numbers, np.int64), prepend=0)
    return base64.b64encode(zlib.compress(steps.astype("<i8").tobytes(), 9)).decode()


def _unpacked(text: str) -> tuple[int, ...]:
    steps: Any = np.frombuffer(zlib.decompress(base64.b64decode(text)), "<i8")
    return tuple(np.cumsum(steps).tolist())

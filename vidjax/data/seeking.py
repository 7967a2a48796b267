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
from typing import Any

import av
import numpy as np

from vidjax.data.opening import InOrder


@dataclasses.dataclass(frozen=True)
class SeekTable:
    """Where the frames of a file are.

    Attributes:
      pts: when each frame is shown, in units of the stream's time base, rising.
      keys: numbers of the frames at which decoding may begin, rising, the first of them 0.
      identity: size and time of change (ns) of the file that this is about.
    """

    pts: tuple[int, ...]
    keys: tuple[int, ...]
    identity: tuple[int, int]

    def key_before(self, number: int) -> int:
        """The last frame not behind `number` at which decoding may begin."""
        return self.keys[bisect.bisect_right(self.keys, number) - 1]

    def to_text(self) -> str:
        """The times and the keys as a short text."""
        return " ".join(_packed(numbers) for numbers in (self.pts, self.keys))

    @classmethod
    def from_text(cls, text: str, identity: tuple[int, int]) -> "SeekTable":
        """The table of `to_text`."""
        pts, keys = (_unpacked(part) for part in text.split(" "))
        return cls(pts, keys, identity)


class LostTheWayError(Exception):
    """A file does not show what the table says; decoding in order always works."""


def seek(video: InOrder, number: int, table: SeekTable) -> Iterator[av.VideoFrame]:
    """Yields the frames of a video from one at which decoding may begin.

    Args:
      video: opened for seeking.
      number: in `table.keys`.
      table: of this file.

    Raises:
      LostTheWayError: if anything is not as the table says.
    """
    try:
        video.container.seek(table.pts[number], stream=video.stream, backward=True, any_frame=False)
        for frame in video.container.decode(video.stream):
            if number >= len(table.pts) or frame.pts != table.pts[number] or frame.is_corrupt:
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

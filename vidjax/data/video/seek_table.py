"""The seek table of a file: when each frame is shown, and the keyframes at which decoding may begin."""

import base64
import bisect
import dataclasses
import zlib
from typing import Any, NamedTuple

import numpy as np


class FrameIndex(NamedTuple):
    """When the frames of a file are shown, and which of them are keyframes.

    Attributes:
      pts: when each frame is shown, in units of the stream's time base, ascending.
      keys: numbers of the frames at which decoding may begin, ascending from 0.
    """

    pts: tuple[int, ...]
    keys: tuple[int, ...]

    def keyframe_before(self, number: int) -> int:
        """The last frame at or before `number` at which decoding may begin."""
        return self.keys[bisect.bisect_right(self.keys, number) - 1]


@dataclasses.dataclass(frozen=True)
class SeekTable:
    """The `FrameIndex` of a file as a short text: a data set has one for each video.

    Attributes:
      text: of `pack`.
      signature: size and time of change (ns) of the file that this is about.
    """

    text: str
    signature: tuple[int, int]

    def frame_index(self) -> FrameIndex:
        """The unpacked index."""
        return FrameIndex(*(_unpacked(part) for part in self.text.split(" ")))


def pack(index: FrameIndex) -> str:
    """The times and the keyframes as a short text."""
    return " ".join(map(_packed, index))


def _packed(numbers: tuple[int, ...]) -> str:
    steps = np.diff(np.asarray(numbers, np.int64), prepend=0)
    return base64.b64encode(zlib.compress(steps.astype("<i8").tobytes(), 9)).decode()


def _unpacked(text: str) -> tuple[int, ...]:
    steps: Any = np.frombuffer(zlib.decompress(base64.b64decode(text)), "<i8")
    return tuple(np.cumsum(steps).tolist())

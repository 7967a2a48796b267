"""Length, rate and size of a video."""

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class VideoInfo:
    """What a whole pass over a video file found, or the header of an array.

    Attributes:
      frames: number of frames that decode, which the header may misstate; those before any damage.
      fps: frames per second as the container states it; None if it does not.
      height, width: of a frame as displayed, after rotation; 0 if it holds no images.
      table: `SeekTable`, by which frames are found faster; None if there is none.
      signature: size and time of change (ns) of the file at that time; None if not recorded.
    """

    frames: int
    fps: float | None
    height: int
    width: int
    table: Any = dataclasses.field(default=None, compare=False, repr=False)
    signature: tuple[int, int] | None = dataclasses.field(default=None, compare=False, repr=False)

"""What is known of a video file without decoding it."""

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class VideoInfo:
    """What a whole pass over a video file found, or the header of an array.

    Attributes:
      frames: number of sound frames (headers lie); of a file that is damaged or cut short, those before that.
      fps: frames per second as the container states it; None where it does not.
      height, width: of a frame as displayed, after rotation; 0 of what is no image.
      table: `seeking.SeekTable`, by which frames are found faster; None where there is none.
      identity: size and time of change (ns) of the file at that time; None where it was not noted.
    """

    frames: int
    fps: float | None
    height: int
    width: int
    table: Any = dataclasses.field(default=None, compare=False, repr=False)
    identity: tuple[int, int] | None = dataclasses.field(default=None, compare=False, repr=False)

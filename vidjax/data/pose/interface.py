"""What a pose detector is."""

from typing import NamedTuple, Protocol

import numpy as np
from jaxtyping import Float, UInt8

Frame = UInt8[np.ndarray, "height width 3"]


class Pose(NamedTuple):
    """What is found in a frame.

    Attributes:
      joints: float [K, 3] of the person that is most certain: x and y as fractions of the frame's width and height
        from its left upper corner, and a confidence from 0 to 1; None if there is nobody. Single joints may be NaN.
      people: how many were found.
    """

    joints: Float[np.ndarray, "joints 3"] | None
    people: int


class PoseDetector(Protocol):
    """Finds the joints of a person in frames. Each video has a detector of its own, which sees its frames in order.

    Attributes:
      joints: their names; "left_..." and "right_..." are exchanged by a mirror image.
      bones: pairs of joints that are drawn as lines, by number.

    It may have a `version`, a text: poses that were found by another one are found anew.
    """

    joints: tuple[str, ...]
    bones: tuple[tuple[int, int], ...]

    def __call__(self, frame: Frame) -> Pose:
        """What is found in a frame, uint8 [H, W, 3]."""

"""The spatial contract: the size to which the host brings frames before it cuts a square out of them."""

import dataclasses

import numpy as np

from vidjax.data.decoding import Size, short_side_size

RULES = ("short_side", "squash", "letterbox")


@dataclasses.dataclass(frozen=True)
class Resize:
    """How frames are resized while they are decoded.

    Attributes:
      side: in pixels; None keeps the file's size.
      rule: "short_side": the shorter side becomes `side`, the aspect ratio stays; "squash": both sides become
        `side`; "letterbox": the longer side becomes `side`, the aspect ratio stays, and `letterboxed` pads
        the other one.
    """

    side: int | None = None
    rule: str = "short_side"

    def __call__(self, height: int, width: int) -> Size:
        """Returns the (height, width) to which frames of that size are resized, without padding."""
        if self.side is None or self.rule == "short_side":
            return short_side_size(height, width, self.side)
        if self.rule == "squash":
            return self.side, self.side
        longer = max(height, width)
        return _rounded(height * self.side, longer), _rounded(width * self.side, longer)


def letterboxed(frames: np.ndarray, side: int, colour: int) -> np.ndarray:
    """Pads frames to a square, evenly; an odd pixel goes to the bottom or the right.

    Args:
      frames: uint8 [T, H, W, 3], H and W at most `side`.
      side: of the square, in pixels.
      colour: 0..255, of the padding in all three channels.

    Returns:
      uint8 [T, side, side, 3].
    """
    t, h, w, c = frames.shape
    square = np.full((t, side, side, c), colour, frames.dtype)
    top, left = (side - h) // 2, (side - w) // 2
    square[:, top : top + h, left : left + w] = frames
    return square


def _rounded(numerator: int, denominator: int) -> int:
    """The quotient rounded to the nearest whole number of at least 1."""
    return max((2 * numerator + denominator) // (2 * denominator), 1)

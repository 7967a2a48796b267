"""Resizes frames on the host, before a square is cropped from them."""

import dataclasses

import numpy as np

from vidjax.data.inputs import Input
from vidjax.data.video.conversion import Size, resize_frames, short_side_size

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


def resized(frames: np.ndarray, size: Size, spec: Input) -> np.ndarray:
    """Resizes images in memory; displacement vectors are scaled with them.

    Args:
      frames: [T, H, W, C], uint8 or float32.
      size: (height, width).
      spec: what they are.

    Returns:
      [T, *size, C] of the same dtype, by the scaler of decoding where they are uint8 and of three channels.
    """
    _, height, width, channels = frames.shape
    if (height, width) == size:
        return frames
    if frames.dtype == np.uint8 and channels == 3:
        frames = resize_frames(frames, size)
    else:
        frames = _resized_by_channel(frames, size)
    if spec.vectors:
        scales = np.ones(channels, np.float32)
        scales[:2] = size[1] / width, size[0] / height
        middle = np.asarray(spec.mean, np.float32)
        scaled = middle + (frames - middle) * scales
        frames = np.clip(np.rint(scaled), 0, 255).astype(np.uint8) if frames.dtype == np.uint8 else scaled
    return frames


def _resized_by_channel(frames: np.ndarray, size: Size) -> np.ndarray:
    from PIL import Image  # takes a while to import, and only this needs it

    count, *_, channels = frames.shape
    result = np.empty((count, *size, channels), frames.dtype)
    for frame, output in zip(frames, result, strict=True):
        for channel in range(channels):
            picture = Image.fromarray(np.ascontiguousarray(frame[..., channel]))  # "L" or "F", by its dtype
            output[..., channel] = picture.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return result


def letterboxed(frames: np.ndarray, side: int, color: int | np.ndarray) -> np.ndarray:
    """Pads frames to a square, evenly; an odd pixel goes to the bottom or the right.

    Args:
      frames: [T, H, W, C], H and W at most `side`.
      side: of the square, in pixels.
      color: of the padding, one value for all channels or one for each.

    Returns:
      [T, side, side, C].
    """
    t, h, w, c = frames.shape
    square = np.full((t, side, side, c), color, frames.dtype)
    top, left = (side - h) // 2, (side - w) // 2
    square[:, top : top + h, left : left + w] = frames
    return square


def _rounded(numerator: int, denominator: int) -> int:
    """The quotient rounded to the nearest whole number of at least 1."""
    return max((2 * numerator + denominator) // (2 * denominator), 1)

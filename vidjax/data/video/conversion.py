"""Converts decoded frames to RGB, upright, at a given size."""

import struct
from collections.abc import Callable
from typing import Any, NamedTuple

import av
import numpy as np
from av.video.reformatter import VideoReformatter

Size = tuple[int, int]  # (height, width)

# swscale's bilinear, whose support grows when it downscales, so that it does not alias; decord uses it, too.
_INTERPOLATION = "BILINEAR"
# To an odd width, swscale has no vector code for packed RGB and takes three times as long as for planes, with the same
# sums. That does not hold where it blends two rows or fewer, at 3/4 of the height and above.
_FASTER_BY_PLANES = frozenset({"yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p"})
_GBR = (1, 2, 0)  # the channel of each plane of "gbrp"


def short_side_size(height: int, width: int, short_side: int | None) -> Size:
    """Returns (height, width) with the shorter side equal to `short_side` and the aspect ratio kept.

    The longer side is rounded to the nearest pixel. None returns the size unchanged.
    """
    if short_side is None:
        return height, width
    shorter = min(height, width)
    return (2 * height * short_side + shorter) // (2 * shorter), (2 * width * short_side + shorter) // (2 * shorter)


def resize_frames(frames: np.ndarray, size: Size) -> np.ndarray:
    """Resizes uint8 [T, H, W, 3] to `size` with the scaler that decoding uses."""
    if frames.shape[1:3] == size:
        return frames
    convert = Converter(lambda height, width: size)
    return np.stack([convert(av.VideoFrame.from_ndarray(frame, format="rgb24")) for frame in frames])


class Converter:
    """Turns decoded frames into RGB arrays, oriented as the first frame asks.

    Their size is `choose(height, width)` of the first frame.
    """

    def __init__(self, choose: Callable[[int, int], Size]):
        self._choose = choose
        self._size: Size | None = None
        self._shown = Orientation()
        # PyAV frees a frame whose side data were read at some later time only, and a damaged picture shows what is left
        # in freed buffers: this one stays allocated while the video is read.
        self._first: Any = None
        self._reformatter = VideoReformatter()  # one for all frames; creating it costs as much as using it

    def choose_size(self, frame: Any) -> Size:
        """The (height, width) of all results, by the first frame."""
        if self._size is None:
            self._first, self._shown = frame, orientation(frame)
            self._size = self._choose(*displayed_size(frame))
        return self._size

    def __call__(self, frame: Any) -> np.ndarray:
        height, width = self.choose_size(frame)
        if self._shown.transposed:
            height, width = width, height
        by_planes = width % 2 == 1 and 4 * height <= 3 * frame.height and frame.format.name in _FASTER_BY_PLANES
        rgb = self._reformatter.reformat(
            frame,
            width=width,
            height=height,
            format="gbrp" if by_planes else "rgb24",
            interpolation=_INTERPOLATION,
            threads=1,
        )
        pixels: np.ndarray = _interleaved(rgb) if by_planes else rgb.to_ndarray()
        if self._shown.transposed:
            pixels = pixels.swapaxes(0, 1)
        return pixels[:: -1 if self._shown.flipped_vertically else 1, :: -1 if self._shown.mirrored else 1]


def _interleaved(planes: Any) -> np.ndarray:
    pixels = np.empty((planes.height, planes.width, 3), np.uint8)
    for channel, plane in zip(_GBR, planes.planes, strict=True):
        rows: np.ndarray = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
        pixels[..., channel] = rows[:, : planes.width]
    return pixels


class Orientation(NamedTuple):
    """How a frame is to be shown; applied in this order.

    Attributes:
      transposed: rows become columns.
      mirrored: left and right are exchanged.
      flipped_vertically: top and bottom are.
    """

    transposed: bool = False
    mirrored: bool = False
    flipped_vertically: bool = False

    @property
    def rotation(self) -> int:
        """Degrees counter-clockwise; 0 if the picture is not only rotated."""
        return {(False, True, True): 180, (True, False, True): 90, (True, True, False): 270}.get(self, 0)


def orientation(frame: Any) -> Orientation:
    """By the display matrix (ISO 14496-12, 8.3.2): rotations by 90 degrees and mirror images, nothing else."""
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return Orientation()
    numbers = np.array(struct.unpack("=9i", bytes(matrix)))
    plane = numbers[[0, 1, 3, 4]]
    across_x, down_x, across_y, down_y = np.where(abs(plane) * 100 < abs(plane).max(), 0, plane).tolist()  # rounding
    if across_x and down_y and not (down_x or across_y):
        return Orientation(False, across_x < 0, down_y < 0)
    if down_x and across_y and not (across_x or down_y):
        return Orientation(True, across_y < 0, down_x < 0)
    return Orientation()


def displayed_size(frame: Any) -> Size:
    """Height and width."""
    return (frame.width, frame.height) if orientation(frame).transposed else (frame.height, frame.width)

"""The interface of a cache of decoded videos."""

from collections.abc import Hashable, Sequence
from typing import Protocol

import numpy as np

from vidjax.data import arrays
from vidjax.data.inputs import RGB, Input
from vidjax.data.resizing import Resize
from vidjax.data.video.decoding import DecodedVideo, read_video
from vidjax.data.video.file import VideoFile


def gigabytes(count: float) -> str:
    """A number of bytes as text, in GB or, if it is small, in MB."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.3g} MB"


class CachedVideo(Protocol):
    """A decoded video, in memory or on disk."""

    @property
    def fps(self) -> float | None:
        """Frames per second; None if the file states none."""

    def __len__(self) -> int:
        """How many frames it has."""

    def take(self, indices: Sequence[int]) -> np.ndarray:
        """[T, ...]: the frames with these numbers."""


class Cache(Protocol):
    """Keeps whole decoded videos."""

    def video(self, file: VideoFile, resize: Resize, spec: Input = RGB) -> CachedVideo | None:
        """Returns the whole video, decoded to this size now or before; None if there is no room for it."""


def read_whole(file: VideoFile, resize: Resize, spec: Input, *, max_bytes: int) -> DecodedVideo | None:
    """Reads a file for a cache; None if it would take more than `max_bytes`.

    Raises:
      VideoError: if it cannot be read.
    """
    if spec.reader == "array":
        return arrays.read_video(file, spec, resize, max_bytes=max_bytes)
    return read_video(file, resize, max_bytes=max_bytes)


def cache_key(resize: Resize, spec: Input) -> tuple[Hashable, ...]:
    """What determines, besides the file, the frames that a cache holds of it."""
    if spec.space != "image":
        return spec.reader, spec.dtype, spec.shape
    scaling = (spec.mean,) if spec.vectors else ()
    return spec.reader, spec.dtype, spec.shape, resize.side, resize.rule, *scaling

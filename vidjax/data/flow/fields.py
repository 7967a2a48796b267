"""The flow of one video: fields between consecutive frames, in 8 bits, and the file that holds them."""

import contextlib
import dataclasses
import math
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Bool, Float, UInt8

from vidjax.data import streams
from vidjax.data.computed import Computation, StoppedError, array_file
from vidjax.data.flow import methods
from vidjax.data.inputs import RGB, Input, Negate
from vidjax.data.records import Stream
from vidjax.data.video.conversion import Size, short_side_size
from vidjax.data.video.info import VideoInfo
from vidjax.errors import OptionError, VideoError

NAME = "flow"  # of the stream
VERSION = 1  # of what is kept: raise it with every change of the numbers
_NO_MOTION, _STEPS = 128, 127  # value of no motion; values up to the bound on both sides of it
_CHUNK = 64  # frames that are in memory at once
_BINS_PER_PIXEL, _LARGEST = 64, 1024  # of displacements, for percentiles

INPUT = Input(
    NAME,
    (2,),
    "uint8",
    vectors=True,
    mirror=Negate((0,)),
    mean=(float(_NO_MOTION),) * 2,
    std=(float(_STEPS),) * 2,
)


@dataclasses.dataclass(frozen=True)
class FlowSettings(Computation):
    """How flow is computed and stored.

    Attributes:
      method: a key of `METHODS`.
      short_side: pixels to which frames are resized before; smaller frames keep their size.
      bound: pixels, at that size, that are the largest displacement: to them a field is clipped, and they become 1 for
        the model (in I3D and others 20).
      camera: whether the motion of the camera is taken out.
      percentile: the largest displacement is that below which so many percent of a video's absolute displacements are,
        to the right or downwards: each video has a bound of its own, and `bound` has no meaning.
    """

    NAME: ClassVar[str] = NAME
    TITLE: ClassVar[str] = "optical flow"

    method: str
    short_side: int
    bound: float = 20.0
    camera: bool = False
    percentile: float | None = None

    def __post_init__(self) -> None:
        if self.short_side < methods.MIN_SIDE:
            raise OptionError(
                f"{{flow_short_side}}={self.short_side}: optical flow needs {methods.MIN_SIDE} pixels or more",
                ["flow_short_side"],
            )
        if self.percentile is not None and not 0 < self.percentile <= 100:
            raise OptionError(
                f"{{flow_percentile}}={self.percentile:g}: give a number above 0, up to 100", ["flow_percentile"]
            )

    @property
    def input(self) -> Input:
        """Vectors in 8 bits."""
        return INPUT

    @property
    def identity(self) -> tuple[Any, ...]:
        """The version of what is kept, and the fields that are given."""
        *others, percentile = dataclasses.astuple(self)
        return VERSION, tuple(others) if percentile is None else (*others, percentile)

    def record(self) -> dict[str, Any]:
        """All fields, and OpenCV's version.

        Raises:
          DataError: if OpenCV is missing.
        """
        methods.METHODS[self.method]()
        return dataclasses.asdict(self) | {"opencv": methods.version()}

    def file_bytes(self, about: VideoInfo) -> int:
        """Two a pixel, and four more while they are computed, if the bound is a percentile."""
        height, width = _size(about, self)
        return max(about.frames - 1, 0) * height * width * (2 if self.percentile is None else 6)

    def compute_file(self, stream: Stream, stopped: threading.Event) -> None:
        """Computes the fields of a video and writes their file, as in `compute`."""
        about, path = _checked(stream), self.path(stream)
        shape = (about.frames - 1, *_size(about, self), 2)
        with contextlib.suppress(StoppedError), array_file(path, shape, "uint8") as file:
            bound, fields = _with_bound(_until(stopped, _each_field(stream, self)), self)
            for field in fields:
                file.write(quantized(field, bound).data)
            if self.percentile is not None:
                with array_file(bound_path(path), (), "float32") as other:
                    other.write(np.float32(bound).tobytes())


def bound_path(path: Path) -> Path:
    """The file beside that of fields with a bound of their own: pixels, float32 []."""
    return path.with_suffix(".bound.npy")


def quantized(fields: Float[np.ndarray, "*axes 2"], bound: float) -> UInt8[np.ndarray, "*axes 2"]:
    """Displacements in pixels as 1 to 255, 128 for none, clipped to the bound on both sides."""
    scaled = np.clip(np.rint(fields * (_STEPS / bound)), -_STEPS, _STEPS)
    return (scaled + _NO_MOTION).astype(np.uint8)


def pixels_of(values: UInt8[np.ndarray, "*axes 2"], bound: float) -> Float[np.ndarray, "*axes 2"]:
    """Displacements in pixels, from what is stored."""
    return (values.astype(np.float32) - _NO_MOTION) * (bound / _STEPS)


def compute(stream: Stream, settings: FlowSettings) -> UInt8[np.ndarray, "fields height width 2"]:
    """The fields of a video: field i is the motion from frame i to frame i + 1, so there is one less than frames.

    Args:
      stream: of pictures.
      settings: how.

    Raises:
      VideoError: if the video cannot be read, is smaller than 16 pixels, or has a single frame.
      DataError: if OpenCV is missing.
    """
    bound, fields = _with_bound(_each_field(stream, settings), settings)
    return np.stack([quantized(field, bound) for field in fields])


def largest(path: Path, settings: FlowSettings) -> tuple[Float[np.ndarray, " fields"], Bool[np.ndarray, " fields"]]:
    """The largest displacement of each field in a file, in pixels, and whether one of its values is at the bound."""
    bound = float(np.load(bound_path(path))) if settings.percentile is not None else settings.bound
    fields = [np.asarray(each) for each in np.load(path, mmap_mode="r")]
    sizes = [np.linalg.norm(pixels_of(each, bound), axis=-1).max() for each in fields]
    extremes = (_NO_MOTION - _STEPS, _NO_MOTION + _STEPS)
    return np.array(sizes), np.array([each.min() == extremes[0] or each.max() == extremes[1] for each in fields])


def _until(stopped: threading.Event, fields: Iterator[methods.Field]) -> Iterator[methods.Field]:
    for field in fields:
        if stopped.is_set():
            raise StoppedError
        yield field


def _with_bound(fields: Iterator[methods.Field], settings: FlowSettings) -> tuple[float, Iterator[methods.Field]]:
    """The largest displacement of a video, and its fields; where that is a percentile, after all were computed."""
    if settings.percentile is None:
        return settings.bound, fields
    counts = np.zeros(_BINS_PER_PIXEL * _LARGEST + 1, np.int64)
    settings.folder.mkdir(parents=True, exist_ok=True)
    spool = tempfile.TemporaryFile(dir=settings.folder)  # noqa: SIM115 - read after this function
    shape: tuple[int, ...] = ()
    for field in fields:
        bins = np.minimum(np.abs(field) * _BINS_PER_PIXEL, len(counts) - 1).astype(np.int64)
        counts += np.bincount(bins.reshape(-1), minlength=len(counts))
        spool.write(field.astype(np.float16).tobytes())
        shape = field.shape
    shares = np.cumsum(counts) / counts.sum()
    bound = float(np.searchsorted(shares, settings.percentile / 100) + 1) / _BINS_PER_PIXEL
    spool.seek(0)
    size = math.prod(shape) * 2

    def again() -> Iterator[methods.Field]:
        with spool:
            while content := spool.read(size):
                yield np.frombuffer(content, np.float16).reshape(shape).astype(np.float32)

    return bound, again()


def _each_field(stream: Stream, settings: FlowSettings) -> Iterator[methods.Field]:
    about = _checked(stream)
    size, between = _size(about, settings), methods.METHODS[settings.method]()
    last: np.ndarray | None = None
    for start in range(0, about.frames, _CHUNK):
        numbers = range(start, min(start + _CHUNK, about.frames))
        for frame in streams.read_frames(stream, RGB, numbers, size):
            gray = methods.gray_of(np.ascontiguousarray(frame))
            if last is not None:
                field = between(last, gray)
                yield methods.without_camera(field) if settings.camera else field
            last = gray


def _checked(stream: Stream) -> VideoInfo:
    """What is known of a video that has flow.

    Raises:
      VideoError: if it has none.
    """
    about = streams.probe(stream, RGB)
    if min(about.height, about.width) < methods.MIN_SIDE:
        raise VideoError(
            stream.path, f"has frames of {about.height}x{about.width}: optical flow needs {methods.MIN_SIDE} pixels"
        )
    if about.frames < 2:
        raise VideoError(stream.path, "has a single frame, and so no motion")
    return about


def _size(about: VideoInfo, settings: FlowSettings) -> Size:
    return short_side_size(about.height, about.width, min(settings.short_side, about.height, about.width))

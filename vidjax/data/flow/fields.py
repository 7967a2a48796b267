"""The flow of one video: fields between consecutive frames, in 8 bits, and the file that holds them."""

import dataclasses
import hashlib
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from vidjax.data import streams
from vidjax.data.flow import methods
from vidjax.data.inputs import RGB, Input, Negate
from vidjax.data.records import Stream
from vidjax.data.video.conversion import Size, short_side_size
from vidjax.data.video.info import VideoInfo
from vidjax.errors import OptionError, VideoError
from vidjax.system import paths

NAME = "flow"  # of the stream
VERSION = 1  # of what is kept: raise it with every change of the numbers
_NO_MOTION, _STEPS = 128, 127  # value of no motion; values up to the bound on both sides of it
_CHUNK = 64  # frames that are in memory at once

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
class FlowSettings:
    """How flow is computed and stored.

    Attributes:
      method: a key of `METHODS`.
      short_side: pixels to which frames are resized before; smaller frames keep their size.
      bound: pixels, at that size, that are the largest displacement: to them a field is clipped, and they become 1 for
        the model (in I3D and others 20).
      camera: whether the motion of the camera is taken out.
    """

    method: str
    short_side: int
    bound: float = 20.0
    camera: bool = False

    def __post_init__(self) -> None:
        if self.short_side < methods.MIN_SIDE:
            raise OptionError(
                f"{{flow_short_side}}={self.short_side}: optical flow needs {methods.MIN_SIDE} pixels or more",
                ["flow_short_side"],
            )

    @property
    def folder(self) -> Path:
        """In the cache, named after all that determines the numbers but the video and OpenCV's version."""
        digest = hashlib.sha256(repr((VERSION, dataclasses.astuple(self))).encode()).hexdigest()[:12]
        return paths.cache_dir() / "flow" / f"{self.method}-{digest}"

    def path(self, stream: Stream) -> Path:
        """The file of a video; another one if the video's content, place or time of change is another.

        Raises:
          VideoError: if there is no such video.
        """
        key = repr(stream.file.cache_key()).encode("utf-8", "surrogateescape")
        return self.folder / f"{hashlib.sha256(key).hexdigest()[:32]}.npy"


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
    return np.stack(list(_each_field(stream, settings)))


def compute_file(stream: Stream, settings: FlowSettings, stopped: threading.Event) -> None:
    """Computes the fields of a video and writes their file, whole or not at all.

    Args:
      stream: of pictures.
      settings: how.
      stopped: gives up once this is set.

    Raises:
      VideoError, DataError: as `compute`.
    """
    path = settings.path(stream)
    path.parent.mkdir(parents=True, exist_ok=True)
    about = _checked(stream)
    shape = (about.frames - 1, *_size(about, settings), 2)
    # Machines that share the folder may compute the same video.
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}.partial")
    try:
        with partial.open("wb") as file:
            header = {"descr": "|u1", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            for field in _each_field(stream, settings):
                if stopped.is_set():
                    return
                file.write(field.data)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def file_bytes(about: VideoInfo, settings: FlowSettings) -> int:
    """About how large the file of a video is."""
    height, width = _size(about, settings)
    return max(about.frames - 1, 0) * height * width * 2


def length_of(stream: Stream) -> int:
    """Frames of a video, as far as that is known."""
    return stream.info.frames if stream.info is not None else 0


def _each_field(stream: Stream, settings: FlowSettings) -> Iterator[UInt8[np.ndarray, "height width 2"]]:
    about = _checked(stream)
    size, between = _size(about, settings), methods.METHODS[settings.method]()
    last: np.ndarray | None = None
    for start in range(0, about.frames, _CHUNK):
        numbers = range(start, min(start + _CHUNK, about.frames))
        for frame in streams.read_frames(stream, RGB, numbers, size):
            gray = methods.gray_of(np.ascontiguousarray(frame))
            if last is not None:
                field = between(last, gray)
                yield quantized(methods.without_camera(field) if settings.camera else field, settings.bound)
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

"""Reads NumPy files, and frames in memory: precomputed inputs such as optical flow or poses.

A file holds [N, H, W, C] of images, otherwise [N, *shape], as `Input` says. Only the frames of a clip are read from it;
a packed file is in memory as a whole.

Headers are parsed here and not by `numpy.load`, which uses `ast`: in CPython 3.11 several threads cannot do that at the
same time ("AST constructor recursion depth mismatch").
"""

import contextlib
import math
import os
import re
import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from vidjax.data.inputs import Input
from vidjax.data.resizing import Resize, resized
from vidjax.data.rows import read_rows
from vidjax.data.video.checks import one_line
from vidjax.data.video.conversion import Size
from vidjax.data.video.decoding import DecodedVideo
from vidjax.data.video.file import ByteStream, ReadableFile, VideoFile
from vidjax.data.video.info import VideoInfo
from vidjax.errors import VideoError

_MAGIC = b"\x93NUMPY"
_LENGTHS = {1: struct.Struct("<H"), 2: struct.Struct("<I"), 3: struct.Struct("<I")}  # version -> of the header
_MAX_HEADER_BYTES = 10_000
_MAX_POINT_COORDINATE = 10.0  # in frame sizes: a detector may place a joint outside of the frame; pixels are larger
_FIELDS = {
    "descr": re.compile(rb"""['"]descr['"]\s*:\s*['"]([^'"]+)['"]"""),
    "order": re.compile(rb"""['"]fortran_order['"]\s*:\s*(True|False)"""),
    "shape": re.compile(rb"""['"]shape['"]\s*:\s*\(([\d\s,]*)\)"""),
}


class _Header(NamedTuple):
    shape: tuple[int, ...]
    dtype: np.dtype
    is_fortran: bool
    start: int  # of the values, in bytes


def probe(file: VideoFile, spec: Input) -> VideoInfo:
    """Length and size by the header of a file, which must match the input.

    Raises:
      VideoError: the file is missing, no regular file, no array, or one of another shape or dtype.
    """
    source = file.load()
    with _opened(source) as (_, header):
        _check(header.shape, header.dtype, source, spec)
        return _info(header.shape, spec, source.signature())


def info(array: np.ndarray, name: object, spec: Input) -> VideoInfo:
    """The same of an array; `name` is for messages.

    Raises:
      VideoError: if it is of another shape or dtype.
    """
    _check(array.shape, array.dtype, name, spec)
    return _info(array.shape, spec, None)


def read_frames(file: VideoFile, spec: Input, indices: Sequence[int], size: Size | None = None) -> np.ndarray:
    """Reads the frames with the given numbers, in the given order; numbers may repeat.

    Returns:
      [T, H, W, C] of images, resized to `size` (height, width), otherwise [T, *spec.shape].

    Raises:
      VideoError: as `probe`, or if there is no such frame.
    """
    with _opened(file.load()) as (stream, header):
        if header.is_fortran:  # a frame is spread over the whole file
            stream.seek(0)
            return take(_in_memory(stream.read(), header), file, spec, indices, size)
        _check(header.shape, header.dtype, file, spec)
        _check_indices(indices, header.shape[0], file)

        def read_into(buffer: memoryview, at: int) -> int:
            stream.seek(at)
            return stream.readinto(buffer) or 0

        try:
            frames = read_rows(read_into, header.start, header.shape[1:], header.dtype, indices)
        except OSError as error:
            raise VideoError(file, f"cannot be read: {error.strerror}") from error
        except EOFError as error:
            raise VideoError(file, "was cut short while it was read") from error
    return _finished(frames, file, spec, size)


def read_video(file: VideoFile, spec: Input, resize: Resize, *, max_bytes: int | None = None) -> DecodedVideo | None:
    """Reads a whole file; None if its frames, resized, would take more than `max_bytes`.

    Raises:
      VideoError: as `probe`.
    """
    source = file.load()
    about = probe(source, spec)
    size = resize(about.height, about.width) if spec.space == "image" else None
    if max_bytes is not None and spec.frame_bytes(*size or (1, 1)) * about.frames > max_bytes:
        return None
    return DecodedVideo(read_frames(source, spec, range(about.frames), size), None)


def take(array: np.ndarray, name: object, spec: Input, indices: Sequence[int], size: Size | None = None) -> np.ndarray:
    """A copy of the frames with the given numbers; gray images become RGB where the input is that.

    Raises:
      VideoError: if the array is of another shape or dtype, or has no such frame; `name` names it.
    """
    _check(array.shape, array.dtype, name, spec)
    _check_indices(indices, len(array), name)
    return _finished(array[np.asarray(indices, np.int64)], name, spec, size)


def _finished(frames: np.ndarray, name: object, spec: Input, size: Size | None) -> np.ndarray:
    _check_values(frames, name, spec)
    if _is_gray(frames.shape, spec):
        frames = np.repeat(frames, 3, axis=-1)
    return resized(frames, size, spec) if size is not None and spec.space == "image" else frames


def _check_values(frames: np.ndarray, name: object, spec: Input) -> None:
    """Refuses values that would silently ruin a training."""
    if spec.space == "image" and frames.dtype.kind == "f" and not np.isfinite(frames).all():
        raise VideoError(name, "holds values that are not finite, which an image must not")
    if spec.space == "points":
        far = np.nanmax(np.abs(frames[..., :2]), initial=0.0)
        if far > _MAX_POINT_COORDINATE:
            raise VideoError(name, f"has points at {far:g}: x and y must be fractions of the frame, 0 to 1")


def _info(shape: Sequence[int], spec: Input, signature: tuple[int, int] | None) -> VideoInfo:
    height, width = shape[1:3] if spec.space == "image" else (0, 0)
    return VideoInfo(shape[0], None, height, width, signature=signature)


@contextlib.contextmanager
def _opened(file: ReadableFile) -> Iterator[tuple[ByteStream, _Header]]:
    """The content of a file, and its header."""
    file.check()
    try:
        stream = file.open_bytes()
    except OSError as error:
        raise VideoError(file, error.strerror or one_line(error)) from error
    with stream:
        start = stream.read(_MAX_HEADER_BYTES)
        yield stream, _header(start, stream.seek(0, os.SEEK_END), file)


def _in_memory(content: bytes, header: _Header) -> np.ndarray:
    """The array in a file's content; a view of it."""
    values = np.frombuffer(content, header.dtype, math.prod(header.shape), header.start)
    return values.reshape(header.shape, order="F" if header.is_fortran else "C")


def _header(start: bytes, size: int, name: object) -> _Header:
    """Parses the header of a file of that size, given its first bytes."""
    if not start.startswith(_MAGIC):
        raise VideoError(name, "is not an array: give a .npy file, as numpy.save writes it")
    try:
        place = len(_MAGIC) + 2
        (length,) = _LENGTHS[start[place - 2]].unpack_from(start, place)
        text = start[place : place + _LENGTHS[start[place - 2]].size + length]
        fields = {name: pattern.search(text) for name, pattern in _FIELDS.items()}
        descr, order, shape = (found.group(1).decode() for found in fields.values() if found is not None)
        dtype = np.dtype(descr)
        sizes = tuple(int(number) for number in shape.split(",") if number.strip())
    except (IndexError, KeyError, TypeError, ValueError, struct.error) as error:
        raise VideoError(name, "is damaged, or not a plain array: its header cannot be read") from error
    found = _Header(sizes, dtype, order == "True", place + _LENGTHS[start[place - 2]].size + length)
    if dtype.hasobject:
        raise VideoError(name, "holds Python objects, not numbers")
    if found.start + math.prod(sizes) * dtype.itemsize > size:
        raise VideoError(name, f"is cut short: its header says {dtype} {_listed(sizes)}, it has {size} bytes")
    return found


def _check(shape: Sequence[int], dtype: np.dtype, name: object, spec: Input) -> None:
    """Refuses an array that the input does not describe."""
    places = ("N", "H", "W") if spec.space == "image" else ("N",)
    fits = len(shape) == len(places) + len(spec.shape) and tuple(shape[len(places) :]) == spec.shape
    if not (fits or _is_gray(shape, spec)) or dtype != np.dtype(spec.dtype):
        found, wanted = f"{dtype} {_listed(shape)}", f"{spec.dtype} {_listed((*places, *spec.shape))}"
        raise VideoError(name, f"holds {found}; the input {spec.name!r} is {wanted}")
    if 0 in shape:
        raise VideoError(name, f"holds no frame: its shape is {_listed(shape)}")


def _check_indices(indices: Sequence[int], count: int, name: object) -> None:
    first, last = min(indices), max(indices)
    if first < 0 or last >= count:
        raise VideoError(name, f"frames {first} to {last} were requested, but it has {count} frames")


def _is_gray(shape: Sequence[int], spec: Input) -> bool:
    return spec.color and spec.shape == (3,) and len(shape) == 4 and shape[-1] == 1


def _listed(shape: Sequence[object]) -> str:
    return f"[{', '.join(map(str, shape))}]"

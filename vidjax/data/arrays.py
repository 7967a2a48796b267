"""Reading NumPy files, and frames that are in memory: what is computed of videos beforehand, optical flow or poses.

A file holds [N, H, W, C] of images, else [N, *shape], as `Input` says. It is mapped into memory, so that only the
frames of a clip are read; a packed one is in memory as a whole.
"""

import io
from collections.abc import Sequence

import numpy as np
from numpy.lib.format import MAGIC_PREFIX

from vidjax.data.decoding import DecodedVideo, Size
from vidjax.data.inputs import Input
from vidjax.data.opening import identity, one_line, regular_file
from vidjax.data.packed import Packed
from vidjax.data.records import VideoInfo
from vidjax.data.resizing import Resize, resized
from vidjax.errors import VideoError


def probe(file: str | Packed, input: Input) -> VideoInfo:
    """What the header of a file says, once it was compared with the input.

    Raises:
      VideoError: the file is missing, no regular file, no array, or one of another shape or dtype.
    """
    return info(_opened(file), file, input, None if isinstance(file, Packed) else identity(file))


def info(array: np.ndarray, path: str | Packed, input: Input, identity: tuple[int, int] | None = None) -> VideoInfo:
    """The same of an array; `path` is for messages.

    Raises:
      VideoError: if it is of another shape or dtype.
    """
    _check(array, path, input)
    height, width = array.shape[1:3] if input.space == "image" else (0, 0)
    return VideoInfo(len(array), None, height, width, identity=identity)


def read_frames(file: str | Packed, input: Input, indices: Sequence[int], size: Size | None = None) -> np.ndarray:
    """Reads the frames with the given numbers, in the given order; numbers may repeat.

    Returns:
      [T, H, W, C] of images, resized to `size` (height, width), else [T, *input.shape].

    Raises:
      VideoError: as `probe`, or if there is no such frame.
    """
    return take(_opened(file), file, input, indices, size)


def read_video(
    file: str | Packed, input: Input, resize: Resize, *, max_bytes: int | None = None
) -> DecodedVideo | None:
    """Reads a whole file; None if its frames, resized, would take more than `max_bytes`.

    Raises:
      VideoError: as `probe`.
    """
    array = _opened(file)
    about = info(array, file, input)
    size = resize(about.height, about.width) if input.space == "image" else None
    if max_bytes is not None and input.frame_bytes(*size or (1, 1)) * about.frames > max_bytes:
        return None
    return DecodedVideo(take(array, file, input, range(about.frames), size), None)


def take(
    array: np.ndarray, path: str | Packed, input: Input, indices: Sequence[int], size: Size | None = None
) -> np.ndarray:
    """A copy of the frames with the given numbers; grey images become RGB where the input is that.

    Raises:
      VideoError: if the array is of another shape or dtype, or has no such frame; `path` names it.
    """
    _check(array, path, input)
    wanted, count = np.asarray(indices, np.int64), len(array)
    if wanted.min() < 0 or wanted.max() >= count:
        raise VideoError(path, f"frames {wanted.min()} to {wanted.max()} were asked for; it has {count}")
    frames = np.asarray(array[wanted])
    if _is_grey(array, input):
        frames = np.repeat(frames, 3, axis=-1)
    return resized(frames, size, input) if size is not None and input.space == "image" else frames


def _opened(file: str | Packed) -> np.ndarray:
    """The array of a file, mapped into memory, or that of a record."""
    if isinstance(file, Packed):
        content = file.load().files[0][1]
    else:
        regular_file(file)
    try:
        with io.BytesIO(content) if isinstance(file, Packed) else open(file, "rb") as stream:
            if stream.read(len(MAGIC_PREFIX)) != MAGIC_PREFIX:
                raise VideoError(file, "is no array: give a .npy file, as numpy.save writes it")
            stream.seek(0)
            array: np.ndarray = np.load(
                stream if isinstance(file, Packed) else file,
                mmap_mode=None if isinstance(file, Packed) else "r",
                allow_pickle=False,
            )
    except (OSError, ValueError, EOFError, OverflowError) as error:
        raise VideoError(file, f"is damaged, or no array: {one_line(error)}") from error
    return array


def _check(array: np.ndarray, path: str | Packed, input: Input) -> None:
    """Refuses an array that the input does not describe."""
    places = ("N", "H", "W") if input.space == "image" else ("N",)
    shape_fits = array.ndim == len(places) + len(input.shape) and array.shape[len(places) :] == input.shape
    if (shape_fits or _is_grey(array, input)) and array.dtype == np.dtype(input.dtype):
        if 0 in array.shape:
            raise VideoError(path, f"holds no frame: its shape is {_listed(array.shape)}")
        return
    found, wanted = f"{array.dtype} {_listed(array.shape)}", f"{input.dtype} {_listed((*places, *input.shape))}"
    raise VideoError(path, f"holds {found}; the input {input.name!r} is {wanted}")


def _is_grey(array: np.ndarray, input: Input) -> bool:
    return input.colour and input.shape == (3,) and array.ndim == 4 and array.shape[-1] == 1


def _listed(shape: Sequence[object]) -> str:
    return f"[{', '.join(map(str, shape))}]"

"""Reading frames from video files: the only place where vidjax decodes.

PyAV decodes in order from the first frame (`vidjax.data.video.opening`) and converts only the frames asked for: right
on every file that it opens. With a table of a file that was inspected it seeks (`vidjax.data.video.seeking`) and shows
the same to the pixel, so that no result depends on what is known of a file. decord, whose random access silently
returns wrong frames on some files (XviD with B-frames, open GOPs, transport streams), is used where all frames are
known to be key frames (`exact_seek`).
"""

import contextlib
import dataclasses
import functools
import logging
import operator
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import av
import numpy as np

from vidjax.data.packed.shards import Packed
from vidjax.data.video.conversion import Converter, Size, displayed_size
from vidjax.data.video.file import EncodedVideo, VideoFile, file_signature, one_line, regular_file
from vidjax.data.video.info import VideoInfo
from vidjax.data.video.opening import SequentialReader, open_video
from vidjax.data.video.seek_table import FrameIndex, SeekTable
from vidjax.data.video.seeking import SeekMismatchError, seek
from vidjax.errors import VideoError

logger = logging.getLogger(__name__)
_INITIAL_CAPACITY = 64  # frames of a whole video for which room is made at first
_warned: set[tuple[str, str]] = set()  # the losses, by path, that this process has warned of


@dataclasses.dataclass(frozen=True)
class DecodedVideo:
    """All frames of a video, uint8 [N, H, W, 3] RGB, and its frame rate (None where not stated)."""

    frames: np.ndarray
    fps: float | None

    def __len__(self) -> int:
        return len(self.frames)

    def take(self, indices: Sequence[int]) -> np.ndarray:
        """uint8 [T, H, W, 3]: the frames with these numbers; a view, not a copy, where they are evenly spaced."""
        if max(indices) >= len(self):
            raise IndexError(f"frame {max(indices)} of {len(self)}")
        steps = np.diff(indices)
        if len(steps) and steps[0] > 0 and (steps == steps[0]).all():
            return self.frames[indices[0] : indices[-1] + 1 : steps[0]]
        return self.frames[np.asarray(indices)]


def read_frames(
    path: str | os.PathLike[str] | Packed | EncodedVideo,
    indices: Sequence[int],
    size: Size | None = None,
    *,
    exact_seek: bool = False,
    table: SeekTable | None = None,
) -> np.ndarray:
    """Reads the frames with the given numbers, in the given order; numbers may repeat.

    Args:
      path: a video file, or a folder of images; or a packed one, or its record (`packed.encoded`), which have their
        table with them.
      indices: frame numbers, counted from 0 in the order of display.
      size: (height, width) to which frames are resized while they are decoded; None keeps their own.
      exact_seek: random access by decord is known to be right for this file, since every frame is a key frame.
      table: of this file, so that it need not be decoded from its beginning; changes nothing else.

    Returns:
      uint8 [T, H, W, 3], RGB, rotated as the file asks.

    Raises:
      VideoError: the file is missing, not a regular file, not a video, damaged, or has no such frame.
      TypeError: for a number that is not whole.
      ValueError: without a number, or for a size below 1.
    """
    wanted = [operator.index(i) for i in indices]
    if not wanted:
        raise ValueError("indices is empty: at least one frame number is needed")
    if size is not None and min(size) < 1:
        raise ValueError(f"size {tuple(size)}: give (height, width) of at least 1 pixel each")
    path = os.fspath(path) if isinstance(path, os.PathLike) else path
    if min(wanted) < 0:
        raise VideoError(path, f"frame {min(wanted)} was asked for; frame numbers start at 0")
    if exact_seek and isinstance(path, str):
        return _read_by_decord(path, wanted, size)
    file: VideoFile = path.load() if isinstance(path, Packed) else path
    table = file.table if isinstance(file, EncodedVideo) else table
    if table is not None and table.identity == file_signature(file):
        places = table.places()
        if len(places.keys) > 1 and max(wanted) < len(places.pts):
            with contextlib.suppress(SeekMismatchError):
                return _read_by_seeking(file, wanted, size, places)
    return _read_in_order(file, wanted, size)


def read_video(
    path: str | Packed,
    resize: Callable[[int, int], Size] | None = None,
    *,
    exact_seek: bool = False,
    max_bytes: int | None = None,
) -> DecodedVideo | None:
    """Reads every frame of a video, with the decoder that `read_frames` would take.

    Args:
      path: as in `read_frames`.
      resize: the size of the file's frames (height, width) -> that after resizing; None keeps it.
      exact_seek: as in `read_frames`.
      max_bytes: give up as soon as the decoded frames would take more than this.

    Returns:
      The video, or None if it would take more than `max_bytes`.

    Raises:
      VideoError: as in `read_frames`.
    """
    if exact_seek and isinstance(path, str):
        info = probe(path, exact_seek=True)
        height, width = resize(info.height, info.width) if resize else (info.height, info.width)
        if max_bytes is not None and info.frames * height * width * 3 > max_bytes:
            return None
        return DecodedVideo(_read_by_decord(path, list(range(info.frames)), (height, width)), info.fps)
    with open_video(path if isinstance(path, str) else path.load()) as video:
        convert = Converter(resize or (lambda height, width: (height, width)))
        frames = np.empty(0, np.uint8)
        for number, frame in enumerate(video):
            picture = convert(frame)
            if max_bytes is not None and video.count * picture.nbytes > max_bytes:
                return None
            if not number:
                frames = np.empty((_INITIAL_CAPACITY, *picture.shape), np.uint8)
            elif number == len(frames):  # grown in place: a list would have to be copied, at twice the memory
                frames.resize((number + number // 4, *picture.shape), refcheck=False)
            frames[number] = picture
        frames.resize((video.count, *picture.shape), refcheck=False)
        _warn_truncated(path, video)
        return DecodedVideo(frames, video.fps)


def probe(path: str | os.PathLike[str], *, exact_seek: bool = False) -> VideoInfo:
    """Counts the frames of a video by decoding it once, in order, without conversion.

    Where decord is known to be exact, its index is asked instead, and only the first frame is decoded. The
    answer is remembered in this process for as long as the file's size and time do not change.

    Raises:
      VideoError: as in `read_frames`.
    """
    path = os.fspath(path)
    return _probe(path, exact_seek, *file_signature(path))


@functools.cache
def _probe(path: str, exact_seek: bool, size: int, mtime_ns: int) -> VideoInfo:
    del size, mtime_ns  # they key the memory: a changed file is counted again
    if exact_seek:
        height, width = _first_frame_size(path)
        with decord_reader(path) as reader:
            return VideoInfo(len(reader), reader.get_avg_fps() or None, height, width)
    with open_video(path) as video:
        frames = iter(video)
        height, width = displayed_size(next(frames))
        for _ in frames:
            pass
        _warn_truncated(path, video)
        return VideoInfo(video.count, video.fps, height, width)


def _warn_truncated(path: str | Packed, video: SequentialReader) -> None:
    """Says once in a process that a video is shorter than it was meant to be."""
    loss = video.damage or video.early_end()
    if loss and (str(path), loss) not in _warned:
        _warned.add((str(path), loss))
        logger.warning("%s: %s; its first %d frames are used", path, loss, video.count)


def _read_in_order(path: VideoFile, wanted: list[int], size: Size | None) -> np.ndarray:
    last, output = max(wanted), _FrameCollector(wanted, size)
    with open_video(path) as video:
        for number, frame in enumerate(video):
            output.offer(number, frame)
            if number == last:
                return output.frames()
        why = f"; {video.damage}" if video.damage else ""
        raise VideoError(path, f"frame {last} was asked for; only frames 0 to {video.count - 1} decode{why}")


def _read_by_seeking(path: VideoFile, wanted: list[int], size: Size | None, places: FrameIndex) -> np.ndarray:
    output = _FrameCollector(wanted, size)
    with open_video(path, seekable=True) as video:
        frames, at = seek(video, 0, places), 0  # a frame number is `at` when the next one to come
        if size is None:
            first = next(frames, None)
            if first is None:
                raise SeekMismatchError
            output.offer(0, first)  # whose size is that of all
            at = 1
        for number in sorted(set(wanted) - ({0} if at else set())):
            key = places.key_before(number)
            if key >= at:  # each key frame was tried up to the next one, and no further
                frames, at = seek(video, key, places), key
            for at, frame in enumerate(frames, start=at):  # noqa: B020
                output.offer(at, frame)
                if at == number:
                    break
            else:
                raise SeekMismatchError
            at += 1
    return output.frames()


class _FrameCollector:
    """Gathers the wanted frames, converted, in the order in which they were asked for."""

    def __init__(self, wanted: list[int], size: Size | None):
        self._places: dict[int, list[int]] = {}
        for place, index in enumerate(wanted):
            self._places.setdefault(index, []).append(place)
        self._count = len(wanted)
        self._convert = Converter(lambda height, width: size or (height, width))
        self._frames: np.ndarray | None = None

    def offer(self, number: int, frame: av.VideoFrame) -> None:
        """Takes a frame if it is wanted; the first one that is offered decides on the size where none is given."""
        self._convert.choose_size(frame)
        if number in self._places:
            picture = self._convert(frame)
            if self._frames is None:
                self._frames = np.empty((self._count, *picture.shape), np.uint8)
            self._frames[self._places[number]] = picture

    def frames(self) -> np.ndarray:
        """uint8 [T, H, W, 3], once all were offered."""
        assert self._frames is not None
        return self._frames


def _read_by_decord(path: str, wanted: list[int], size: Size | None) -> np.ndarray:
    info = probe(path, exact_seek=True)
    # What decord resizes differs from what PyAV does, and with it from the same video packed.
    if not _decord_gives_width(info.width) or size not in (None, (info.height, info.width)):
        return _read_in_order(path, wanted, size)
    with decord_reader(path) as reader:
        if max(wanted) >= len(reader):
            raise VideoError(path, f"frame {max(wanted)} was asked for; the file has {len(reader)} frames")
        frames: np.ndarray = reader.get_batch(wanted).asnumpy()
    return frames


@contextlib.contextmanager
def decord_reader(path: str) -> Iterator[Any]:
    """Opens a file with decord; its errors become VideoError."""
    regular_file(path)
    try:
        import decord
    except ImportError as error:
        raise VideoError(path, "decord is not installed, and exact_seek needs it: pip install decord") from error
    try:
        # More threads read damaged files differently each time.
        yield decord.VideoReader(path, num_threads=1)
    except (RuntimeError, decord.DECORDError, IndexError, UnicodeError) as error:
        raise VideoError(path, f"decord cannot read it: {one_line(error)}") from error


def _decord_gives_width(width: int) -> bool:
    """Whether decord 0.6.0 can; scaled or not, it fails on 8, 12, 16, 24, 48 and 72 (tried from 8 to 400)."""
    return width >= 32 and width not in (48, 72)


def _first_frame_size(path: str) -> Size:
    with open_video(path) as video:
        return displayed_size(next(iter(video)))

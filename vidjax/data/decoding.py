"""Reading frames from video files: the only place where vidjax decodes.

Two decoders stand behind `read_frames`. PyAV decodes in order from the first frame and converts only
the frames asked for: right on every file that it opens. decord seeks, which is faster on long files but
silently returns wrong frames on some (XviD with B-frames, open GOPs, transport streams), so it is
used only where somebody has checked the file and says `exact_seek`.
"""

import contextlib
import dataclasses
import functools
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from vidjax.errors import VideoError

Size = tuple[int, int]  # (height, width)

# Demuxers that may open a file. Playlists (HLS, ffconcat) are left out: they read the files that they name.
_CONTAINERS = "avi,mov,mp4,matroska,webm,mpegts,mpeg,mpegvideo,h264,hevc,m4v,gif,flv,asf,ogg,ivf,mxf,nut"
# swscale's bilinear, widened when it reduces (so it does not alias); decord's scaler is the same one.
_INTERPOLATION = "BILINEAR"


@dataclasses.dataclass(frozen=True)
class VideoInfo:
    """What a whole pass over a file found.

    Attributes:
      frames: number of frames that decode (headers lie).
      fps: frames per second as the container states it; None where it does not.
      height, width: of a frame as displayed, after rotation.
    """

    frames: int
    fps: float | None
    height: int
    width: int


@dataclasses.dataclass(frozen=True)
class DecodedVideo:
    """All frames of a video, uint8 [N, H, W, 3] RGB, and its frame rate (None where not stated)."""

    frames: np.ndarray
    fps: float | None


def read_frames(path: str, indices: Sequence[int], size: Size | None = None, *, exact_seek: bool = False) -> np.ndarray:
    """Reads the frames with the given numbers, in the given order; numbers may repeat.

    Args:
      path: a video file.
      indices: frame numbers, counted from 0 in the order of display.
      size: (height, width) to which frames are resized while they are decoded; None keeps their own.
      exact_seek: random access by decord is known to be right for this file; else it is decoded in order.

    Returns:
      uint8 [T, H, W, 3], RGB, rotated as the file asks.

    Raises:
      VideoError: the file is missing, not a regular file, not a video, damaged, or has no such frame.
    """
    wanted = [int(i) for i in indices]
    if not wanted:
        raise ValueError("indices is empty: at least one frame number is needed")
    if min(wanted) < 0:
        raise VideoError(path, f"frame {min(wanted)} was asked for; frame numbers start at 0")
    if exact_seek:
        return _read_by_seeking(path, wanted, size)
    return _read_in_order(path, wanted, size)


def read_video(
    path: str,
    resize: Callable[[int, int], Size] | None = None,
    *,
    exact_seek: bool = False,
    max_bytes: int | None = None,
) -> DecodedVideo | None:
    """Reads every frame of a video, with the decoder that `read_frames` would take.

    Args:
      path: a video file.
      resize: the size of the file's frames (height, width) -> that after resizing; None keeps it.
      exact_seek: as in `read_frames`.
      max_bytes: give up as soon as the decoded frames would take more than this.

    Returns:
      The video, or None if it would take more than `max_bytes`.

    Raises:
      VideoError: as in `read_frames`.
    """
    if exact_seek:
        info = probe(path, exact_seek=True)
        height, width = resize(info.height, info.width) if resize else (info.height, info.width)
        if max_bytes is not None and info.frames * height * width * 3 > max_bytes:
            return None
        return DecodedVideo(_read_by_seeking(path, list(range(info.frames)), (height, width)), info.fps)
    frames: list[np.ndarray] = []
    with _opened(path) as (container, stream):
        convert = _Converter(resize or (lambda height, width: (height, width)))
        for frame in container.decode(stream):
            frames.append(convert(frame))
            if max_bytes is not None and len(frames) * frames[0].nbytes > max_bytes:
                return None
        fps = _fps(stream)
    if not frames:
        raise VideoError(path, "holds no frame that decodes")
    return DecodedVideo(np.stack(frames), fps)


def probe(path: str, *, exact_seek: bool = False) -> VideoInfo:
    """Counts the frames of a video by decoding it once, in order, without conversion.

    Where decord is known to be exact, its index is asked instead, and only the first frame is decoded. The
    answer is remembered in this process for as long as the file's size and time do not change.

    Raises:
      VideoError: as in `read_frames`.
    """
    status = _regular_file(path)
    return _probe(path, exact_seek, status.st_size, status.st_mtime_ns)


def short_side_size(height: int, width: int, short_side: int | None) -> Size:
    """Returns (height, width) with the shorter side equal to `short_side` and the aspect ratio kept.

    The longer side is rounded to the nearest pixel. None returns the size unchanged.
    """
    if short_side is None:
        return height, width
    shorter = min(height, width)
    return (2 * height * short_side + shorter) // (2 * shorter), (2 * width * short_side + shorter) // (2 * shorter)


@functools.cache
def _probe(path: str, exact_seek: bool, size: int, mtime_ns: int) -> VideoInfo:
    del size, mtime_ns  # they key the memory: a changed file is counted again
    if exact_seek:
        height, width = _first_frame_size(path)
        with _decord_reader(path) as reader:
            return VideoInfo(len(reader), reader.get_avg_fps() or None, height, width)
    count, shape = 0, None
    with _opened(path) as (container, stream):
        for frame in container.decode(stream):
            shape = shape or _displayed_size(frame)
            count += 1
        fps = _fps(stream)
    if shape is None:
        raise VideoError(path, "holds no frame that decodes")
    height, width = shape
    return VideoInfo(count, fps, height, width)


def _read_in_order(path: str, wanted: list[int], size: Size | None) -> np.ndarray:
    places: dict[int, list[int]] = {}
    for place, index in enumerate(wanted):
        places.setdefault(index, []).append(place)
    last, count, output = max(wanted), 0, None
    with _opened(path) as (container, stream):
        convert = _Converter(lambda height, width: size or (height, width))
        for count, frame in enumerate(container.decode(stream), start=1):
            if count - 1 in places:
                picture = convert(frame)
                if output is None:
                    output = np.empty((len(wanted), *picture.shape), np.uint8)
                output[places[count - 1]] = picture
            if count > last:
                break
    if count <= last or output is None:
        raise VideoError(path, f"frame {last} was asked for; only frames 0 to {count - 1} decode ({count} frames)")
    return output


def _read_by_seeking(path: str, wanted: list[int], size: Size | None) -> np.ndarray:
    scaled = size if size is not None and _decord_gives_width(size[1]) else None
    if scaled is None and not _decord_gives_width(_first_frame_size(path)[1]):
        return _read_in_order(path, wanted, size)
    with _decord_reader(path, scaled) as reader:
        if max(wanted) >= len(reader):
            raise VideoError(path, f"frame {max(wanted)} was asked for; the file has {len(reader)} frames")
        frames = reader.get_batch(wanted).asnumpy()
    return frames if size is None else resize_frames(frames, size)


@contextlib.contextmanager
def _decord_reader(path: str, size: Size | None = None) -> Iterator[Any]:
    """Opens a file with decord; its errors become VideoError."""
    _regular_file(path)
    try:
        import decord
    except ImportError as error:
        raise VideoError(path, "decord is not installed, and exact_seek needs it: pip install decord") from error
    height, width = size or (-1, -1)
    try:
        # More threads read damaged files differently each time.
        yield decord.VideoReader(path, width=width, height=height, num_threads=1)
    except (RuntimeError, decord.DECORDError, IndexError) as error:
        raise VideoError(path, f"decord cannot read it: {_one_line(error)}") from error


def _decord_gives_width(width: int) -> bool:
    """Whether decord 0.6.0 can; scaled or not, it fails on 8, 12, 16, 24, 48 and 72 (tried from 8 to 400)."""
    return width >= 32 and width not in (48, 72)


def _first_frame_size(path: str) -> Size:
    with _opened(path) as (container, stream):
        for frame in container.decode(stream):
            return _displayed_size(frame)
    raise VideoError(path, "holds no frame that decodes")


def resize_frames(frames: np.ndarray, size: Size) -> np.ndarray:
    """Resizes uint8 [T, H, W, 3] to `size` with the scaler that decoding uses."""
    if frames.shape[1:3] == size:
        return frames
    convert = _Converter(lambda height, width: size)
    return np.stack([convert(av.VideoFrame.from_ndarray(frame, format="rgb24")) for frame in frames])


class _Converter:
    """Turns decoded frames into RGB arrays of one size, chosen by `choose(height, width)` at the first."""

    def __init__(self, choose: Callable[[int, int], Size]):
        self._choose = choose
        self._size: Size | None = None
        self._reformatter = VideoReformatter()  # one scaler for all frames; making it costs as much as using it

    def __call__(self, frame: Any) -> np.ndarray:
        if self._size is None:
            self._size = self._choose(*_displayed_size(frame))
        height, width = self._size
        turns = _quarter_turns(frame)
        if turns % 2:
            height, width = width, height
        rgb = self._reformatter.reformat(
            frame, width=width, height=height, format="rgb24", interpolation=_INTERPOLATION, threads=1
        )
        return np.rot90(rgb.to_ndarray(), turns) if turns else rgb.to_ndarray()


def _quarter_turns(frame: Any) -> int:
    """Counter-clockwise quarter turns that the display matrix asks for; other angles are ignored."""
    rotation = getattr(frame, "rotation", 0) % 360
    return rotation // 90 if rotation % 90 == 0 else 0


def _displayed_size(frame: Any) -> Size:
    return (frame.width, frame.height) if _quarter_turns(frame) % 2 else (frame.height, frame.width)


def _fps(stream: Any) -> float | None:
    rate = stream.average_rate or stream.guessed_rate
    return float(rate) if rate else None


def _regular_file(path: str) -> os.stat_result:
    """Refuses what is not a regular file before it is opened: opening a FIFO waits for ever."""
    try:
        status = os.stat(path)
    except (OSError, ValueError) as error:
        raise VideoError(path, getattr(error, "strerror", None) or _one_line(error)) from error
    if not stat.S_ISREG(status.st_mode):
        raise VideoError(path, "is not a regular file")
    if status.st_size == 0:
        raise VideoError(path, "is empty (0 bytes)")
    return status


@contextlib.contextmanager
def _opened(path: str) -> Iterator[tuple[Any, Any]]:
    """Opens the video stream of a file; errors of opening and of decoding become VideoError."""
    _regular_file(path)
    try:
        # "file:" keeps a colon in a name from being read as a protocol.
        with av.open("file:" + path, options={"format_whitelist": _CONTAINERS}) as container:
            stream = container.streams.best("video")
            if stream is None or stream.codec_context is None:
                raise VideoError(path, "has no video stream that can be decoded")
            stream.codec_context.thread_count = 1  # clips run in parallel; with more, damaged files read differently
            yield container, stream
    # av's errors do not all pickle, and must never leave a worker process.
    except (av.FFmpegError, OSError, ValueError, RuntimeError, MemoryError) as error:
        raise VideoError(path, f"cannot be decoded: {_one_line(error)}") from error


def _one_line(error: BaseException) -> str:
    """The message of a decoder's exception without its path and stack: at most 200 characters of one line."""
    message = getattr(error, "strerror", None) or str(error).strip() or type(error).__name__
    return message.splitlines()[0][:200]

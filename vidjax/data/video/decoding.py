"""Reading frames from video files: the only place where vidjax decodes.

PyAV decodes in order from the first frame (`vidjax.data.video.sequential`) and converts only the frames asked for:
correct on every file that it opens. With the seek table of an inspected file it seeks (`vidjax.data.video.seeking`) and
returns the same pixels, so that no result depends on what is known of a file. Where every frame is known to be a key
frame (`VideoFile.exact_seek`), decord reads (`vidjax.data.video.decord_reader`). Frames that are stored one by one
(`VideoFile.separate_frames`) are decoded by themselves.
"""

import contextlib
import dataclasses
import functools
import logging
import operator
from collections.abc import Callable, Sequence

import av
import numpy as np

from vidjax.data.video import decord_reader
from vidjax.data.video.checks import MAX_PIXELS, one_line
from vidjax.data.video.conversion import Converter, Size, displayed_size
from vidjax.data.video.file import ReadableFile, SeparateFrames, VideoFile
from vidjax.data.video.info import VideoInfo
from vidjax.data.video.opening import open_video
from vidjax.data.video.seek_table import FrameIndex
from vidjax.data.video.seeking import SeekMismatchError, seek
from vidjax.data.video.sequential import SequentialReader
from vidjax.errors import VideoError

logger = logging.getLogger(__name__)
_INITIAL_CAPACITY = 64  # frames of a whole video for which memory is allocated at first
_warned: set[tuple[str, str]] = set()  # file and loss, of the warnings that this process has given


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


def read_frames(file: VideoFile, indices: Sequence[int], size: Size | None = None) -> np.ndarray:
    """Reads frames, uint8 [T, H, W, 3], as `vidjax.data.read_frames` says, which takes a path."""
    wanted = [operator.index(i) for i in indices]
    if not wanted:
        raise ValueError("indices is empty: at least one frame number is needed")
    if size is not None and min(size) < 1:
        raise ValueError(f"size {tuple(size)}: give (height, width) of at least 1 pixel each")
    if min(wanted) < 0:
        raise VideoError(file, f"frame {min(wanted)} was requested, but frame numbers start at 0")
    separate = file.separate_frames()
    if separate is not None:
        return _read_separate(file, separate, wanted, size)
    source = file.load()
    if source.exact_seek:
        info = probe(source)
        if decord_reader.gives_size((info.height, info.width), size):
            return decord_reader.read_frames(source, wanted)
    index = _frame_index(source)
    if index is not None and max(wanted) < len(index.pts):
        with contextlib.suppress(SeekMismatchError):
            return _read_by_seeking(source, wanted, size, index)
    return _read_in_order(source, wanted, size)


def read_video(
    file: VideoFile, resize: Callable[[int, int], Size] | None = None, *, max_bytes: int | None = None
) -> DecodedVideo | None:
    """Reads every frame of a video, with the decoder that `read_frames` would take.

    Args:
      file: the video.
      resize: (height, width) of the file's frames -> that after resizing; None keeps it.
      max_bytes: give up as soon as the decoded frames would take more than this.

    Returns:
      The video, or None if it would take more than `max_bytes`.

    Raises:
      VideoError: as in `read_frames`.
    """
    if file.exact_seek or file.separate_frames() is not None:
        info = probe(file)
        height, width = resize(info.height, info.width) if resize else (info.height, info.width)
        if max_bytes is not None and info.frames * height * width * 3 > max_bytes:
            return None
        return DecodedVideo(read_frames(file, range(info.frames), (height, width)), info.fps)
    with open_video(file.load()) as video:
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
        _warn_truncated(file, video)
        return DecodedVideo(frames, video.fps)


def probe(file: VideoFile) -> VideoInfo:
    """Counts the frames of a video by decoding it once, in order, without conversion.

    Where decord is known to be exact, its index is asked instead, and only the first frame is decoded. The result is
    kept in this process for as long as the file's size and time do not change.

    Raises:
      VideoError: as in `read_frames`.
    """
    separate = file.separate_frames()
    if separate is not None:
        return separate.info
    source = file.load()
    return _probe(source, source.signature())


@functools.cache
def _probe(file: ReadableFile, signature: tuple[int, int]) -> VideoInfo:
    del signature  # part of the key: a changed file is counted again
    with open_video(file) as video:
        frames = iter(video)
        height, width = displayed_size(next(frames))
        if file.exact_seek:
            return VideoInfo(*decord_reader.count_frames(file), height, width)
        for _ in frames:
            pass
        _warn_truncated(file, video)
        return VideoInfo(video.count, video.fps, height, width)


def _warn_truncated(file: VideoFile, video: SequentialReader) -> None:
    """Warns, once in a process, that a video is shorter than it was meant to be."""
    loss = video.damage or video.truncation_warning()
    if loss and (str(file), loss) not in _warned:
        _warned.add((str(file), loss))
        logger.warning("%s: %s; its first %d frames are used", file, loss, video.count)


def _frame_index(file: ReadableFile) -> FrameIndex | None:
    """By which frames are found faster; None if nothing is gained, or the file has changed since it was inspected."""
    if file.table is None or file.table.signature != file.signature():
        return None
    index = file.table.frame_index()
    return index if len(index.keys) > 1 else None


def _read_separate(file: VideoFile, separate: SeparateFrames, wanted: list[int], size: Size | None) -> np.ndarray:
    info = separate.info
    if max(wanted) >= info.frames:
        raise VideoError(file, f"frame {max(wanted)} was requested, but it has frames 0 to {info.frames - 1}")
    output, decoder = _FrameCollector(wanted, size), av.CodecContext.create(separate.codec, "r")
    decoder.thread_count, decoder.options = 1, {"max_pixels": str(MAX_PIXELS)}
    numbers = sorted(set(wanted))
    for number, image in zip(numbers, separate.read(numbers), strict=True):
        try:
            (frame,) = decoder.decode(av.Packet(image))  # type: ignore[attr-defined]
            if (frame.height, frame.width) != (info.height, info.width):
                raise ValueError(f"it has {frame.height}x{frame.width} pixels, not {info.height}x{info.width}")
        except (av.FFmpegError, ValueError) as error:
            raise VideoError(file, f"frame {number} cannot be decoded: {one_line(error)}") from error
        output.add(number, frame)
    return output.frames()


def _read_in_order(file: ReadableFile, wanted: list[int], size: Size | None) -> np.ndarray:
    last, output = max(wanted), _FrameCollector(wanted, size)
    with open_video(file) as video:
        for number, frame in enumerate(video):
            output.add(number, frame)
            if number == last:
                return output.frames()
        why = f"; {video.damage}" if video.damage else ""
        raise VideoError(file, f"frame {last} was requested, but only frames 0 to {video.count - 1} decode{why}")


def _read_by_seeking(file: ReadableFile, wanted: list[int], size: Size | None, index: FrameIndex) -> np.ndarray:
    output = _FrameCollector(wanted, size)
    with open_video(file, seekable=True) as video:
        frames, upcoming = seek(video, 0, index), 0
        if size is None:
            first = next(frames, None)
            if first is None:
                raise SeekMismatchError
            output.add(0, first)  # whose size is that of all
            upcoming = 1
        for number in sorted(set(wanted) - ({0} if upcoming else set())):
            key = index.keyframe_before(number)
            if key >= upcoming:  # each key frame was tried up to the next one, and no further
                frames, upcoming = seek(video, key, index), key
            for frame in frames:
                output.add(upcoming, frame)
                upcoming += 1
                if upcoming > number:
                    break
            else:
                raise SeekMismatchError
    return output.frames()


class _FrameCollector:
    """Gathers the wanted frames, converted, in the order in which they were asked for."""

    def __init__(self, wanted: list[int], size: Size | None):
        self._positions: dict[int, list[int]] = {}
        for position, number in enumerate(wanted):
            self._positions.setdefault(number, []).append(position)
        self._count = len(wanted)
        self._convert = Converter(lambda height, width: size or (height, width))
        self._frames: np.ndarray | None = None

    def add(self, number: int, frame: av.VideoFrame) -> None:
        """Keeps a frame if it is wanted; the first one decides the size if none is given."""
        self._convert.choose_size(frame)
        if number in self._positions:
            picture = self._convert(frame)
            if self._frames is None:
                self._frames = np.empty((self._count, *picture.shape), np.uint8)
            self._frames[self._positions[number]] = picture

    def frames(self) -> np.ndarray:
        """uint8 [T, H, W, 3], once all were added."""
        assert self._frames is not None
        return self._frames

"""Opening video files with PyAV and walking through their frames in order, as far as these can be trusted.

The order is that of display. Edit lists are honoured as FFmpeg honours them, and with it most players: what they hide
is not shown. A frame that the decoder reports as damaged ends the video: later ones may be predicted from it; and so
do frames that are missing in the middle (`vidjax.data.video.damage`).
"""

import contextlib
import functools
import io
import itertools
import os
from collections.abc import Iterator
from typing import Any, BinaryIO

import av

from vidjax.data.video.damage import PacketLog
from vidjax.data.video.file import (
    MAX_PIXELS,
    EncodedVideo,
    VideoFile,
    check_pixels,
    one_line,
    regular_file,
)
from vidjax.data.video.file_types import gif_truncation, unsupported_reason
from vidjax.data.video.images import decode_images
from vidjax.errors import VideoError

# Demuxers that may open a file. Playlists (HLS, ffconcat) are left out: they read the files that they name.
_CONTAINERS = "avi,mov,mp4,matroska,webm,mpegts,mpeg,mpegvideo,h264,hevc,m4v,gif,flv,asf,ogg,ivf,mxf,nut"
# Titles and other tags are in any encoding, and of no interest here. Before version 19, PyAV refuses those that are not
# UTF-8 unless it is told otherwise.
_TAGS: dict[str, Any] = {"metadata_errors": "ignore"} if hasattr(av.container.Container, "metadata_errors") else {}
_BUFFER = 1 << 16  # bytes that are taken at once of a file in memory
_MIN_LOST_FRAMES = 3  # frames; a file that ends a little before its header says so is no sign of damage
_MIN_LOST_FRACTION = 0.02  # of its frames,
_LOST_SECONDS = 1.0  # but no longer than this


class SequentialReader:
    """The frames of a video, one after the other.

    Attributes:
      container, stream: PyAV's; None for a folder of images.
      count: frames that were yielded so far.
      damage: why the walk ended before the end of the data, in one line; None as long as it has not.
      error: what the damage was told by; None where it was no exception.
      loss: known before the walk: how many frames are whole, and what is wrong behind them; None where nothing is.
    """

    def __init__(
        self, path: str, frames: Iterator[Any], container: Any = None, stream: Any = None, log: PacketLog | None = None
    ):
        self.container = container
        self.stream = stream
        self.count = 0
        self.damage: str | None = None
        self.error: BaseException | None = None
        self.loss: tuple[int, str] | None = None
        self._path = path
        self._log = log
        self._frames = frames
        self._last_pts: int | None = None
        self._last_duration = 0
        self._latest = (0, 0)  # time and duration of another one, where files were joined and the clock went back

    @property
    def fps(self) -> float | None:
        """Frames per second as the container states them; None where it does not."""
        rate = (self.stream.average_rate or self.stream.guessed_rate) if self.stream is not None else None
        return float(rate) if rate else None

    @property
    def stated_frames(self) -> int | None:
        """How many frames the header promises, by its duration; None where it states none that is about the video."""
        seconds = self._stated_seconds()
        return round(seconds * self.fps) if seconds is not None and self.fps else None

    def early_end(self) -> str | None:
        """After the walk: says that many frames which the header promises did not come; None where they did."""
        stated, fps = self._stated_seconds(), self.fps
        if stated is None or fps is None or self._last_pts is None:
            return None
        tick = float(self.stream.time_base)
        latest, duration = self._latest
        shown = max(1 / fps, duration * tick)  # a frame may be shown for long
        reached = (latest - (self.stream.start_time or 0)) * tick + shown
        unseen = self.stream.frames - self.count
        if unseen >= _MIN_LOST_FRAMES and reached > 2 * stated:
            return f"its header's clock is wrong: {self.count} of {self.stream.frames} frames have a time of their own"
        covered = reached
        if self._log and not self.stream.duration:
            # Only the whole file states a duration, from time 0 on; it may be that of the sound.
            began = (self.stream.start_time or 0) * tick
            covered = max(reached + began, self._log.others_end)
        if (stated - covered) * fps < max(_MIN_LOST_FRAMES, min(_MIN_LOST_FRACTION * stated, _LOST_SECONDS) * fps):
            return None
        return f"ends early: {self.count} frames, {reached:.2f} s of the {stated:.2f} s that its header states"

    def __iter__(self) -> Iterator[Any]:
        """Yields `av.VideoFrame`s up to the first damaged one.

        Raises:
          VideoError: if no frame is sound, or frames are too large.
        """
        while self.damage is None:
            if self.loss is not None and self.count >= self.loss[0]:
                self.damage = self.loss[1]
                break
            try:
                frame = next(self._frames)
            except StopIteration:
                if self._log is not None and self._log.is_cut:
                    self.damage = f"the file ends within frame {self.count}"
                break
            except (av.FFmpegError, ValueError, RuntimeError, OSError) as error:
                self.damage, self.error = f"frame {self.count} cannot be decoded: {one_line(error)}", error
                break
            has_lost = self._log is not None and self._log.has_lost
            if frame.is_corrupt or (has_lost and self._is_known_to_be_damaged(frame)):
                self.damage = f"frame {self.count} is damaged"
                break
            missing = has_lost and self._missing_before(frame)
            if missing:
                self.damage = f"{missing} frame{'s are' if missing > 1 else ' is'} missing after frame {self.count - 1}"
                break
            check_pixels(self._path, frame.height, frame.width)
            pts = frame.pts
            if pts is not None:
                self._last_pts, self._last_duration = pts, frame.duration or 0
                if not self.count or pts > self._latest[0]:
                    self._latest = pts, self._last_duration
            self.count += 1
            yield frame
        if not self.count:
            raise VideoError(self._path, self.damage or "holds no frame that decodes") from self.error

    def _is_known_to_be_damaged(self, frame: Any) -> bool:
        start = self._log.damaged_from if self._log is not None else None
        return start is not None and frame.pts is not None and frame.pts >= start

    def _missing_before(self, frame: Any) -> int:
        """How many frames the file has lost before this one, as far as that is seen (`packets`)."""
        if self._log is None or self._last_pts is None or frame.pts is None or not self.fps:
            return 0
        period = max(self._last_duration, 1 / (self.fps * float(self.stream.time_base)))
        return self._log.missing(self._last_pts, frame.pts, period)

    def _stated_seconds(self) -> float | None:
        if self.stream is None:
            return None
        if self.container.format.name == "avi" and self.stream.frames:
            # FFmpeg cuts the duration down to the size of the file.
            return float(self.stream.frames * self.stream.time_base)
        if self.stream.duration:
            return float(self.stream.duration * self.stream.time_base)
        return self.container.duration / 1e6 if self.container.duration else None


@contextlib.contextmanager
def open_video(file: VideoFile, *, seekable: bool = False) -> Iterator[SequentialReader]:
    """Opens a video file, or a folder of images in the order of their names.

    Args:
      file: path of the file or folder, or its content.
      seekable: the container's index is going to be used. Without it an AVI file is read as it lies, whatever its
        index says of it.

    Raises:
      VideoError: if it is neither, or is damaged from its beginning; also for what goes wrong inside the context.
    """
    path = str(file)
    if file.is_folder if isinstance(file, EncodedVideo) else os.path.isdir(file):
        yield SequentialReader(path, decode_images(file))
        return
    if isinstance(file, str):
        regular_file(file)
    try:
        with _container(file, as_it_lies=not seekable and _is_avi(file)) as container:
            stream = container.streams.best("video")
            context: Any = stream.codec_context if stream is not None else None
            if context is None:
                if container.streams.audio and not container.streams.video:
                    raise VideoError(path, "has no video, only sound")
                why = _failure_reason(file)
                raise VideoError(
                    path, f"cannot be decoded: {why}" if why else "has no video stream that can be decoded"
                )
            if stream.disposition & av.stream.Disposition.attached_pic:
                raise VideoError(path, "has no video, only a cover picture")
            context.thread_count = 1  # clips run in parallel; with more, damaged files read differently
            context.options = {"max_pixels": str(MAX_PIXELS)}
            check_pixels(path, context.height, context.width)
            log = PacketLog(container.format.name, functools.partial(_part_of, file))
            video = SequentialReader(path, decode_frames(container, stream, log), container, stream, log)
            if container.format.name == "gif":
                with _bytes_of(file) as content:
                    video.loss = gif_truncation(content.read())
            yield video
    # av's errors do not all pickle, and must never leave a worker process.
    except MemoryError as error:
        raise VideoError(path, "needs more memory than there is") from error
    except (av.FFmpegError, OSError, ValueError, RuntimeError) as error:
        why = _failure_reason(file) if isinstance(error, av.error.InvalidDataError | av.error.ArgumentError) else None
        raise VideoError(path, f"cannot be decoded: {why or one_line(error)}") from error


def decode_frames(container: Any, stream: Any, log: PacketLog | None = None) -> Iterator[Any]:
    """Yields the frames of a stream from where the container stands; with a log, tells it of all packets."""
    for packet in container.demux() if log else container.demux(stream):
        if packet.stream is not stream and packet.stream.index != stream.index:
            assert log is not None
            log.note_other(packet)
            continue
        if log is not None:
            log.note_video(packet)
            if log.is_cut:  # what is left of its picture may look sound to the decoder
                whole = stream.codec_context.decode(None)
                yield from itertools.takewhile(lambda frame: _is_before(frame, packet), whole)  # noqa: B023
                return
        if packet.size or not packet.buffer_ptr:
            # An empty packet in the middle (Theora) repeats a frame; the decoder takes it for the end.
            yield from packet.decode()


def _is_before(frame: Any, packet: Any) -> bool:
    return None in (frame.pts, packet.pts) or frame.pts < packet.pts


def _container(file: VideoFile, *, as_it_lies: bool) -> Any:
    options = {"format_whitelist": _CONTAINERS}
    if isinstance(file, EncodedVideo):
        stream = _Stream(file, seekable=not as_it_lies)
        return av.open(stream, options=options, buffer_size=_BUFFER, **_TAGS)
    if as_it_lies:
        options["seekable"] = "0"
    # "file:" keeps a colon in a name from being read as a protocol.
    return av.open("file:" + file, options=options, **_TAGS)


class _Stream(io.BytesIO):
    """A file in memory; its name, which FFmpeg asks for, helps to guess the format."""

    def __init__(self, file: EncodedVideo, *, seekable: bool):
        ((self.name, content),) = file.files
        super().__init__(content)
        self._is_seekable = seekable

    def seekable(self) -> bool:
        return self._is_seekable


def _is_avi(file: VideoFile) -> bool:
    with _bytes_of(file) as stream:
        start = stream.read(12)
    return start[:4] == b"RIFF" and start[8:11] == b"AVI"


def _bytes_of(file: VideoFile) -> BinaryIO:
    return io.BytesIO(file.files[0][1]) if isinstance(file, EncodedVideo) else open(file, "rb")


def _part_of(file: VideoFile, place: int, size: int) -> bytes:
    with _bytes_of(file) as stream:
        stream.seek(place)
        return stream.read(size)


def _failure_reason(file: VideoFile) -> str | None:
    try:
        with _bytes_of(file) as stream:
            return unsupported_reason(stream)
    except OSError:
        return None

"""Opening a video file, or saying in one line why it cannot be opened."""

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

import av

from vidjax.data.video.checks import MAX_PIXELS, check_pixels, one_line
from vidjax.data.video.damage import PacketLog
from vidjax.data.video.file import ReadableFile
from vidjax.data.video.file_types import gif_truncation, unsupported_reason
from vidjax.data.video.images import decode_images
from vidjax.data.video.sequential import SequentialReader, decode_frames
from vidjax.errors import VideoError


@contextlib.contextmanager
def open_video(file: ReadableFile, *, seekable: bool = False) -> Iterator[SequentialReader]:
    """Opens a video file, or a folder of images in the order of their names.

    Args:
      file: the video.
      seekable: the container's index is going to be used. Otherwise an AVI file is read from front to back, whatever
        its index says.

    Raises:
      VideoError: if it is neither, or is damaged from its beginning; also if reading fails inside the context.
    """
    name = str(file)
    if file.is_folder():
        yield SequentialReader(name, decode_images(file))
        return
    file.check()
    try:
        with file.container(sequential=not seekable and _is_avi(file)) as container:
            stream = container.streams.best("video")
            context: Any = stream.codec_context if stream is not None else None
            if context is None:
                if container.streams.audio and not container.streams.video:
                    raise VideoError(name, "has no video, only sound")
                why = _failure_reason(file)
                raise VideoError(
                    name, f"cannot be decoded: {why}" if why else "has no video stream that can be decoded"
                )
            if stream.disposition & av.stream.Disposition.attached_pic:
                raise VideoError(name, "has no video, only a cover picture")
            context.thread_count = 1  # clips run in parallel; with more, damaged files read differently
            context.options = {"max_pixels": str(MAX_PIXELS)}
            check_pixels(name, context.height, context.width)
            log = PacketLog(container.format.name, functools.partial(_read_range, file))
            video = SequentialReader(name, decode_frames(container, stream, log), container, stream, log)
            if container.format.name == "gif":
                with file.open_bytes() as content:
                    video.loss = gif_truncation(content.read())
            yield video
    # av's errors do not all pickle, and must never leave a worker process.
    except MemoryError as error:
        raise VideoError(name, "needs more memory than there is") from error
    except (av.FFmpegError, OSError, ValueError, RuntimeError) as error:
        why = _failure_reason(file) if isinstance(error, av.error.InvalidDataError | av.error.ArgumentError) else None
        raise VideoError(name, f"cannot be decoded: {why or one_line(error)}") from error


def _is_avi(file: ReadableFile) -> bool:
    with file.open_bytes() as stream:
        start = stream.read(12)
    return start[:4] == b"RIFF" and start[8:11] == b"AVI"


def _read_range(file: ReadableFile, start: int, size: int) -> bytes:
    with file.open_bytes() as stream:
        stream.seek(start)
        return stream.read(size)


def _failure_reason(file: ReadableFile) -> str | None:
    try:
        with file.open_bytes() as stream:
            return unsupported_reason(stream)
    except OSError:
        return None

"""Video files: on a disk, in memory, or in a shard (`vidjax.data.packed.shards`).

Everything that reads a video takes a `VideoFile` and asks it, never what kind it is. A path becomes one by `as_file`.
"""

import abc
import dataclasses
import functools
import io
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from vidjax.data.video.checks import check_regular_file, one_line
from vidjax.data.video.discovery import image_files
from vidjax.data.video.info import VideoInfo
from vidjax.data.video.seek_table import SeekTable
from vidjax.errors import VideoError

# Demuxers that may open a file. Playlists (HLS, ffconcat) are left out: they read the files that they name.
_FORMATS = "avi,mov,mp4,matroska,webm,mpegts,mpeg,mpegvideo,h264,hevc,m4v,gif,flv,asf,ogg,ivf,mxf,nut"
_BUFFER_BYTES = 1 << 16  # read at once from a file in memory

ByteStream = io.FileIO | io.BytesIO


@dataclasses.dataclass(frozen=True)
class SeparateFrames:
    """Frames that are stored one by one, in an image format, and so read without the ones before them.

    Attributes:
      info: length, rate and size of the video.
      codec: FFmpeg's name of the format.
      read: numbers of frames -> their images; raises VideoError.
    """

    info: VideoInfo
    codec: str
    read: Callable[[Sequence[int]], list[bytes]]


class VideoFile(abc.ABC):
    """A video file or a folder of images, wherever it is stored. Hashable; pickles; `str(file)` names it in messages.

    Attributes:
      exact_seek: random access by decord is known to be right, since every frame is a key frame; only for a file on
        a disk, whose name is its path.
      is_on_disk: it can be inspected in place; of any other file everything was found out when it was packed.
      short_side: to which its frames were resized when they were packed, in pixels; None: they were not.
    """

    exact_seek: bool = False
    is_on_disk: bool = False
    short_side: int | None = None

    @abc.abstractmethod
    def load(self) -> "ReadableFile":
        """The file to read from: itself, or the record that holds it.

        Raises:
          VideoError: if the record is damaged, or is another video.
          DataError: if the shard cannot be read; that says nothing about the video.
        """

    @abc.abstractmethod
    def cache_key(self) -> tuple[Any, ...]:
        """What identifies its content to a cache on disk.

        Raises:
          VideoError: if there is no such file.
        """

    @abc.abstractmethod
    def content_size(self) -> int:
        """Bytes of the file, or of all images together.

        Raises:
          VideoError: if there is no such file.
        """

    def separate_frames(self) -> SeparateFrames | None:
        """Its frames, if they are stored one by one; None if they are read from what `load` gives."""
        return None


class ReadableFile(VideoFile):
    """A file that can be read right away.

    Attributes:
      table: its `SeekTable`, by which frames are found faster; None if it has none.
    """

    table: SeekTable | None = None

    def load(self) -> "ReadableFile":
        """Itself."""
        return self

    @abc.abstractmethod
    def check(self) -> None:
        """Refuses what must not be opened.

        Raises:
          VideoError: if there is no regular file, or it is empty.
        """

    @abc.abstractmethod
    def signature(self) -> tuple[int, int]:
        """Two numbers by which a change of the content is noticed: on a disk, size and time of change (ns).

        Raises:
          VideoError: if there is no regular file, or it is empty.
        """

    @abc.abstractmethod
    def is_folder(self) -> bool:
        """Whether it is a folder of images."""

    @abc.abstractmethod
    def open_bytes(self) -> ByteStream:
        """Opens the content of the file, unbuffered; not for a folder.

        Raises:
          OSError: if it cannot be opened.
        """

    @abc.abstractmethod
    def images(self) -> Sequence[tuple[str, Callable[[], BinaryIO]]]:
        """The images of a folder, in order: their names, and how each is opened.

        Raises:
          VideoError: if the folder cannot be listed.
        """

    @abc.abstractmethod
    def container(self, *, sequential: bool) -> Any:
        """Opens the file by PyAV.

        Args:
          sequential: read from front to back, whatever the index of the container says.

        Returns:
          An `av.container.InputContainer`.

        Raises:
          av.FFmpegError, OSError, ValueError: if it cannot be opened.
        """

    def content_size(self) -> int:
        """Bytes of the file, or of all images together."""
        return self.signature()[0]


@dataclasses.dataclass(frozen=True)
class DiskFile(ReadableFile):
    """A video file, or a folder of images, at a path."""

    path: str
    exact_seek: bool = False
    table: SeekTable | None = dataclasses.field(default=None, compare=False, repr=False)

    is_on_disk = True

    def __str__(self) -> str:
        return self.path

    def check(self) -> None:
        check_regular_file(self.path)

    def signature(self) -> tuple[int, int]:
        """Of a folder: the sizes of its images together, and the latest of their times."""
        if not self.is_folder():
            status = check_regular_file(self.path)
            return status.st_size, status.st_mtime_ns
        try:
            each = [os.stat(image) for image in image_files(self.path)]
        except OSError as error:
            raise VideoError(self.path, error.strerror or one_line(error)) from error
        return sum(status.st_size for status in each), max((status.st_mtime_ns for status in each), default=0)

    def cache_key(self) -> tuple[Any, ...]:
        return os.path.realpath(self.path), *self.signature()

    def is_folder(self) -> bool:
        return os.path.isdir(self.path)

    def open_bytes(self) -> ByteStream:
        return open(self.path, "rb", buffering=0)

    def images(self) -> Sequence[tuple[str, Callable[[], BinaryIO]]]:
        return [(image.name, functools.partial(_open, image)) for image in image_files(self.path)]

    def container(self, *, sequential: bool) -> Any:
        # "file:" keeps a colon in a name from being read as a protocol.
        return _open_container(f"file:{self.path}", {"seekable": "0"} if sequential else {})


@dataclasses.dataclass(frozen=True)
class MemoryFile(ReadableFile):
    """The content of a video file, or of a folder of images, in memory.

    Attributes:
      name: for messages.
      files: name and content of the file; of a folder, of each image in order.
      holds_images: it was a folder.
      content_id: its signature: two numbers that change with the content.
    """

    name: str
    files: tuple[tuple[str, bytes], ...] = dataclasses.field(repr=False)
    holds_images: bool
    content_id: tuple[int, int]
    table: SeekTable | None = dataclasses.field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        return self.name

    def check(self) -> None:
        pass

    def signature(self) -> tuple[int, int]:
        return self.content_id

    def cache_key(self) -> tuple[Any, ...]:
        return self.content_id

    def is_folder(self) -> bool:
        return self.holds_images

    def open_bytes(self) -> ByteStream:
        return io.BytesIO(self.files[0][1])

    def images(self) -> Sequence[tuple[str, Callable[[], BinaryIO]]]:
        return [(name, functools.partial(io.BytesIO, content)) for name, content in self.files]

    def container(self, *, sequential: bool) -> Any:
        ((name, content),) = self.files
        return _open_container(_NamedBytes(name, content, seekable=not sequential), {}, buffer_size=_BUFFER_BYTES)


def as_file(
    file: str | os.PathLike[str] | VideoFile, *, exact_seek: bool = False, table: SeekTable | None = None
) -> VideoFile:
    """The file at a path; a `VideoFile` is returned as it is.

    Args:
      file: a path, or a file.
      exact_seek, table: of the file at the path, as in `DiskFile`.
    """
    if isinstance(file, VideoFile):
        return file
    return DiskFile(os.fspath(file), exact_seek, table)


def _open(path: Path) -> BinaryIO:
    return path.open("rb")


class _NamedBytes(io.BytesIO):
    """A file in memory; FFmpeg asks for its name, by which it guesses the format."""

    def __init__(self, name: str, content: bytes, *, seekable: bool):
        super().__init__(content)
        self.name = name
        self._is_seekable = seekable

    def seekable(self) -> bool:
        return self._is_seekable


def _open_container(source: str | io.BytesIO, options: dict[str, str], **more: Any) -> Any:
    import av  # takes a while to import, and lists of files do without it

    if hasattr(av.container.Container, "metadata_errors"):
        # Titles and other tags are in any encoding, and of no interest here. Before version 19, PyAV refuses those
        # that are not UTF-8 unless it is told otherwise.
        more["metadata_errors"] = "ignore"
    return av.open(source, options={"format_whitelist": _FORMATS, **options}, **more)

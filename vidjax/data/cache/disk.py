"""Caches decoded videos on disk, so that later epochs and runs decode nothing.

A video is one file: a short header, then its frames, of which only those of a clip are read. Its name is a hash of
everything that determines the pixels: path, size and time of change of the video file, the size of the frames, and the
reader. Files are written atomically, so that processes may share a cache, and a killed one leaves no partial file.
"""

import contextlib
import hashlib
import logging
import math
import os
import struct
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np

from vidjax.data.cache.interface import CachedVideo, cache_key, gigabytes, read_whole
from vidjax.data.inputs import RGB, Input
from vidjax.data.resizing import Resize
from vidjax.data.rows import read_rows
from vidjax.data.video.decoding import DecodedVideo
from vidjax.data.video.file import VideoFile
from vidjax.errors import DataError
from vidjax.system import files

logger = logging.getLogger(__name__)

# Of the files; raise it with every change of their content.
_VERSION = 3
# Magic, dtype, frames per second (nan if unknown), number of dimensions; then the size of each, in 8 bytes.
_HEADER = struct.Struct("<8s8sdQ")
_MAGIC = b"vidjax 3"
_TOTAL = "bytes"  # name of the file with the total that processes share
_STALE_SECONDS = 3600.0  # after which a partial file is taken to be abandoned


class DiskCache:
    """Whole decoded videos, at the size from which clips are cropped, up to a number of bytes.

    Nothing is evicted: a video that does not fit is decoded at every use, with a warning for the first one; a folder
    that cannot be written is only read from then on. Safe to share between threads and processes.

    Args:
      folder: of the files; several data sets may share it.
      max_bytes: bound on the files in it.
    """

    def __init__(self, folder: Path, max_bytes: int):
        self.folder = folder
        self.max_bytes = int(max_bytes)
        self._is_writable = True
        self._seen_bytes: int | None = None  # in the folder; `_keep` counts what other processes add
        self._too_large: set[Path] = set()
        self._lock = threading.Lock()
        with contextlib.suppress(OSError):  # each run counts again, since files may have been removed
            (folder / _TOTAL).unlink()

    @property
    def used_bytes(self) -> int:
        """Bytes of all files in the folder."""
        return self._scan()

    def video(self, file: VideoFile, resize: Resize, spec: Input = RGB) -> CachedVideo | None:
        """Returns the whole video, from disk, or decoded and stored now; None if there is no room for it.

        Raises:
          VideoError: as `cache.read_whole`; a video that failed is not stored.
        """
        path = self._path(file, cache_key(resize, spec))
        held = _DiskCachedVideo.of(path)
        if held is not None or path in self._too_large or not self._is_writable:
            return held
        if self._seen_bytes is None:
            self._seen_bytes = self._scan()
        room = self.max_bytes - self._seen_bytes - _HEADER.size
        video = read_whole(file, resize, spec, max_bytes=room)
        if video is None or not self._keep(path, video):
            self._reject_full(path, file)
            return None
        return _DiskCachedVideo.of(path)  # the whole video is released

    def _path(self, file: VideoFile, reading: tuple[object, ...]) -> Path:
        what = (*file.cache_key(), *reading, file.exact_seek, _VERSION, av.__version__)
        key = hashlib.sha256(repr(what).encode("utf-8", "surrogateescape")).hexdigest()
        return self.folder / key[:2] / f"{key[2:40]}.frames"

    def _keep(self, path: Path, video: DecodedVideo) -> bool:
        """Writes a video, unless another process has done so meanwhile; False if there is no room for it."""
        partial = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}.partial")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # One writer at a time among all processes, so that none exceeds the bound that another has reached.
            with self._lock, files.locked(self.folder / ".lock"):
                if _DiskCachedVideo.of(path) is not None:
                    return True
                if path.exists():  # but truncated: it is replaced, and the total must be counted again
                    path.unlink()
                    (self.folder / _TOTAL).unlink(missing_ok=True)
                header = _header(video)
                used = self._total() + video.frames.nbytes + len(header)
                if used > self.max_bytes:
                    return False
                with partial.open("wb") as stream:
                    stream.write(header)
                    stream.write(np.ascontiguousarray(video.frames).data)
                partial.replace(path)
                (self.folder / _TOTAL).write_text(str(used))
                self._seen_bytes = used
        except OSError as error:
            self._is_writable = False
            logger.warning(
                "the disk cache %s cannot be written: %s; videos that are not in it are decoded at every use",
                self.folder,
                error.strerror,
            )
            return False
        finally:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)
        return True

    def _total(self) -> int:
        """Bytes in the folder, as all processes together have counted them."""
        try:
            return int((self.folder / _TOTAL).read_text())
        except (OSError, ValueError):
            return self._scan()

    def _reject_full(self, path: Path, file: VideoFile) -> None:
        with self._lock:
            if self._is_writable and not self._too_large:
                logger.warning(
                    "the disk cache %s has no room for %s within %s: videos that do not fit are decoded at every use;"
                    " give the cache more gigabytes or clear that folder",
                    self.folder,
                    file,
                    gigabytes(self.max_bytes),
                )
            self._too_large.add(path)

    def _scan(self) -> int:
        """Bytes of the videos in the folder; removes partial files of killed processes, and those of older versions."""
        total = 0
        for file in self.folder.glob("*/*"):
            try:
                status = file.stat()
                is_left_behind = file.suffix == ".partial" and time.time() - status.st_mtime > _STALE_SECONDS
                if is_left_behind or (file.suffix == ".frames" and _is_older(file)):
                    file.unlink()
                    continue
            except OSError:  # another process has just finished it, or it must not be removed
                continue
            total += status.st_size
        return total

    def __getstate__(self) -> dict[str, object]:
        return {"folder": self.folder, "max_bytes": self.max_bytes}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__init__(**state)  # type: ignore[misc]


def _header(video: DecodedVideo) -> bytes:
    frames = video.frames
    fps = np.nan if video.fps is None else video.fps
    sizes = struct.pack(f"<{frames.ndim}Q", *frames.shape)
    return _HEADER.pack(_MAGIC, frames.dtype.str.encode(), fps, frames.ndim) + sizes


def _is_older(file: Path) -> bool:
    """Whether an older version of vidjax wrote it, under a name that is no longer looked up."""
    with file.open("rb") as stream:
        mark = stream.read(len(_MAGIC))
    return mark != _MAGIC and mark.startswith(_MAGIC.split()[0])


class _DiskCachedVideo:
    """A video in a file of the cache, kept open, since the file may be removed meanwhile.

    Attributes:
      fps: frames per second; None if unknown.
    """

    def __init__(self, path: Path, file: int, start: int, shape: tuple[int, ...], dtype: np.dtype, fps: float | None):
        self.fps = fps
        self._path, self._file, self._start, self._shape, self._dtype = path, file, start, shape, dtype

    def __del__(self) -> None:
        os.close(self._file)

    @classmethod
    def of(cls, path: Path) -> "_DiskCachedVideo | None":
        """The video in a file; None if there is none, or it is not what `_keep` wrote."""
        try:
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            mark, dtype, fps, dimensions = _HEADER.unpack(os.read(file, _HEADER.size))
            if mark != _MAGIC:
                raise ValueError("another file")
            kind = np.dtype(dtype.rstrip(b"\0").decode())
            shape = struct.unpack(f"<{dimensions}Q", os.read(file, 8 * dimensions))
            start = _HEADER.size + 8 * dimensions
            if os.fstat(file).st_size != start + math.prod(shape) * kind.itemsize:
                raise ValueError("not whole")
        except (OSError, struct.error, ValueError, TypeError):
            os.close(file)
            return None
        return cls(path, file, start, shape, kind, None if np.isnan(fps) else fps)

    def __len__(self) -> int:
        return self._shape[0]

    def take(self, indices: Sequence[int]) -> np.ndarray:
        """[T, ...]: the frames with these numbers.

        Raises:
          DataError: if the disk fails.
        """
        count, *rest = self._shape
        if max(indices) >= count:
            raise IndexError(f"frame {max(indices)} of {count}")
        try:
            return read_rows(
                lambda buffer, at: os.preadv(self._file, [buffer], at), self._start, rest, self._dtype, indices
            )
        except OSError as error:
            raise DataError(f"{self._path}: the disk cache cannot be read: {error.strerror}") from error
        except EOFError as error:
            raise DataError(f"{self._path}: the disk cache was cut short while it was read") from error

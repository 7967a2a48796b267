"""Keeping decoded videos on disk, so that the second epoch, and the next run, decode nothing.

A video is one file: its frames as NumPy writes them (mapped into memory when they are read), then its frame rate. Its
name hashes what decides on its pixels: the video file by path, size and time of change, the size of its frames, and the
decoder. Files appear whole or not at all, so that processes may share a cache, and a kill leaves nothing half.
"""

import hashlib
import logging
import os
import struct
import threading
import time
from pathlib import Path

import av
import numpy as np

from vidjax.data.decoding import DecodedVideo, read_video
from vidjax.data.opening import identity
from vidjax.data.resizing import Resize

logger = logging.getLogger(__name__)

# Of the files; raise it with every change of what they hold.
_VERSION = 1
_RATE = struct.Struct("<d")  # frames per second; nan where there are none
_LEFT_BEHIND = 3600.0  # seconds after which a half written file has no writer any more


class DiskCache:
    """Whole decoded videos, at the size at which clips are cut, up to a number of bytes.

    Nothing is evicted: once the folder is full, one warning is logged and videos that are not in it are decoded at
    every use. Safe to share between threads and processes.

    Args:
      folder: of the files; it may hold those of other data sets.
      max_bytes: bound on the files in it.
    """

    def __init__(self, folder: Path, max_bytes: int):
        self.folder = folder
        self.max_bytes = int(max_bytes)
        self.full = False
        self._lock = threading.Lock()
        self._used: int | None = None

    @property
    def used_bytes(self) -> int:
        """Bytes of all files in the folder, as far as this process knows."""
        with self._lock:
            if self._used is None:
                self._used = self._scan()
            return self._used

    def video(self, path: str, resize: Resize, *, exact_seek: bool = False) -> DecodedVideo | None:
        """Returns the whole video, from disk or decoded now; None if there is no room for it.

        Raises:
          VideoError: as `read_video`; nothing is kept of a video that failed.
        """
        file = self._file(path, resize, exact_seek)
        held = _read(file)
        if held is not None or self.full:
            return held
        room = self.max_bytes - self.used_bytes
        video = read_video(path, resize, exact_seek=exact_seek, max_bytes=room) if room > 0 else None
        if video is None or not self._keep(file, video):
            self._say_full(path)
        return video

    def holds(self, path: str, resize: Resize, *, exact_seek: bool = False) -> bool:
        """Whether the video is there already."""
        return self._file(path, resize, exact_seek).is_file()

    def _file(self, path: str, resize: Resize, exact_seek: bool) -> Path:
        what = (os.path.realpath(path), *identity(path), resize.side, resize.rule, exact_seek, _VERSION, av.__version__)
        key = hashlib.sha256(repr(what).encode("utf-8", "surrogateescape")).hexdigest()
        return self.folder / key[:2] / f"{key[2:40]}.frames"

    def _keep(self, file: Path, video: DecodedVideo) -> bool:
        """Writes a video; False where the disk has no room for it."""
        partial = file.with_name(f"{file.name}.{os.getpid()}-{threading.get_ident()}.partial")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as stream:
                np.save(stream, video.frames)
                stream.write(_RATE.pack(np.nan if video.fps is None else video.fps))
            size = partial.stat().st_size
            partial.replace(file)
        except OSError as error:
            logger.warning("the disk cache %s cannot be written: %s", self.folder, error.strerror)
            return False
        finally:
            partial.unlink(missing_ok=True)
        with self._lock:
            self._used = (self._used or 0) + size
        return True

    def _say_full(self, path: str) -> None:
        with self._lock:
            if not self.full:
                self.full = True
                logger.warning(
                    "the disk cache %s is full (no room for %s within %.1f GB): further videos are decoded at every"
                    " use; raise data.cache_gigabytes or empty that folder",
                    self.folder,
                    path,
                    self.max_bytes / 1e9,
                )

    def _scan(self) -> int:
        """Bytes in the folder; removes what killed processes left half written."""
        total = 0
        for file in self.folder.glob("*/*"):
            try:
                status = file.stat()
                if file.suffix == ".partial" and time.time() - status.st_mtime > _LEFT_BEHIND:
                    file.unlink()
                    continue
            except FileNotFoundError:  # another process has just finished it
                continue
            total += status.st_size
        return total

    def __getstate__(self) -> dict[str, object]:
        return {"folder": self.folder, "max_bytes": self.max_bytes}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__init__(**state)  # type: ignore[misc]


def _read(file: Path) -> DecodedVideo | None:
    """The video in a file; None where there is none, or it is not what `_keep` wrote."""
    try:
        frames = np.load(file, mmap_mode="r")
        with file.open("rb") as stream:
            stream.seek(-_RATE.size, os.SEEK_END)
            (fps,) = _RATE.unpack(stream.read())
        if file.stat().st_size != frames.offset + frames.nbytes + _RATE.size:
            return None
    except (OSError, ValueError, EOFError):
        return None
    return DecodedVideo(frames, None if np.isnan(fps) else fps)

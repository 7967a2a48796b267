"""Reading records from shards, local or in an object store."""

import dataclasses
import functools
import os
import resource
import stat
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from vidjax.data.packed.records import DATASET, encoded
from vidjax.data.video.checks import one_line
from vidjax.data.video.file import MemoryFile, VideoFile
from vidjax.errors import DataError, VideoError

# A quarter of the files that a process may have open, usually 1024, on macOS 256.
_OPEN_SHARDS = min(256, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 4)


@dataclasses.dataclass(frozen=True)
class ShardFile(VideoFile):
    """The place of a packed video in a shard.

    Attributes:
      shard: path of the ArrayRecord file.
      number: of the record in it.
      name: of the file that was packed.
      content_id: size and digest of its content.
    """

    shard: str
    number: int
    name: str
    content_id: tuple[int, int]

    def __str__(self) -> str:
        return f"{self.shard}[{self.number}] ({self.name})"

    def load(self) -> MemoryFile:
        """Reads the whole record.

        Raises:
          VideoError: if the record is damaged, or another video.
          DataError: if the shard cannot be opened, or the object store fails; that says nothing about the video.
        """
        try:
            video = encoded(read_record(self.shard, self.number), str(self))
        except ValueError as error:
            raise VideoError(self, f"is damaged: {one_line(error)}") from error
        if video.content_id != self.content_id:
            raise VideoError(self, f"the shard holds another video here: it does not match its {DATASET}")
        return video

    def cache_key(self) -> tuple[Any, ...]:
        """Its content, wherever the shard is."""
        return self.content_id

    def content_size(self) -> int:
        return self.content_id[0]


def is_remote(path: str) -> bool:
    """Whether this is the path of an object store."""
    return "://" in path


def read_record(path: str, number: int) -> bytes:
    """A record of an ArrayRecord file; raises as `read_records`."""
    return read_records(path, [number])[0]


def read_records(path: str, numbers: Sequence[int]) -> list[bytes]:
    """Records of an ArrayRecord file, those of an object store at the same time.

    Raises:
      ValueError: if a record is damaged.
      DataError: if the file cannot be opened or the object store fails.
    """
    try:
        status = None if is_remote(path) else os.stat(path)
        if status is not None and not stat.S_ISREG(status.st_mode):
            raise OSError("is not a regular file")
        shard = _opened(path, None if status is None else (status.st_ino, status.st_size, status.st_mtime_ns))
    except (RuntimeError, ValueError, OSError) as error:
        raise DataError(f"{path} cannot be opened: {one_line(error)}") from error
    try:
        if is_remote(path):
            return list(shard.__getitems__(numbers))
        return [shard[number] for number in numbers]  # a third of the CPU time
    except (RuntimeError, ValueError, IndexError) as error:
        if is_remote(path):
            raise DataError(f"{path} cannot be read: {one_line(error)}") from error
        raise ValueError(one_line(error)) from error


@functools.lru_cache(maxsize=_OPEN_SHARDS)
def _opened(path: str, signature: tuple[int, int, int] | None) -> Any:
    """The reader of a file; `signature` is part of the cache's key, so that a file that has changed is opened anew."""
    from array_record.python.array_record_data_source import ArrayRecordDataSource

    return ArrayRecordDataSource(path)


def check_answer(path: str, seconds: float = 60.0) -> None:
    """Opens a file of an object store in a subprocess: the library retries for 15 minutes and ignores Ctrl-C.

    Raises:
      DataError: if it cannot be opened, or not within this time.
    """
    program = (
        "import sys; from array_record.python.array_record_data_source import ArrayRecordDataSource;"
        "len(ArrayRecordDataSource(sys.argv[1]))"
    )
    try:
        done = subprocess.run(
            [sys.executable, "-c", program, path], capture_output=True, timeout=seconds, text=True, errors="replace"
        )
    except subprocess.TimeoutExpired as error:
        raise DataError(
            f"{path} did not answer within {seconds:.0f} s: check the network, the bucket's name and the credentials"
            " (gcloud auth application-default login)"
        ) from error
    if done.returncode:
        why = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise DataError(f"{path} cannot be opened: {why[:300]}")

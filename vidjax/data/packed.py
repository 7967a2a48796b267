"""Videos packed into few large files, for machines whose disk is far away: ArrayRecord shards of encoded videos.

A record is the length of its header (4 bytes, little end first), the header in JSON, then the bytes of the video file,
or of each image of a folder. The header holds what a label and an index row say: `id`, `label`, `class`, `group`,
`part`, `files` (name and length of each), `is_folder`, `size` and `digest` of the content, `frames`, `fps`, `height`,
`width`, and the `seek` table. Grain reads the shards (train-*.arrayrecord, say) as they are:

  records = grain.MapDataset.source(grain.sources.ArrayRecordDataSource(shards))
  records.map(vidjax.data.unpack)  # header, files
  records.map(lambda record: vidjax.data.read_frames(vidjax.data.encoded(record), [0, 2, 4], (112, 112)))

Where videos have several streams, each is a record, whose header names its `stream`. An array is its NumPy file.

`dataset.arrayrecord`, beside them, holds one JSON record that lists all videos. A path may be that of an object store:
ArrayRecord reads `gs://` itself.
"""

import dataclasses
import functools
import hashlib
import json
import os
import resource
import stat
import struct
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from vidjax.data.opening import Encoded, image_files, one_line
from vidjax.data.seeking import SeekTable
from vidjax.errors import DataError, VideoError

DATASET = "dataset.arrayrecord"
FORMAT_OF_RGB = 2  # of one RGB file each; 1: of videos that lost frames, those behind the loss were counted too
FORMAT_OF_STREAMS = 3  # of several files, or of arrays: the list holds the `Input` records, and a row for each stream
_LENGTH = struct.Struct("<I")
# Of the files that a process may have open: 1024 as a rule, 256 on macOS.
_OPEN_SHARDS = min(256, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 4)


@dataclasses.dataclass(frozen=True)
class Packed:
    """Where a packed video lies.

    Attributes:
      shard: path of the ArrayRecord file.
      number: of the record in it.
      name: of the file that was packed.
      identity: size and digest of its content.
    """

    shard: str
    number: int
    name: str
    identity: tuple[int, int]

    def __str__(self) -> str:
        return f"{self.shard}[{self.number}] ({self.name})"

    def load(self) -> Encoded:
        """Reads the whole record.

        Raises:
          VideoError: if the record is damaged, or another video.
          DataError: if the shard cannot be opened, or the object store fails: that says nothing of the video.
        """
        try:
            video = encoded(read_record(self.shard, self.number), str(self))
        except ValueError as error:
            raise VideoError(self, f"is damaged: {one_line(error)}") from error
        if video.identity != self.identity:
            raise VideoError(self, f"the shard holds another video here: it does not belong to its {DATASET}")
        return video


def is_remote(path: str) -> bool:
    """Whether this is the path of an object store."""
    return "://" in path


def read_record(path: str, number: int) -> bytes:
    """A record of an ArrayRecord file.

    Raises:
      ValueError: if the record is damaged.
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
        content: bytes = shard[number]
    except (RuntimeError, ValueError, IndexError) as error:
        if is_remote(path):
            raise DataError(f"{path} cannot be read: {one_line(error)}") from error
        raise ValueError(one_line(error)) from error
    return content


@functools.lru_cache(maxsize=_OPEN_SHARDS)
def _opened(path: str, identity: tuple[int, int, int] | None) -> Any:
    """The reader of a file; `identity` makes it another one when the file is another one."""
    from array_record.python.array_record_data_source import ArrayRecordDataSource

    return ArrayRecordDataSource(path)


def to_record(header: Mapping[str, Any], files: Sequence[tuple[str, bytes]]) -> bytes:
    """A record; `files` stand in its header by name and length, and behind it by their content."""
    text = json.dumps({**header, "files": [(name, len(content)) for name, content in files]}).encode()
    return b"".join([_LENGTH.pack(len(text)), text, *(content for _, content in files)])


def unpack(record: bytes) -> tuple[dict[str, Any], tuple[tuple[str, bytes], ...]]:
    """The header of a record, and name and content of each file in it.

    Raises:
      ValueError: if it is no such record.
    """
    try:
        (length,) = _LENGTH.unpack_from(record)
        start = _LENGTH.size + length
        header, files = json.loads(record[_LENGTH.size : start]), []
        for name, size in header["files"]:
            files.append((name, record[start : start + size]))
            start += size
    except (struct.error, KeyError, TypeError, ValueError) as error:
        raise ValueError("not a record of packed videos") from error
    if start != len(record):
        raise ValueError(f"a record of {len(record)} bytes should have {start}")
    return header, tuple(files)


def encoded(record: bytes, name: str | None = None) -> Encoded:
    """The video of a record, as `read_frames` takes it.

    Args:
      record: of a shard.
      name: for messages; None: that of the file that was packed.

    Raises:
      ValueError: if it is no such record.
    """
    header, files = unpack(record)
    try:
        found = (header["size"], int(header["digest"], 16))
        table = SeekTable(header["seek"], found) if header["seek"] else None
        return Encoded(name or header["name"], files, header["is_folder"], found, table)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError("not a record of packed videos") from error


def check_answer(path: str, seconds: float = 60.0) -> None:
    """Opens a file of an object store in a process of its own: the library tries for 15 minutes, deaf to Ctrl-C.

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


def content_of(path: str) -> tuple[tuple[str, bytes], ...]:
    """Name and content of a video file, or of each image in a folder.

    Raises:
      VideoError: if they cannot be read.
    """
    contents = []
    try:
        for file in image_files(path) if os.path.isdir(path) else [path]:
            with open(file, "rb") as stream:
                contents.append((os.path.basename(file), stream.read()))
    except OSError as error:
        raise VideoError(path, error.strerror or one_line(error)) from error
    return tuple(contents)


def digest_of(files: Sequence[tuple[str, bytes]]) -> str:
    """16 hexadecimal digits on which name and content of the files decide."""
    digest = hashlib.sha256()
    for name, content in files:
        digest.update(f"{name}\0{len(content)}\0".encode("utf-8", "surrogateescape"))
        digest.update(content)
    return digest.hexdigest()[:16]

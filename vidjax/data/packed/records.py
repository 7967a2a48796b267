"""The records of packed data sets: encoded videos in a few large ArrayRecord shards, for machines with remote disks.

A record is the length of its header (4 bytes, little endian), the header in JSON, then the bytes of the video file, or
of each image of a folder. The header holds the label and the index row of the video: `id`, `label`, `class`, `group`,
`part`, `files` (name and length of each), `is_folder`, `size` and `digest` of the content, `frames`, `fps`, `height`,
`width`, and the `seek` table. Grain reads the shards (train-*.arrayrecord, say) as they are:

  records = grain.MapDataset.source(grain.sources.ArrayRecordDataSource(shards))
  records.map(vidjax.data.unpack)  # header, files
  records.map(lambda record: vidjax.data.read_frames(vidjax.data.encoded(record), [0, 2, 4], (112, 112)))

Where videos have several streams, each is a record, whose header names its `stream`. An array is its NumPy file. Of
resized videos each frame is a record (`vidjax.data.packed.frames`): an image, whose header has its number as `frame`.
`size` and `digest` are those of the file that was packed, `height` and `width` those of the image.

`dataset.arrayrecord`, in the same folder, holds one JSON record that lists all videos. Paths may be in an object store:
ArrayRecord reads `gs://` itself.
"""

import hashlib
import json
import os
import struct
from collections.abc import Mapping, Sequence
from typing import Any

from vidjax.data.video.checks import one_line
from vidjax.data.video.file import MemoryFile, ReadableFile
from vidjax.data.video.seek_table import SeekTable
from vidjax.errors import VideoError

DATASET = "dataset.arrayrecord"
FORMAT_OF_RGB = 2  # of one RGB file each; 1: of videos that lost frames, those behind the loss were counted too
FORMAT_OF_STREAMS = 3  # of several files, or of arrays: the list holds the `Input` records, and a row for each stream
FORMAT_OF_FRAMES = 4  # of RGB videos, resized: each frame is a record, and a row holds the number of the first one
_LENGTH = struct.Struct("<I")


def to_record(header: Mapping[str, Any], files: Sequence[tuple[str, bytes]]) -> bytes:
    """A record; its header lists the `files` by name and length, their contents follow it."""
    text = json.dumps({**header, "files": [(name, len(content)) for name, content in files]}).encode()
    return b"".join([_LENGTH.pack(len(text)), text, *(content for _, content in files)])


def unpack(record: bytes) -> tuple[dict[str, Any], tuple[tuple[str, bytes], ...]]:
    """The header of a record, and name and content of each file in it.

    Raises:
      ValueError: if it is not such a record.
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


def encoded(record: bytes, name: str | None = None) -> MemoryFile:
    """The video of a record, as `read_frames` takes it.

    Args:
      record: of a shard.
      name: for messages; None: that of the file that was packed.

    Raises:
      ValueError: if it is not such a record.
    """
    header, files = unpack(record)
    try:
        found = (header["size"], int(header["digest"], 16))
        table = SeekTable(header["seek"], found) if header["seek"] else None
        return MemoryFile(name or header["name"], files, header["is_folder"], found, table)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError("not a record of packed videos") from error


def content_of(file: ReadableFile) -> tuple[tuple[str, bytes], ...]:
    """Name and content of a video file, or of each image in a folder.

    Raises:
      VideoError: if they cannot be read.
    """
    contents = []
    try:
        parts = file.images() if file.is_folder() else [(os.path.basename(str(file)), file.open_bytes)]
        for name, open_part in parts:
            with open_part() as stream:
                contents.append((name, stream.read()))
    except OSError as error:
        raise VideoError(file, error.strerror or one_line(error)) from error
    return tuple(contents)


def digest_of(files: Sequence[tuple[str, bytes]]) -> str:
    """A digest of the names and contents of the files, 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for name, content in files:
        digest.update(f"{name}\0{len(content)}\0".encode("utf-8", "surrogateescape"))
        digest.update(content)
    return digest.hexdigest()[:16]

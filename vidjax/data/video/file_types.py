"""Detects by their bytes what files that are not videos are, and how much of a truncated one is left."""

import io
import struct
from typing import BinaryIO

_START = 4096  # bytes that are examined
_MARKS = (
    (b"#EXTM3U", "it is a playlist (HLS), which names other files"),
    (b"ffconcat version", "it is a playlist (ffconcat), which names other files"),
    (b"v=0\r\n", "it is a description of a stream (SDP)"),
    (b"v=0\n", "it is a description of a stream (SDP)"),
    (b"\x1f\x8b", "it is compressed (gzip): unpack it"),
    (b"BZh", "it is compressed (bzip2): unpack it"),
    (b"\xfd7zXZ\0", "it is compressed (xz): unpack it"),
    (b"PK\3\4", "it is an archive (zip): unpack it"),
    (b"Rar!", "it is an archive (rar): unpack it"),
    (b"7z\xbc\xaf", "it is an archive (7z): unpack it"),
    (b"\xff\xd8\xff", "it is a picture (JPEG)"),
    (b"\x89PNG", "it is a picture (PNG)"),
    (b"ID3", "it has no video, only sound (MPEG audio)"),
    (b"fLaC", "it has no video, only sound (FLAC)"),
    (b"\x00\x05\x16\x07", "it is metadata that macOS keeps beside a file of that name (AppleDouble)"),
)
_RIFF = {b"WAVE": "it has no video, only sound (WAVE)", b"WEBP": "it is a picture (WebP)"}
# Containers that FFmpeg knows: its own message is better.
_CONTAINERS = (
    *(b"RIFF", b"\x1aE\xdf\xa3", b"OggS", b"FLV", b"GIF8", b"DKIF", b"nut/"),
    *(b"\x30\x26\xb2\x75", b"\x06\x0e\x2b\x34", b"\x00\x00\x01", b"G"),  # ASF, MXF, MPEG and its transport stream
)
_BOXES = frozenset({b"ftyp", b"styp", b"moov", b"mdat", b"free", b"skip", b"wide", b"moof", b"sidx", b"pnot"})
_TEXT = frozenset({*b"\t\n\f\r", *range(32, 127), *range(128, 256)})


def unsupported_reason(stream: BinaryIO) -> str | None:
    """Why FFmpeg cannot open a file, in one line; None if FFmpeg's own message is better.

    Args:
      stream: the file, at its beginning.
    """
    start = stream.read(_START)
    for mark, why in _MARKS:
        if start.startswith(mark):
            return why
    if start[:4] == b"RIFF" and start[8:12] in _RIFF:
        return _RIFF[start[8:12]]
    if start[:2] in (b"\xff\xfb", b"\xff\xf3", b"\xff\xf2"):
        return "it has no video, only sound (MPEG audio)"
    if start[4:8] in _BOXES:
        return _missing_moov_reason(stream)
    if set(start) <= _TEXT:
        return _text(start)
    return None if start.startswith(_CONTAINERS) else "it is of no known container format"


def _text(start: bytes) -> str:
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith((b"<!doctype html", b"<html")):
        return "it is a web page (HTML)"
    if b"<mpd" in text:
        return "it is a playlist (DASH), which names other files"
    return "it is text"


def _missing_moov_reason(stream: BinaryIO) -> str | None:
    """Walks through the boxes of the file (ISO 14496-12, 4.2); None if its index is complete."""
    end = stream.seek(0, io.SEEK_END)
    place = 0
    while place + 8 <= end:
        stream.seek(place)
        size, kind = struct.unpack(">I4s", stream.read(8))
        if size == 1:
            size = int.from_bytes(stream.read(8), "big")
        elif size == 0:  # up to the end
            size = end - place
        if kind == b"moov":
            return None if place + size <= end else "its index (moov) is cut: the file is incomplete"
        if size < 8:
            break
        place += size
    return "its index (moov) is missing: the file is incomplete"


def gif_truncation(content: bytes) -> tuple[int, str] | None:
    """What a GIF file has lost at its end: decoders silently show a half-drawn picture.

    Args:
      content: of the file.

    Returns:
      How many of its pictures are complete, and what is wrong after them; None if it ends as it should.
    """
    pictures, place = 0, 13
    kind = 0
    try:
        if content[10] & 0x80:  # a color table
            place += 3 << (content[10] & 7) + 1
        while place < len(content):
            kind = content[place]
            if kind == 0x3B:
                return None
            if kind == 0x21:  # an extension
                place += 2
            elif kind == 0x2C:
                flags = content[place + 9]
                place += 11 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
            elif any(content[place:]):  # the last picture ended too early
                return pictures - 1, f"frame {pictures - 1} is damaged"
            else:
                break
            while size := content[place]:
                place += size + 1
            place += 1
            pictures += kind == 0x2C
    except IndexError:
        if kind == 0x2C:
            return pictures, f"the file ends within frame {pictures}"
    return pictures, "the file has no trailer: it was cut short"

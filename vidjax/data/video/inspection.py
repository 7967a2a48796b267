"""Inspects video files: frame count, damage, and the keyframes to which seeking is exact.

A first pass decodes the file in order (`vidjax.data.video.sequential`). A second one seeks to each keyframe. If
decoding from each of them gives, bit for bit, the frames of the first pass, the file gets a seek table
(`vidjax.data.video.seeking`). A file without a table is only slower to read: it is decoded from its beginning.

Files are untrusted: run this in a process that may be killed (`vidjax.data.video.inspection_workers`).
"""

import dataclasses
import errno
import itertools
import zlib
from collections.abc import Iterator
from typing import Any, Literal

import av

from vidjax.data.video.conversion import displayed_size, orientation
from vidjax.data.video.file import ReadableFile, as_file
from vidjax.data.video.opening import open_video
from vidjax.data.video.seek_table import FrameIndex, SeekTable, pack
from vidjax.data.video.seeking import SeekMismatchError, seek
from vidjax.errors import VideoError

# EIO is left out: FFmpeg reports it for many damaged files.
_TRANSIENT_ERRNOS = {errno.EACCES, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE, errno.ETIMEDOUT}

Verdict = Literal["ok", "slow", "refused"]

# Raise the number with every change of the rules of an inspection; files are then inspected again.
VERSION = f"5-av{av.__version__}"


@dataclasses.dataclass(frozen=True)
class FileRecord:
    """What is known of a file.

    Attributes:
      path: of the file.
      size, mtime_ns: at the time of the inspection.
      verdict: "ok": seeking is exact; "slow": decoded from the beginning; "refused": it cannot be read.
      reason: why it is slow or refused; "" if it is ok.
      warning: what is lost, "" if nothing is: it ends early, or is damaged from some frame on.
      ends_early: it ends well before the duration in its header, or has far fewer frames than that states.
      frames: number of frames that can be read.
      stated_frames: number of frames by its header; None if that does not say.
      fps: frames per second; None if it states none.
      height, width: of a frame as displayed.
      rotation: by the display matrix, counter-clockwise, in degrees; 0 if it also mirrors.
      codec, container: FFmpeg's names.
      seek: text of its `SeekTable`; "" if it has none.
      lasting: False if a busy machine or a crash may be the cause: the file is then inspected again the next time.
      version: `VERSION` of the inspection.
    """

    path: str
    size: int = 0
    mtime_ns: int = 0
    verdict: Verdict = "refused"
    reason: str = ""
    warning: str = ""
    ends_early: bool = False
    frames: int = 0
    stated_frames: int | None = None
    fps: float | None = None
    height: int = 0
    width: int = 0
    rotation: int = 0
    codec: str = ""
    container: str = ""
    seek: str = ""
    lasting: bool = True
    version: str = VERSION

    @property
    def table(self) -> SeekTable | None:
        """Its seek table; None if it must be decoded from its beginning."""
        return SeekTable(self.seek, (self.size, self.mtime_ns)) if self.seek else None


def inspect(path: str) -> Iterator[FileRecord | None]:
    """Inspects a file; yields a record after the first pass, and the final one after the second.

    The first record is valid if the process is lost during the second pass. None, in between, reports progress: one
    more frame was decoded.
    """
    file = as_file(path).load()
    try:
        size, mtime_ns = file.signature()
        walk = _SequentialPass(file)
        yield from walk.run()
        record = walk.record(size, mtime_ns)
    except VideoError as error:
        yield FileRecord(
            path, *signature_or_zero(file), "refused", error.reason, lasting=_is_permanent(error.__cause__)
        )
        return
    against = walk.reason_not_seekable()
    if against is not None:
        yield dataclasses.replace(record, reason=against)
        return
    yield dataclasses.replace(record, reason="seeking in it could not be tried")
    index = FrameIndex(tuple(walk.pts), tuple(walk.keys))
    wrong = len(walk.keys)
    for found in _verified_keyframes(file, index, walk.checksums):
        if found is None:
            yield None
        else:
            wrong -= 1
    if wrong:
        reason = f"seeking goes wrong at {wrong} of {len(walk.keys)} key frames"
        yield dataclasses.replace(record, reason=reason)
    else:
        yield dataclasses.replace(record, verdict="ok", reason="", seek=pack(index))


def _is_permanent(error: BaseException | None) -> bool:
    """Whether reading will fail again; a resource that the system lacks now may be there next time."""
    return not (isinstance(error, OSError) and error.errno in _TRANSIENT_ERRNOS)


def signature_or_zero(file: ReadableFile) -> tuple[int, int]:
    """The signature of a file; zeros if there is no such file."""
    try:
        return file.signature()
    except VideoError:
        return 0, 0


class _SequentialPass:
    """The first pass: what each frame shows, when, and which are keyframes.

    Attributes:
      checksums: of the pixels of each frame.
      pts: when each frame is shown.
      keys: numbers of key frames.
    """

    def __init__(self, file: ReadableFile):
        self.file = file
        self.checksums: list[int] = []
        self.pts: list[Any] = []
        self.keys: list[int] = []
        self._first: Any = None  # see `conversion.Converter`
        self._sizes: set[tuple[int, int]] = set()
        self._about: dict[str, Any] = {}

    def run(self) -> Iterator[None]:
        """Decodes the file; yields at each frame.

        Raises:
          VideoError: if it cannot be read.
        """
        with open_video(self.file) as video:
            for frame in video:
                if not self.pts:
                    self._first = frame
                    height, width = displayed_size(frame)
                    self._about = {"height": height, "width": width, "rotation": orientation(frame).rotation}
                if frame.key_frame:
                    self.keys.append(len(self.pts))
                self.checksums.append(_checksum(frame))
                self.pts.append(frame.pts)
                self._sizes.add((frame.height, frame.width))
                yield None
            self._about |= {
                "lasting": _is_permanent(video.error),
                "warning": video.damage or video.truncation_warning() or "",
                "ends_early": video.truncation_warning() is not None,
                "frames": video.count,
                "stated_frames": video.stated_frames,
                "fps": video.fps,
                "codec": video.stream.codec_context.name if video.stream is not None else "images",
                "container": video.container.format.name if video.container is not None else "folder",
            }

    def record(self, size: int, mtime_ns: int) -> FileRecord:
        """What is known after the pass."""
        return FileRecord(str(self.file), size, mtime_ns, "slow", **self._about)

    def reason_not_seekable(self) -> str | None:
        """Why seeking in this file is not tried; None if it is."""
        if self._about["container"] in ("folder", "gif"):
            return f"no seeking in a {self._about['container']}"
        if self._about["warning"]:
            return "damaged or cut short"
        if len(self._sizes) > 1:
            return "frames of several sizes"
        if None in self.pts or any(after <= before for before, after in itertools.pairwise(self.pts)):
            return "frames without a time of their own"
        if self.keys[:1] != [0]:
            return "does not begin with a key frame"
        return None


def _verified_keyframes(file: ReadableFile, index: FrameIndex, checksums: list[int]) -> Iterator[int | None]:
    """Yields each keyframe from which decoding, up to the next one, repeats the first pass; None after each frame."""
    try:
        with open_video(file, seekable=True) as video:
            # From the last to the first: a damaged picture may show what is left in a buffer from one decoded before.
            for key, following in reversed(list(itertools.pairwise((*index.keys, len(index.pts))))):
                number = key
                try:
                    for frame in seek(video, key, index):
                        if _checksum(frame) != checksums[number]:
                            raise SeekMismatchError
                        number += 1
                        yield None
                        if number == following:
                            break
                except SeekMismatchError:
                    yield None
                    continue
                if number == following:
                    yield key
    except VideoError:
        return


def _checksum(frame: Any) -> int:
    """Of the visible pixels alone: the padding beside them in memory is undefined."""
    try:
        pixels = frame.to_ndarray()
    except (ValueError, AssertionError):  # a format, or an odd size, for which PyAV has no array
        pixels = frame.to_ndarray(format="rgb24")
    if isinstance(pixels, tuple):  # indices into a palette, and the palette
        return zlib.crc32(b"".join(part.tobytes() for part in pixels))
    return zlib.crc32(pixels.tobytes())

"""Finding out what a video file really holds, and where one may begin to decode it.

One pass in order tells the truth about a file (`vidjax.data.video.opening`). A second one begins at each of its key
frames by seeking; those from which it sees, bit for bit, what the first saw make the table by which frames are found
faster (`vidjax.data.video.seeking`). Anything that speaks against it costs speed only: such a file is decoded from its
beginning.

Files come from strangers: run this in a process that may be killed (`vidjax.data.video.inspection_workers`).
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

# Not an input/output error: FFmpeg calls many a damaged file so.
_TRANSIENT_ERRNOS = {errno.EACCES, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE, errno.ETIMEDOUT}

Verdict = Literal["ok", "slow", "refused"]

# Of what an inspection finds; raise the number with every change of its rules, and files are inspected again.
VERSION = f"5-av{av.__version__}"


@dataclasses.dataclass(frozen=True)
class FileRecord:
    """What is known of a file.

    Attributes:
      path: of the file.
      size, mtime_ns: as when it was inspected.
      verdict: "ok": seeking is exact; "slow": it is decoded from its beginning; "refused": it cannot be read.
      reason: why it is slow or refused; "" where it is ok.
      warning: what is lost of it, "" if nothing is: it ends early, or is damaged from some frame on.
      ends_early: it ends well before its header says that it does, or shows few of the frames that that counts.
      frames: how many can be read.
      stated_frames: how many its header promises; None where it does not say.
      fps: frames per second, None where it states none.
      height, width: of a frame as displayed.
      rotation: counter-clockwise, in degrees, that the display matrix asks for; 0 where it also mirrors.
      codec, container: FFmpeg's names.
      seek: text of its `SeekTable`; "" where there is none.
      lasting: False where a busy machine, or a crash, may have decided: it is found out anew the next time.
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
        """By which frames are found faster; None where the file must be decoded from its beginning."""
        return SeekTable(self.seek, (self.size, self.mtime_ns)) if self.seek else None


def inspect(path: str) -> Iterator[FileRecord | None]:
    """Inspects a file; yields what is known after the pass in order, and the final record after seeking was tried.

    The first record holds if the process is lost in the second pass. None in between says that it goes on: a new frame
    was decoded.
    """
    file = as_file(path).load()
    try:
        size, mtime_ns = file.signature()
        walk = _SequentialPass(file)
        yield from walk.run()
        record = walk.record(size, mtime_ns)
    except VideoError as error:
        yield FileRecord(
            path, *_signature_or_zero(file), "refused", error.reason, lasting=_is_permanent(error.__cause__)
        )
        return
    against = walk.reason_not_seekable()
    if against is not None:
        yield dataclasses.replace(record, reason=against)
        return
    yield dataclasses.replace(record, reason="seeking in it could not be tried")
    places = FrameIndex(tuple(walk.pts), tuple(walk.keys))
    wrong = len(walk.keys)
    for found in _verified_keyframes(file, places, walk.checksums):
        if found is None:
            yield None
        else:
            wrong -= 1
    if wrong:
        reason = f"seeking goes wrong at {wrong} of {len(walk.keys)} key frames"
        yield dataclasses.replace(record, reason=reason)
    else:
        yield dataclasses.replace(record, verdict="ok", reason="", seek=pack(places))


def _is_permanent(error: BaseException | None) -> bool:
    """Whether a file will fail again: what the system would not give us now, it may give the next time."""
    return not (isinstance(error, OSError) and error.errno in _TRANSIENT_ERRNOS)


def _signature_or_zero(file: ReadableFile) -> tuple[int, int]:
    try:
        return file.signature()
    except VideoError:
        return 0, 0


class _SequentialPass:
    """The pass in order: what each frame shows, when, and at which frames one might begin.

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
        self._first: Any = None  # see `decoding.Converter`
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
        """Why one cannot seek in a file of this kind; None if it may be tried."""
        if self._about["container"] in ("folder", "gif"):
            return f"no seeking in a {self._about['container']}"
        if self._about["warning"]:
            return "not whole"
        if len(self._sizes) > 1:
            return "frames of several sizes"
        if None in self.pts or any(after <= before for before, after in itertools.pairwise(self.pts)):
            return "frames without a time of their own"
        if self.keys[:1] != [0]:
            return "does not begin with a key frame"
        return None


def _verified_keyframes(file: ReadableFile, places: FrameIndex, checksums: list[int]) -> Iterator[int | None]:
    """Yields each key frame from which decoding shows, up to the next one, what it showed in order; None at frames."""
    try:
        with open_video(file, seekable=True) as video:
            # From the last to the first: what a damaged picture shows may be left over from one that was seen before.
            for key, following in reversed(list(itertools.pairwise((*places.keys, len(places.pts))))):
                number = key
                try:
                    for frame in seek(video, key, places):
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
    """Of the visible pixels alone: what stands beside them in memory is anything."""
    try:
        pixels = frame.to_ndarray()
    except (ValueError, AssertionError):  # a format, or an odd size, for which PyAV has no array
        pixels = frame.to_ndarray(format="rgb24")
    if isinstance(pixels, tuple):  # numbers of colors, and the colors
        return zlib.crc32(b"".join(part.tobytes() for part in pixels))
    return zlib.crc32(pixels.tobytes())

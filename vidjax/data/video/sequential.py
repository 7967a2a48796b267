"""Walking through the frames of a video in order, as far as they can be trusted.

The order is that of display. Edit lists are honored as FFmpeg honors them, and with it most players: what they hide is
not shown. A frame that the decoder reports as damaged ends the video, since later ones may be predicted from it; and so
do frames that are missing in the middle (`vidjax.data.video.damage`).
"""

import itertools
from collections.abc import Iterator
from typing import Any

import av

from vidjax.data.video.checks import check_pixels, one_line
from vidjax.data.video.damage import PacketLog
from vidjax.errors import VideoError

_MIN_LOST_FRAMES = 3  # a file that ends a little before its header says so is no sign of damage
_MIN_LOST_FRACTION = 0.02  # of its frames,
_LOST_SECONDS = 1.0  # but no longer than this


class SequentialReader:
    """The frames of a video, one after the other.

    Attributes:
      container, stream: PyAV's; None for a folder of images.
      count: frames yielded so far.
      damage: why the walk ended before the end of the data, in one line; None unless it did.
      error: the exception by which the damage was found; None if there was none.
      loss: known before the walk: how many frames are complete, and what is wrong after them; None if nothing is.
    """

    def __init__(
        self, path: str, frames: Iterator[Any], container: Any = None, stream: Any = None, log: PacketLog | None = None
    ):
        self.container = container
        self.stream = stream
        self.count = 0
        self.damage: str | None = None
        self.error: BaseException | None = None
        self.loss: tuple[int, str] | None = None
        self._path = path
        self._log = log
        self._frames = frames
        self._last_pts: int | None = None
        self._last_duration = 0
        # Of the frame that is shown last, time and duration: not of the last one read if files were joined.
        self._latest = (0, 0)

    @property
    def fps(self) -> float | None:
        """Frames per second as the container states them; None if it does not."""
        rate = (self.stream.average_rate or self.stream.guessed_rate) if self.stream is not None else None
        return float(rate) if rate else None

    @property
    def stated_frames(self) -> int | None:
        """How many frames the header promises, by its duration; None if it states no duration of the video."""
        seconds = self._stated_seconds()
        return round(seconds * self.fps) if seconds is not None and self.fps else None

    def truncation_warning(self) -> str | None:
        """After the walk: says that many frames that the header promises are missing; None if they are not."""
        stated, fps = self._stated_seconds(), self.fps
        if stated is None or fps is None or self._last_pts is None:
            return None
        tick = float(self.stream.time_base)
        latest, duration = self._latest
        shown = max(1 / fps, duration * tick)  # a frame may be shown for long
        reached = (latest - (self.stream.start_time or 0)) * tick + shown
        unseen = self.stream.frames - self.count
        if unseen >= _MIN_LOST_FRAMES and reached > 2 * stated:
            return f"its header's clock is wrong: {self.count} of {self.stream.frames} frames have a time of their own"
        covered = reached
        if self._log and not self.stream.duration:
            # The duration is that of the whole file, from time 0 on, and may be that of the sound.
            began = (self.stream.start_time or 0) * tick
            covered = max(reached + began, self._log.others_end)
        if (stated - covered) * fps < max(_MIN_LOST_FRAMES, min(_MIN_LOST_FRACTION * stated, _LOST_SECONDS) * fps):
            return None
        return f"ends early: {self.count} frames, {reached:.2f} s of the {stated:.2f} s that its header states"

    def __iter__(self) -> Iterator[Any]:
        """Yields `av.VideoFrame`s up to the first damaged one.

        Raises:
          VideoError: if no frame decodes, or frames are too large.
        """
        while self.damage is None:
            if self.loss is not None and self.count >= self.loss[0]:
                self.damage = self.loss[1]
                break
            try:
                frame = next(self._frames)
            except StopIteration:
                if self._log is not None and self._log.is_cut:
                    self.damage = f"the file ends within frame {self.count}"
                break
            except (av.FFmpegError, ValueError, RuntimeError, OSError) as error:
                self.damage, self.error = f"frame {self.count} cannot be decoded: {one_line(error)}", error
                break
            has_lost = self._log is not None and self._log.has_lost
            if frame.is_corrupt or (has_lost and self._is_known_to_be_damaged(frame)):
                self.damage = f"frame {self.count} is damaged"
                break
            missing = has_lost and self._missing_before(frame)
            if missing:
                self.damage = f"{missing} frame{'s are' if missing > 1 else ' is'} missing after frame {self.count - 1}"
                break
            check_pixels(self._path, frame.height, frame.width)
            pts = frame.pts
            if pts is not None:
                self._last_pts, self._last_duration = pts, frame.duration or 0
                if not self.count or pts > self._latest[0]:
                    self._latest = pts, self._last_duration
            self.count += 1
            yield frame
        if not self.count:
            raise VideoError(self._path, self.damage or "holds no frame that decodes") from self.error

    def _is_known_to_be_damaged(self, frame: Any) -> bool:
        start = self._log.damaged_from if self._log is not None else None
        return start is not None and frame.pts is not None and frame.pts >= start

    def _missing_before(self, frame: Any) -> int:
        """How many frames the file has lost before this one, as far as that is visible (`PacketLog`)."""
        if self._log is None or self._last_pts is None or frame.pts is None or not self.fps:
            return 0
        period = max(self._last_duration, 1 / (self.fps * float(self.stream.time_base)))
        return self._log.missing(self._last_pts, frame.pts, period)

    def _stated_seconds(self) -> float | None:
        if self.stream is None:
            return None
        if self.container.format.name == "avi" and self.stream.frames:
            # FFmpeg clips the duration to the size of the file.
            return float(self.stream.frames * self.stream.time_base)
        if self.stream.duration:
            return float(self.stream.duration * self.stream.time_base)
        return self.container.duration / 1e6 if self.container.duration else None


def decode_frames(container: Any, stream: Any, log: PacketLog | None = None) -> Iterator[Any]:
    """Yields the frames of a stream from the container's position on; a log is shown all packets."""
    for packet in container.demux() if log else container.demux(stream):
        if log is not None:
            if packet.stream is not stream and packet.stream.index != stream.index:
                log.note_other(packet)
                continue
            log.note_video(packet)
            if log.is_cut:  # the decoder may take the rest of its picture for a whole one
                whole = stream.codec_context.decode(None)
                yield from itertools.takewhile(lambda frame: _is_before(frame, packet), whole)  # noqa: B023
                return
        if packet.size or not packet.buffer_ptr:
            # An empty packet in the middle (Theora) repeats a frame; the decoder takes it for the end.
            yield from packet.decode()


def _is_before(frame: Any, packet: Any) -> bool:
    return None in (frame.pts, packet.pts) or frame.pts < packet.pts

"""Clips of a long video at even intervals: decoded once, in order, in memory that does not grow with the video."""

import collections
import dataclasses
import logging
import math
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from vidjax.data import sampling
from vidjax.data.clips import ClipSpec
from vidjax.data.cropping import padding
from vidjax.data.resizing import letterboxed
from vidjax.data.video.conversion import Converter
from vidjax.data.video.file import as_file
from vidjax.data.video.opening import open_video
from vidjax.data.views import ViewSpec
from vidjax.errors import ConfigError, VideoError
from vidjax.inference.network import TrainedNetwork
from vidjax.inference.videos import too_small, video_input

logger = logging.getLogger(__name__)

_MAX_BYTES = 2**30  # of frames that are held at once
_ROUNDING = 1e-6  # of times, in intervals
_DIGITS = 6  # of seconds
_UNITS = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0}  # in seconds


class Interval(NamedTuple):
    """A length of time, in seconds or in frames.

    Attributes:
      length: in that unit.
      unit: "s" or "frames".
    """

    length: float
    unit: str

    @classmethod
    def read(cls, text: str) -> "Interval":
        """Reads e.g. "1s", "0.5s", "500ms", "2min", "1h" or "30 frames".

        Raises:
          ConfigError: if it is none of these, or not above 0.
        """
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|min|h|frames?)\s*", text)
        number = float(match[1]) if match else 0.0
        if match is None or number <= 0 or (match[2].startswith("frame") and number != int(number)):
            raise ConfigError(f"{text!r} is not an interval: give e.g. 1s, 500ms, 2min or 30frames")
        return cls(number, "frames") if match[2].startswith("frame") else cls(number * _UNITS[match[2]], "s")


class Moment(NamedTuple):
    """An interval of a video of which a clip is classified.

    Attributes:
      time: at which it begins, in seconds from the first frame; None where the video states no times.
      frame: number of the frame in the middle of the clip.
      picture: that frame, uint8 [H, W, 3], the square that the network sees.
      share: of the video that has been decoded so far, 0..1; None where its header does not say how long it is.
    """

    time: float | None
    frame: int
    picture: np.ndarray
    share: float | None = None


def clips_over_time(
    path: str, network: TrainedNetwork, every: Interval
) -> Iterator[tuple[Moment, dict[str, np.ndarray]]]:
    """Yields a clip from the middle of each interval.

    The clips begin where the frames are that the file shows at these times, so a varying frame rate is respected. Near
    the ends of the video they are the first and the last that fit. There is at most one for each frame.

    Args:
      path: a video file or a folder of images.
      network: that is going to see them; its center crop is cut.
      every: the interval.

    Yields:
      The moment, and name of the input -> uint8 [T, S, S, 3].

    Raises:
      VideoError: if the video cannot be read, or states no times and the interval, or the network, needs some.
      ConfigError: if clips that span the whole interval do not fit the memory.
    """
    spec, clip = video_input(network), network.clip
    with open_video(as_file(path).load()) as video:
        convert = Converter(clip.resizing(training=False))
        offsets = _offsets(path, clip, every, video.fps)
        span, latest = int(offsets[-1]) + 1, -1
        if (held := span * network.views.side_of(clip) ** 2 * 3) > _MAX_BYTES:
            raise ConfigError(
                f"{path}: a clip of this network spans {span:,} frames ({held / 2**30:.1f} GiB): give a shorter one"
            )
        recent: collections.deque[np.ndarray] = collections.deque(maxlen=span)
        waiting: collections.deque[tuple[float, int]] = collections.deque()  # interval, frame in its middle
        clock = _Clock(path, video.fps, every)
        upcoming, now = 0, 0.0  # the first interval whose middle has not come yet; in intervals

        def cut(interval: float, center: int) -> tuple[Moment, dict[str, np.ndarray]]:
            first, count = latest + 1 - len(recent), latest + 1
            start = min(max(center - (span - 1) // 2, 0), sampling.last_start(count, span))
            frames = sampling.wrap_indices(start + offsets, count) - first
            shown = recent[min(center, count - 1) - first]
            share = min(count / video.stated_frames, 1.0) if video.stated_frames else None
            return Moment(clock.seconds(interval), center, shown, share), {
                spec.name: np.stack([recent[int(number)] for number in frames])
            }

        for latest, frame in enumerate(video):
            now = max(now, clock(latest, frame))
            recent.append(_square(path, convert, frame, network))
            shown_until = now + clock.period - _ROUNDING
            if shown_until > upcoming + 0.5:
                following = math.ceil(shown_until - 0.5)
                waiting.append((min(max(upcoming, int(now)), following - 1), latest))
                upcoming = following
            # The buffer holds exactly the frames of a clip once its last one has come.
            while waiting and latest >= max(waiting[0][1] - (span - 1) // 2, 0) + span - 1:
                yield cut(*waiting.popleft())
        if now >= upcoming:  # the last interval is cut off before its middle
            waiting.append((upcoming, latest))
        for rest in waiting:
            yield cut(*rest)
        loss = video.damage or video.truncation_warning()
        if loss:
            logger.warning("%s", VideoError(path, f"{loss}; its first {video.count} frames are used"))


class _Clock:
    """Tells the time of a frame, in intervals from the first one.

    Attributes:
      period: for how long a frame is shown, in intervals.
    """

    def __init__(self, path: str, fps: float | None, every: Interval):
        self._path = path
        self._fps = fps
        self._every = every
        self._start: float | None = None
        self._rate = fps if every.unit == "frames" else None
        self.period = (1.0 if every.unit == "frames" else 1 / fps if fps else 0.0) / every.length

    def __call__(self, number: int, frame: Any) -> float:
        if self._every.unit == "frames":
            return number / self._every.length
        time: float | None = frame.time
        if not number:
            self._start = time
        if time is not None and self._start is not None:
            return (time - self._start) / self._every.length
        if not self._fps:
            raise VideoError(self._path, "states no times: give the interval in frames, e.g. 30frames")
        return number / self._fps / self._every.length

    def seconds(self, intervals: float) -> float | None:
        """When an interval begins; None where only frames are counted."""
        if self._every.unit == "s":
            return round(intervals * self._every.length, _DIGITS)
        return round(intervals * self._every.length / self._rate, _DIGITS) if self._rate else None


def _offsets(path: str, clip: ClipSpec, every: Interval, fps: float | None) -> np.ndarray:
    """The frames of a clip, int64 [T], counted from its first; segments are those of one interval."""
    if (clip.fps or (clip.sampling == "segments" and every.unit == "s")) and not fps:
        raise VideoError(path, "states no frame rate, which the clips of this network need")
    if clip.sampling == "segments":
        window = every.length if every.unit == "frames" else every.length * (fps or 0)
        numbers = sampling.uniform_segments(max(round(window), 1), clip.frames, 1)[0]
        return numbers - numbers[0]
    stride = sampling.stride_for_fps(fps or 0, clip.fps) if clip.fps else clip.stride
    return sampling.clip_indices(0, clip.frames, stride)


def _square(path: str, convert: Converter, frame: Any, network: TrainedNetwork) -> np.ndarray:
    """uint8 [S, S, 3]: what a view shows of a frame."""
    picture, clip = convert(frame), network.clip
    if clip.resize == "letterbox" and clip.size:
        picture = letterboxed(picture[None], clip.size, padding(network.inputs[0], clip))[0]
    height, width, _ = picture.shape
    side = network.views.side_of(clip)
    if min(height, width) < side:
        raise VideoError(path, too_small(height, width, network) or "its frames change their size")
    top, left = dataclasses.replace(ViewSpec(), side=side).corner(0, height, width, clip)
    return np.ascontiguousarray(picture[top : top + side, left : left + side])

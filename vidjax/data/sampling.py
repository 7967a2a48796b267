"""Temporal sampling: which frames make a clip. Pure functions of frame count, frame rate and a generator.

A clip of T frames at stride s shows the frames start + round(i * s), i = 0 .. T - 1. A stride need not be
whole: resampling to a target rate takes the nearest frame at the video's own rate. Its span is the number of
frames from its first to its last. A video shorter than that is looped: numbers are taken modulo the frame count.
"""

import numpy as np

from vidjax.errors import ConfigError

POSITIONS = ("random", "first", "middle", "last")


def stride_for_fps(native_fps: float, target_fps: float) -> float:
    """Returns the stride, in frames of the video, at which a clip shows `target_fps` frames per second.

    Example:
      >>> stride_for_fps(30.0, 12.0)
      2.5
    """
    if native_fps <= 0 or target_fps <= 0:
        raise ValueError(f"frame rates must be positive, got {native_fps} and {target_fps}")
    return native_fps / target_fps


def clip_indices(start: int, frames: int, stride: float = 1) -> np.ndarray:
    """Returns int64 [frames]: start + round(i * stride), halves rounded up.

    Example:
      >>> clip_indices(4, 5, 2.5)
      array([ 4,  7,  9, 12, 14])
    """
    if frames < 1 or stride <= 0:
        raise ValueError(f"a clip needs frames >= 1 and stride > 0, got {frames} and {stride}")
    return start + np.floor(np.arange(frames) * stride + 0.5).astype(np.int64)


def last_start(count: int, frames: int, stride: float = 1) -> int:
    """Returns the last start at which the clip fits into `count` frames; 0 if it never does (it is looped)."""
    if count < 1:
        raise ValueError(f"a video needs at least one frame, got {count}")
    span = int(clip_indices(0, frames, stride)[-1]) + 1
    return max(count - span, 0)


def looped(indices: np.ndarray, count: int) -> np.ndarray:
    """Returns the indices modulo the frame count: a short video starts again from its first frame."""
    return indices % count


def random_clip(count: int, frames: int, stride: float, rng: np.random.Generator) -> np.ndarray:
    """Returns int64 [frames]: a clip whose start is uniform over all starts at which it fits."""
    start = int(rng.integers(last_start(count, frames, stride) + 1))
    return looped(clip_indices(start, frames, stride), count)


def uniform_clips(count: int, frames: int, stride: float, clips: int) -> np.ndarray:
    """Returns int64 [clips, frames]: starts evenly spaced from the first to the last possible.

    One clip is the centred one. In a video with fewer possible starts than clips, some clips coincide.
    """
    if clips < 1:
        raise ValueError(f"at least one clip is needed, got {clips}")
    last = last_start(count, frames, stride)
    gaps = clips - 1
    starts = [(2 * i * last + gaps) // (2 * gaps) for i in range(clips)] if gaps else [last // 2]
    return np.stack([looped(clip_indices(start, frames, stride), count) for start in starts])


def clip_at(position: str, count: int, frames: int, stride: float) -> np.ndarray:
    """Returns int64 [frames]: the "first", "middle" or "last" clip of a video.

    Raises:
      ConfigError: for any other position.
    """
    last = last_start(count, frames, stride)
    starts = {"first": 0, "middle": last // 2, "last": last}
    if position not in starts:
        raise ConfigError(f"unknown clip position {position!r} (known: {', '.join(POSITIONS)})")
    return looped(clip_indices(starts[position], frames, stride), count)

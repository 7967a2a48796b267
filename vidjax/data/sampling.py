"""Temporal sampling: which frames make a clip. Pure functions of frame count, frame rate and a generator.

Dense: a clip of T frames at stride s shows the frames start + round(i * s), i = 0 .. T - 1. A stride need not
be whole: resampling to a target rate takes the nearest frame at the video's own rate. Its span is the number
of frames from its first to its last. A video shorter than that is looped: numbers are taken modulo the frame
count. Two frames 15 apart are a dense clip of 2 frames at stride 15; in a video of at most 15 frames the
second is frame 15 modulo the count. This is what mmaction2's SampleFrames with num_clips=1 and PySlowFast do;
mmaction2's DenseSampleFrames, T frames over a window of 64, is the stride 64 // T.

Segments (temporal segment networks, Wang et al. 2016, section 3.1): the video is cut into T equal parts and one
frame is taken of each. A video of fewer frames than T shows some of them several times in a row.
"""

import numpy as np

from vidjax.errors import ConfigError

SAMPLINGS = ("dense", "segments")
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


def wrap_indices(indices: np.ndarray, count: int) -> np.ndarray:
    """Returns the indices modulo the frame count: a short video starts again from its first frame."""
    return indices % count


def random_clip(count: int, frames: int, stride: float, rng: np.random.Generator) -> np.ndarray:
    """Returns int64 [frames]: a clip whose start is uniform over all starts at which it fits."""
    start = int(rng.integers(last_start(count, frames, stride) + 1))
    return wrap_indices(clip_indices(start, frames, stride), count)


def uniform_clips(count: int, frames: int, stride: float, clips: int) -> np.ndarray:
    """Returns int64 [clips, frames]: starts evenly spaced from the first to the last possible.

    One clip is the centered one. In a video with fewer possible starts than clips, some clips coincide. At
    stride 1 and count / frames clips or more, every frame of the video is in some clip.
    """
    if clips < 1:
        raise ValueError(f"at least one clip is needed, got {clips}")
    last = last_start(count, frames, stride)
    gaps = clips - 1
    starts = [(2 * i * last + gaps) // (2 * gaps) for i in range(clips)] if gaps else [last // 2]
    return np.stack([wrap_indices(clip_indices(start, frames, stride), count) for start in starts])


def clip_at(position: str, count: int, frames: int, stride: float) -> np.ndarray:
    """Returns int64 [frames]: the "first", "middle" or "last" clip of a video.

    Raises:
      ConfigError: for any other position.
    """
    last = last_start(count, frames, stride)
    starts = {"first": 0, "middle": last // 2, "last": last}
    if position not in starts:
        raise ConfigError(f"unknown clip position {position!r} (known: {', '.join(POSITIONS)})")
    return wrap_indices(clip_indices(starts[position], frames, stride), count)


def clip_from(frame_number: int, count: int, frames: int, stride: float) -> np.ndarray:
    """Returns int64 [frames]: the clip that starts at a frame (counted from 0), or at the last possible start."""
    start = min(frame_number, last_start(count, frames, stride))
    return wrap_indices(clip_indices(start, frames, stride), count)


def random_segments(count: int, frames: int, rng: np.random.Generator) -> np.ndarray:
    """Returns int64 [frames]: a frame drawn uniformly from each of `frames` equal parts of the video.

    Part i holds the frames floor(i * count / frames) .. floor((i + 1) * count / frames) - 1, so that each frame
    belongs to one part; a part that would be empty holds its first.
    """
    edges = _part_edges(count, frames)
    return edges[:-1] + rng.integers(np.maximum(np.diff(edges), 1))


def uniform_segments(count: int, frames: int, clips: int) -> np.ndarray:
    """Returns int64 [clips, frames]: one frame of each of `frames` equal parts, evenly shifted.

    Clip v takes the frame at the fraction (v + 1/2) / clips of each part: one clip takes the centers.

    Example:
      >>> uniform_segments(30, 3, 2)
      array([[ 2, 12, 22],
             [ 7, 17, 27]])
    """
    if clips < 1:
        raise ValueError(f"at least one clip is needed, got {clips}")
    _part_edges(count, frames)  # checks both
    part, clip = np.arange(frames), np.arange(clips)[:, None]
    return (2 * clips * part + 2 * clip + 1) * count // (2 * clips * frames)


def frame_windows(indices: np.ndarray, count: int, per_frame: int) -> np.ndarray:
    """Returns int64 [len(indices) * per_frame]: for each frame `per_frame` consecutive ones, half of them before it.

    At an end of the video they are the nearest ones within it; one that is shorter shows its last frame again.

    Example:
      >>> frame_windows(np.array([0, 5, 9]), 10, 4)
      array([0, 1, 2, 3, 3, 4, 5, 6, 6, 7, 8, 9])
    """
    if per_frame == 1:
        return indices
    first = np.clip(indices - per_frame // 2, 0, max(count - per_frame, 0))
    return np.minimum(first[:, np.newaxis] + np.arange(per_frame), count - 1).reshape(-1)


def _part_edges(count: int, frames: int) -> np.ndarray:
    """Int64 [frames + 1]: where each of the equal parts of a video begins, and the frame count."""
    if count < 1 or frames < 1:
        raise ValueError(f"a clip and a video need at least one frame, got {frames} and {count}")
    return np.arange(frames + 1, dtype=np.int64) * count // frames

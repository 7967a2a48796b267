"""Whole-video inference with a pretrained network, as its authors tested it: convolutional in time, center crop.

A video that states its frame rate is resampled to that of the network by the nearest frame; one that is then shorter
than a training clip is looped. Up to `MAX_FRAMES` frames go through the network at once. A longer video is split into
as few segments as possible, whose lengths differ by at most one frame, and their scores are averaged with equal
weights: this bounds the memory, but the network does not see across segments.

Frames are resized by their short side and center-cropped; frames that already have the size of the crop, such as a
clip published with its network, are used unchanged.
"""

import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vidjax.data import sampling, streams
from vidjax.data.inputs import RGB
from vidjax.data.records import Video
from vidjax.data.video import index
from vidjax.data.video.conversion import Size, short_side_size
from vidjax.data.video.info import VideoInfo
from vidjax.errors import VideoError
from vidjax.evaluation.scores import AVERAGES, average_views
from vidjax.pretrained import Pretrained
from vidjax.pretrained.info import ExpectedInput

logger = logging.getLogger(__name__)

# Frames per forward pass: 10 seconds at 25 frames per second, a whole clip of Kinetics. I3D takes 1.5 GB.
MAX_FRAMES = 250
_MIN_FPS = 1.0  # below, it is a slide show: its frames are taken one after the other


class Scores(NamedTuple):
    """Scores of a video.

    Attributes:
      probabilities: float64 [K], summing to 1.
      frames: number of frames used, over all segments.
      pieces: number of segments.
    """

    probabilities: np.ndarray
    frames: int
    pieces: int

    def top(self, count: int) -> list[int]:
        """Labels of the highest probabilities, highest first."""
        return [int(label) for label in np.argsort(-self.probabilities, kind="stable")[:count]]


class VideoClassifier:
    """Classifies videos, one after the other. The network is recompiled for each number of frames.

    Args:
      pretrained: the network.
    """

    def __init__(self, pretrained: Pretrained):
        module, variables, info = pretrained
        self._preprocessing = info.preprocessing
        self._variables = jax.device_put(variables)
        expected = info.preprocessing
        mean, std = (jnp.asarray(values, jnp.float32) for values in (expected.mean, expected.std))
        average = AVERAGES[expected.average]

        def forward(variables: Any, clip: jax.Array) -> jax.Array:
            output: Any = module.apply(variables, rgb=(clip.astype(jnp.float32) - mean) / std)
            return average(output.logits)

        self._forward = jax.jit(forward)

    def __call__(self, video: Video, frames: int | None = None) -> Scores:
        """Scores a video.

        Args:
          video: which; `inspected` makes one of a path.
          frames: use only this many consecutive frames, from the middle; looped if the video has fewer.

        Raises:
          VideoError: if it cannot be read.
        """
        info = streams.probe(video.streams["rgb"], RGB)
        pieces = split_into_segments(info, self._preprocessing, frames)
        size = frame_size(info.height, info.width, self._preprocessing)
        scores = [self._forward(self._variables, self._clip(video, piece, size)) for piece in pieces]
        probabilities = average_views(np.concatenate(scores), self._preprocessing.average)
        return Scores(probabilities, sum(map(len, pieces)), len(pieces))

    def _clip(self, video: Video, indices: np.ndarray, size: Size) -> np.ndarray:
        """uint8 [1, T, crop, crop, 3]: the frames with these numbers."""
        frames = streams.read_frames(video.streams["rgb"], RGB, indices.tolist(), size)
        side = self._preprocessing.crop
        top, left = (size[0] - side) // 2, (size[1] - side) // 2
        return frames[None, :, top : top + side, left : left + side]


def inspected(paths: Sequence[str]) -> dict[str, Video]:
    """Inspects files in processes that may be killed; what cannot be read is a video with a reason in `refused`.

    Args:
      paths: video files, or folders of images.

    Returns:
      Path -> video.
    """
    videos = {}
    for path, record in index.inspect_files(paths).items():
        if record.verdict == "refused":
            videos[path] = Video.of(path, path, 0, path, refused=record.reason)
            continue
        if record.warning:
            logger.warning("%s", VideoError(path, f"{record.warning}; its first {record.frames} frames are used"))
        info = VideoInfo(record.frames, record.fps, record.height, record.width, record.table)
        videos[path] = Video.of(path, path, 0, path, info=info)
    return videos


def split_into_segments(info: VideoInfo, preprocessing: ExpectedInput, frames: int | None = None) -> list[np.ndarray]:
    """The frames that the network sees, at its frame rate: int64 [T] for each segment.

    Args:
      info: of the video.
      preprocessing: of the network.
      frames: as in `VideoClassifier.__call__`.
    """
    fps = info.fps if info.fps is not None and info.fps >= _MIN_FPS else preprocessing.fps
    stride = sampling.stride_for_fps(fps, preprocessing.fps)
    indices = sampling.clip_indices(0, int(info.frames / stride) + 1, stride)
    indices = indices[indices < info.frames]
    if frames is not None:
        indices = indices[sampling.clip_at("middle", len(indices), frames, 1)]
    elif len(indices) < preprocessing.frames:
        indices = indices[sampling.clip_at("first", len(indices), preprocessing.frames, 1)]
    return np.array_split(indices, -(-len(indices) // MAX_FRAMES))


def frame_size(height: int, width: int, preprocessing: ExpectedInput) -> Size:
    """The (height, width) to which frames of that size are resized, before the square is cut."""
    if (height, width) == (preprocessing.crop, preprocessing.crop):
        return height, width
    return short_side_size(height, width, preprocessing.short_side)

"""Selects the videos that the report of a run shows, and reads their frames."""

from collections.abc import Iterable, Sequence

import numpy as np

from vidjax.data import streams
from vidjax.data.inputs import Input
from vidjax.data.records import Video
from vidjax.data.video.conversion import short_side_size
from vidjax.errors import VideoError
from vidjax.evaluation.predictions import PredictionsFile

_NUM_CORRECT, _NUM_MISCLASSIFIED = 10, 6  # examples that a model may draw reconstructions of
_SHORT_SIDE = 96  # of a sample, in pixels


def first_of_classes(videos: Iterable[Video]) -> list[Video]:
    """The first video of each class, in order of class."""
    first: dict[int, Video] = {}
    for video in videos:
        first.setdefault(video.label, video)
    return [first[label] for label in sorted(first)]


def choose_clips(videos: Sequence[Video], scored: PredictionsFile, count: int) -> list[Video]:
    """Evenly spaced test videos: up to half of them misclassified, those first.

    Args:
      videos: the test videos.
      scored: their predictions.
      count: maximum number of videos.
    """
    by_id = {video.id: video for video in videos}
    wrong, right = _split_by_correctness(scored)
    chosen = _evenly_spaced(wrong, max(count // 2, count - len(right)))
    chosen += _evenly_spaced(right, count - len(chosen))
    return [by_id[video_id] for video_id in chosen]


def choose_mistakes(videos: Sequence[Video], scored: PredictionsFile, count: int) -> list[Video]:
    """The misclassified videos with the highest scores, highest first.

    Args:
      videos: the test videos.
      scored: their predictions.
      count: maximum number of videos.
    """
    by_id = {video.id: video for video in videos}
    wrong = sorted((video for video in scored.videos if not video.is_correct), key=lambda video: -max(video.scores))
    return [by_id[video.id] for video in wrong[:count]]


def choose_examples(videos: Sequence[Video], scored: PredictionsFile) -> list[Video]:
    """Videos to draw reconstructions of: a correct one of each of the first classes, then misclassified ones.

    Args:
      videos: the test videos.
      scored: their predictions.
    """
    wrong, _ = _split_by_correctness(scored)
    first = {video.label: video.id for video in reversed(scored.videos) if video.is_correct}
    chosen = {
        *(first[label] for label in sorted(first)[:_NUM_CORRECT]),
        *_evenly_spaced(wrong, _NUM_MISCLASSIFIED),
    }
    return sorted((v for v in videos if v.id in chosen), key=lambda v: (v.id in wrong, v.label))


def read_samples(videos: Iterable[Video], image: Input | None, frames: int) -> list[tuple[Video, np.ndarray]]:
    """Evenly spaced frames of the readable videos, small enough for a web page.

    Args:
      videos: to read.
      image: the input to show; None if the data has no images: the result is empty.
      frames: maximum number per video.

    Returns:
      (video, images [T, H, W, C] as they are stored), with a short side of at most 96 pixels.
    """
    found: list[tuple[Video, np.ndarray]] = []
    if image is None:
        return found
    for video in videos:
        try:
            stream = video.streams[image.stream_name]
            info = streams.probe(stream, image)
            indices = np.unique(np.linspace(0, info.frames - 1, frames).round().astype(int)).tolist()
            size = short_side_size(info.height, info.width, min(info.height, info.width, _SHORT_SIDE))
            found.append((video, streams.read_frames(stream, image, indices, size)))
        except VideoError:
            continue  # the result row already says which test videos failed
    return found


def _split_by_correctness(scored: PredictionsFile) -> tuple[list[str], list[str]]:
    """The ids of misclassified and of correctly classified videos."""
    wrong = [video.id for video in scored.videos if not video.is_correct]
    right = [video.id for video in scored.videos if video.is_correct]
    return wrong, right


def _evenly_spaced(ids: list[str], count: int) -> list[str]:
    """At most `count` of the ids, evenly spaced."""
    if count <= 0 or not ids:
        return []
    return [ids[i] for i in np.unique(np.linspace(0, len(ids) - 1, min(count, len(ids))).round().astype(int))]

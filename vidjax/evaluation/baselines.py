"""Trivial baselines that a network must beat before its accuracy means anything.

Each learns from the training set and predicts the test set from cues that do not involve motion: the most frequent
class, the length and frame rate of the file, the mean frame.
"""

import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from vidjax.data import RGB, Input, Source, Video, streams
from vidjax.errors import DataError, VideoError
from vidjax.evaluation import metrics
from vidjax.evaluation.result import Baseline

_MEAN_FRAME_SIDE = 16  # pixels


@dataclasses.dataclass(frozen=True)
class Description:
    """The features of a video that the baselines use.

    Attributes:
      label: class of the video.
      group: of near-duplicate videos.
      length_and_fps: float64 [2], number of frames and frames per second (0 if unknown).
      mean_frame: float64 [16 * 16 * C], the mean over time of its images, resized to 16 x 16; for inputs other than
        images, the flattened mean over time.
    """

    label: int
    group: str
    length_and_fps: np.ndarray
    mean_frame: np.ndarray


def describe(video: Video, input: Input = RGB) -> Description:
    """Reads a video sequentially and computes its features.

    Args:
      video: the video.
      input: the input to read.

    Raises:
      VideoError: if it cannot be read.
    """
    stream = dataclasses.replace(video.streams[input.stream_name], exact_seek=False)
    info = streams.probe(stream, input)
    frames = streams.read_frames(stream, input, range(info.frames), (_MEAN_FRAME_SIDE, _MEAN_FRAME_SIDE))
    length_and_fps = np.array([info.frames, info.fps or 0.0])
    known = np.nan_to_num(frames, nan=0.0, posinf=0.0, neginf=0.0) if input.dtype.startswith("float") else frames
    mean = known.mean(axis=0, dtype=np.float64)
    return Description(video.label, video.group, length_and_fps, mean.reshape(-1))


def nearest_neighbor(train: np.ndarray, train_labels: np.ndarray, test: np.ndarray) -> np.ndarray:
    """1-nearest neighbor by Euclidean distance between standardized features; ties go to the first.

    Args:
      train: float [N, D]; features are standardized by the training mean and standard deviation, constant ones ignored.
      train_labels: int [N].
      test: float [M, D].

    Returns:
      int [M], predicted labels.
    """
    mean, deviation = train.mean(axis=0), train.std(axis=0)
    scale = np.where(deviation > 0, 1 / np.where(deviation > 0, deviation, 1), 0)
    known, queries = (train - mean) * scale, (test - mean) * scale
    return np.array([train_labels[np.argmin(np.square(known - row).sum(axis=1))] for row in queries], np.int64)


def majority_class(train_labels: np.ndarray, tests: int) -> np.ndarray:
    """Predicts the most frequent training label, the lowest in case of ties: int [tests]."""
    return np.full(tests, np.bincount(train_labels).argmax())


def baseline_rows(source: Source, progress: Callable[[int, int], Any] | None = None) -> list[Baseline]:
    """Evaluates the three baselines on a source.

    Args:
      source: its training and test sets are used, and of its inputs the first image, or the first input if there is no
        image.
      progress: called as progress(videos done, total videos).

    Returns:
      One row per baseline.

    Raises:
      DataError: if no training video or no test video can be decoded.
    """
    input = source.image or source.inputs[0]
    described = list(_describe_all([*source.train, *source.test], input, progress))
    train = [d for d in described[: len(source.train)] if d is not None]
    test = [d for d in described[len(source.train) :] if d is not None]
    if not train or not test:
        raise DataError(f"{source.name}: no {'test' if train else 'training'} video can be decoded")
    train_labels = np.array([d.label for d in train], np.int64)
    predictions = {"majority class": majority_class(train_labels, len(test))}
    mean = "mean colour frame" if input.color else f"mean of {input.stream_name}"
    for name, feature in (("length and fps, 1-NN", "length_and_fps"), (f"{mean}, 1-NN", "mean_frame")):
        known, queries = (np.stack([getattr(d, feature) for d in part]) for part in (train, test))
        predictions[name] = nearest_neighbor(known, train_labels, queries)
    failed = described.count(None)
    return [_row(name, source, test, predicted, failed) for name, predicted in predictions.items()]


def _row(name: str, source: Source, tested: Sequence[Description], predicted: np.ndarray, failed: int) -> Baseline:
    labels = np.array([d.label for d in tested], np.int64)
    counts = metrics.confusion_counts(labels, predicted, len(source.classes))
    return Baseline(
        baseline=name,
        dataset=source.name,
        split=source.split,
        classes=list(source.classes),
        videos=len(labels),
        failed_videos=failed,
        correct=int(counts.trace()),
        **vars(metrics.from_counts(counts.diagonal(), counts.sum(axis=1))),
        groups=metrics.group_counts(labels, [d.group for d in tested], labels == predicted),
    )


def _describe_all(
    videos: Sequence[Video], input: Input, progress: Callable[[int, int], Any] | None
) -> Iterator[Description | None]:
    """Describes the videos in order; None for videos that cannot be decoded."""

    def describe_or_none(video: Video) -> Description | None:
        try:
            return describe(video, input)
        except VideoError:
            return None

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for done, description in enumerate(pool.map(describe_or_none, videos), start=1):
            if progress:
                progress(done, len(videos))
            yield description

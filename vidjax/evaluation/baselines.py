"""Trivial baselines: what a network must beat before its accuracy means anything.

Each learns from the train part and predicts the test part, from things that have nothing to do with
motion: the most frequent class, the length and frame rate of the file, the mean of its frames.
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
    """What the baselines know of a video.

    Attributes:
      label: its class.
      group: of its near-duplicates.
      length_and_fps: float64 [2], number of frames and frames per second (0 where not stated).
      mean_frame: float64 [16 * 16 * C], the mean over time of its images resized to 16 x 16; without images, that of
        what there is, flat.
    """

    label: int
    group: str
    length_and_fps: np.ndarray
    mean_frame: np.ndarray


def describe(video: Video, input: Input = RGB) -> Description:
    """Reads a video, in order, and describes it.

    Args:
      video: which.
      input: what is read of it.

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
    """1-nearest neighbour by Euclidean distance between standardised features; ties go to the first.

    Args:
      train: float [N, D], standardised by their own mean and standard deviation; constant features count nothing.
      train_labels: int [N].
      test: float [M, D].

    Returns:
      int [M], predicted labels.
    """
    mean, deviation = train.mean(axis=0), train.std(axis=0)
    scale = np.where(deviation > 0, 1 / np.where(deviation > 0, deviation, 1), 0)
    known, asked = (train - mean) * scale, (test - mean) * scale
    return np.array([train_labels[np.argmin(np.square(known - row).sum(axis=1))] for row in asked], np.int64)


def majority_class(train_labels: np.ndarray, tests: int) -> np.ndarray:
    """Returns int [tests]: the most frequent training label, the lowest where several are."""
    return np.full(tests, np.bincount(train_labels).argmax())


def baseline_rows(source: Source, progress: Callable[[int, int], Any] | None = None) -> list[Baseline]:
    """Evaluates the three baselines on a source.

    Args:
      source: of its train and test parts the first image input is read, or the first input where there is no image;
        its validation part is not used.
      progress: called as progress(videos done, videos in all).

    Returns:
      One row per baseline.

    Raises:
      DataError: if no video of a part can be decoded.
    """
    input = source.image or source.inputs[0]
    described = list(_describe_all([*source.train, *source.test], input, progress))
    train = [d for d in described[: len(source.train)] if d is not None]
    test = [d for d in described[len(source.train) :] if d is not None]
    if not train or not test:
        raise DataError(f"{source.name}: no video of the {'test' if train else 'train'} part can be decoded")
    train_labels = np.array([d.label for d in train], np.int64)
    predictions = {"majority class": majority_class(train_labels, len(test))}
    mean = "mean colour frame" if input.color else f"mean of {input.stream_name}"
    for name, feature in (("length and fps, 1-NN", "length_and_fps"), (f"{mean}, 1-NN", "mean_frame")):
        known, asked = (np.stack([getattr(d, feature) for d in part]) for part in (train, test))
        predictions[name] = nearest_neighbor(known, train_labels, asked)
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
    """Describes the videos in order, None for those that cannot be decoded."""

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

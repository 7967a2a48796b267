"""A linear support vector machine on the scores of several finished runs (Simonyan & Zisserman 2014, section 6).

It is fitted to the training videos' scores, its C chosen by the validation videos. Only reads the files of the runs.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from vidjax.errors import DataError, OptionError
from vidjax.evaluation import ensemble
from vidjax.evaluation.predictions import PredictionsFile
from vidjax.evaluation.result import Result

COSTS = (0.01, 0.1, 1.0, 10.0, 100.0)  # values of C that are tried
_PARTS = ("train", "validation", "test")


def fit_runs(folders: Sequence[Path]) -> tuple[PredictionsFile, Result]:
    """Classifies the test videos of finished runs by an SVM on their scores.

    The features of a video are the probabilities that each run gives it, of length 1 for each run.

    Args:
      folders: two or more run directories with predictions for all parts (`evaluate.all_parts`).

    Returns:
      The predictions, whose scores are the softmax of the SVM's decisions, and the result.

    Raises:
      ConfigError: for fewer than two runs.
      OptionError: if predictions for a part are missing.
      DataError: if they are of other videos than the first run's, or too few.
    """
    # Also checks that the runs fit each other.
    averaged, _ = ensemble.ensemble_runs(folders)
    results = [found for folder in folders if (found := Result.read(folder / "result.json")) is not None]
    weights = ensemble.normalize_weights(None, len(folders))
    names = list(map(str, folders))
    parts = {}
    for part in _PARTS:
        members = [_read(folder, part) for folder in folders]
        # Those that all runs have scores for, in the order of the first one.
        known = {video.id for video in ensemble.average(members, names, weights).videos}
        labels = np.array([video.label for video in members[0].videos if video.id in known])
        if not known:
            raise DataError(f"no {part} video could be read by all of {', '.join(names)}")
        parts[part] = _features(members, known), labels
    (train, labels), (validation, truth), (test, _) = (parts[part] for part in _PARTS)
    if len(set(labels.tolist())) < 2:
        raise DataError("an SVM needs readable training videos of two classes or more")
    from sklearn.svm import LinearSVC  # takes a second to import

    fitted = [LinearSVC(C=cost, random_state=0, max_iter=10_000).fit(train, labels) for cost in COSTS]
    right = [np.mean(each.predict(validation) == truth) for each in fitted]
    best = int(np.argmax(right))
    scores = _softmax(_decisions(fitted[best].decision_function(test), fitted[best].classes_, len(averaged.classes)))
    title = f"linear SVM, C={COSTS[best]:g} ({right[best]:.1%} of the validation videos)"
    scored = _with_scores(averaged, scores, title)
    return scored, ensemble.ensemble_result(results, scored, [folder.name for folder in folders], None)


def _with_scores(averaged: PredictionsFile, scores: np.ndarray, average: str) -> PredictionsFile:
    videos = [
        dataclasses.replace(
            video,
            scores=[float(f"{score:.7g}") for score in row],
            predicted_name=averaged.classes[int(np.argmax(row))],
        )
        for video, row in zip(averaged.videos, scores, strict=True)
    ]
    return dataclasses.replace(averaged, videos=videos, average=average)


def _read(folder: Path, part: str) -> PredictionsFile:
    path = folder / "predictions" / f"{part}.json"
    found = PredictionsFile.read(path)
    if found is None:
        raise OptionError(
            f"{path}: missing; an SVM needs the scores of all parts: evaluate with {{all_parts}}=True"
            f" (launch.py --mode=eval --workdir={folder}), then give the folder in its evaluations/",
            ["all_parts"],
        )
    return found


def _features(members: Sequence[PredictionsFile], known: set[str]) -> Float[np.ndarray, "videos features"]:
    columns = []
    for member in members:
        by_id = {video.id: video.scores for video in member.videos}
        scores = np.array([by_id[video.id] for video in members[0].videos if video.id in known])
        columns.append(scores / np.linalg.norm(scores, axis=1, keepdims=True))
    return np.concatenate(columns, axis=1)


def _decisions(
    found: Float[np.ndarray, "*shape"], classes: Int[np.ndarray, " known"], count: int
) -> Float[np.ndarray, "videos {count}"]:
    """A column for each class; those that training had no video of are least."""
    if found.ndim == 1:  # of two classes there is one decision
        found = np.stack([-found, found], axis=1)
    result = np.full((len(found), count), found.min() - 10)
    result[:, classes] = found
    return result


def _softmax(values: Float[np.ndarray, "videos classes"]) -> Float[np.ndarray, "videos classes"]:
    exponents = np.exp(values - values.max(axis=1, keepdims=True))
    return exponents / exponents.sum(axis=1, keepdims=True)

"""Ensembles: averages the scores of several finished runs for each video (Karpathy et al. 2014, table 1, last row).

Only reads the files of the runs: nothing is decoded or evaluated again.
"""

from collections.abc import Hashable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from vidjax.errors import ConfigError, DataError
from vidjax.evaluation import metrics
from vidjax.evaluation.predictions import Failure, PredictionsFile, VideoPrediction
from vidjax.evaluation.record import Record
from vidjax.evaluation.result import Member, Result

_Kind = TypeVar("_Kind", bound=Record)


def ensemble_runs(folders: Sequence[Path], weights: Sequence[float] | None = None) -> tuple[PredictionsFile, Result]:
    """Averages the stored test predictions of finished runs.

    Args:
      folders: two or more run directories, or folders in their `evaluations/`.
      weights: of the runs; non-negative and not all 0; None: equal.

    Returns:
      The predictions and the result of the ensemble.

    Raises:
      ConfigError: for fewer than two runs, a run given twice, or weights that do not fit.
      DataError: if a run is unfinished or was tested on other videos than the first one, or if no video is left.
    """
    if len(folders) < 2:
        raise ConfigError(f"an ensemble needs at least 2 runs, not {', '.join(map(str, folders)) or 'none'}")
    resolved = [folder.resolve() for folder in folders]
    if len(set(resolved)) < len(resolved):
        twice = next(folder for folder, path in zip(folders, resolved) if resolved.count(path) > 1)
        raise ConfigError(f"{twice} is given twice; use --weights to weight a run")
    shares = normalize_weights(weights, len(folders))
    results = [_finished_result(folder) for folder in folders]
    scored = average(
        [_read(PredictionsFile, folder / "predictions" / "test.json") for folder in folders],
        list(map(str, folders)),
        shares,
    )
    if not scored.videos:
        raise DataError(f"no test video could be read by all of {', '.join(map(str, folders))}")
    return scored, ensemble_result(results, scored, [folder.name for folder in folders], shares)


def normalize_weights(weights: Sequence[float] | None, runs: int) -> np.ndarray:
    """Normalizes weights to float64 [runs] that sum to 1; None: equal weights.

    Raises:
      ConfigError: for a wrong number of weights, a negative weight, or only zeros.
    """
    values = np.ones(runs) if weights is None else np.asarray(weights, np.float64)
    if len(values) != runs:
        raise ConfigError(f"--weights: {len(values)} weights for {runs} runs; give one per run, in the same order")
    if not np.isfinite(values).all() or (values < 0).any() or not values.any():
        raise ConfigError(f"--weights={','.join(f'{v:g}' for v in values)}: expected non-negative numbers, not all 0")
    return values / values.sum()


def average(members: Sequence[PredictionsFile], names: Sequence[str], weights: np.ndarray) -> PredictionsFile:
    """Averages predictions files.

    The scores of a video in a predictions file are probabilities, regardless of what was averaged over its views; the
    ensemble's scores are their weighted mean. Scores of single views are not stored, so an ensemble has no clip
    accuracy.

    Args:
      members: predictions of the members.
      names: of the members, for error messages.
      weights: float [members], summing to 1.

    Returns:
      The predictions, with videos in the order of the first member and empty `view_ranks`. A video that failed in any
      member counts as failed.

    Raises:
      DataError: naming the first difference between a member and the first one.
    """
    first = members[0]
    for member, name in zip(members[1:], names[1:]):
        _check_same(first, member, names[0], name)
    by_id = [{video.id: video for video in member.videos} for member in members]
    failures: dict[str, str] = {}
    for member, name in zip(members, names):
        for failure in member.failed:
            failures.setdefault(failure.id, f"{name}: {failure.reason}")
    videos = []
    for video in first.videos:
        if video.id in failures:
            continue
        of_members = [videos_of_one[video.id] for videos_of_one in by_id]
        scores = [float(f"{score:.7g}") for score in weights @ np.array([one.scores for one in of_members])]
        videos.append(
            VideoPrediction(
                id=video.id,
                group=video.group,
                label=video.label,
                scores=scores,
                views=sum(one.views for one in of_members),
                view_ranks=[],
                path=video.path,
                label_name=first.classes[video.label],
                predicted_name=first.classes[int(np.argmax(scores))],
            )
        )
    return PredictionsFile(
        dataset=first.dataset,
        split=first.split,
        part=first.part,
        classes=first.classes,
        average=_joined(member.average for member in members),
        views_per_video=sum(member.views_per_video for member in members),
        videos=videos,
        failed=[Failure(id=video_id, reason=reason) for video_id, reason in failures.items()],
    )


def ensemble_result(
    results: Sequence[Result], scored: PredictionsFile, names: Sequence[str], weights: np.ndarray | None
) -> Result:
    """The result row of an ensemble.

    Parameters, GMACs, views and seconds are summed over the members; seeds, inputs and the like are joined.

    Args:
      results: of the members.
      scored: their averaged predictions.
      names: of the members.
      weights: float [members]; None where scores are not averaged.

    Returns:
      A result without clip accuracies, whose `members` list what was averaged.
    """
    first = results[0]
    accuracies = {**vars(metrics.compute_accuracies(scored)), "clip_top1": None, "clip_top5": None}
    return Result(
        model=f"ensemble of {len(results)}",
        inputs=_joined((r.inputs for r in results), "; "),
        dataset=first.dataset,
        split=first.split,
        seed=_joined((r.seed for r in results), "+"),
        parameters=sum(r.parameters for r in results),
        gmacs_per_view=sum(r.gmacs_per_view for r in results),
        resolution=_joined((r.resolution for r in results), "+"),
        views=sum(r.views for r in results),
        views_detail=_joined((r.views_detail for r in results), " + "),
        **accuracies,
        seconds=round(sum(r.seconds for r in results), 1),
        classes=list(scored.classes),
        average=scored.average,
        absent_clips=_joined(r.absent_clips for r in results),
        train_videos=_joined(r.train_videos for r in results),
        validation_videos=_joined(r.validation_videos for r in results),
        steps=_joined(r.steps for r in results),
        initial_weights=_joined(r.initial_weights or "random" for r in results),
        batch_size=_joined(r.batch_size for r in results),
        parallel=_joined(r.parallel for r in results),
        hardware=_joined(r.hardware for r in results),
        versions=(first.versions or {}) if _same(r.versions for r in results) else {},
        commit=_joined(r.commit for r in results),
        date=max(r.date or "" for r in results),
        members=[
            Member(
                run=name,
                model=r.model,
                seed=r.seed,
                weight=None if weight is None else round(float(weight), 6),
                video_top1=r.video_top1,
                config_hash=r.config_hash,
            )
            for name, r, weight in zip(names, results, [None] * len(names) if weights is None else weights, strict=True)
        ],
        finished=True,
    )


def _finished_result(folder: Path) -> Result:
    result = _read(Result, folder / "result.json")
    if not result.finished:
        raise DataError(f"{folder}: the run is not finished; rerun the same command to resume it")
    return result


def _read(kind: type[_Kind], path: Path) -> _Kind:
    found = kind.read(path)
    if found is None:
        raise DataError(f"{path}: missing or not JSON; pass the directories of finished runs")
    return found


def _check_same(first: PredictionsFile, other: PredictionsFile, first_name: str, name: str) -> None:
    """Checks that both were tested on the same videos."""
    both = f"{first_name} and {name} cannot be averaged"
    for what, one, another in (
        ("dataset", first.dataset, other.dataset),
        ("split", first.split, other.split),
        ("part", first.part, other.part),
    ):
        if one != another:
            raise DataError(f"{both}: {what} {one!r} and {another!r}")
    if list(first.classes) != list(other.classes):
        pairs = zip(first.classes, other.classes)
        numbers = f", {len(first.classes)} and {len(other.classes)}"
        where = next((f": {a!r} and {b!r}" for a, b in pairs if a != b), numbers)
        raise DataError(f"{both}: they have different classes{where}")
    labels, others = ({video.id: video.label for video in part.videos} for part in (first, other))
    ids, other_ids = (
        known.keys() | {failure.id for failure in part.failed} for known, part in ((labels, first), (others, other))
    )
    if ids != other_ids:
        odd = min(ids ^ other_ids)
        raise DataError(f"{both}: video {odd} is only in {first_name if odd in ids else name}")
    for video_id in labels.keys() & others.keys():
        if labels[video_id] != others[video_id]:
            raise DataError(
                f"{both}: video {video_id} has label {labels[video_id]} in one and {others[video_id]} in the other"
            )


def _same(values: Iterable[Any]) -> bool:
    first, *rest = values
    return all(value == first for value in rest)


def _joined(values: Iterable[Hashable], separator: str = ", ") -> Any:
    """The common value if all are equal, else the distinct values as text."""
    distinct = list(dict.fromkeys(values))
    return distinct[0] if len(distinct) == 1 else separator.join(map(str, distinct))

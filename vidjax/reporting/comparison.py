"""Tables over several runs: pooled splits, mean and standard deviation over seeds, missing runs marked."""

import dataclasses
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeVar

import numpy as np
import pandas as pd

from vidjax.errors import DataError
from vidjax.evaluation import metrics
from vidjax.evaluation.result import AnyResult, Baseline, Groups, Result
from vidjax.evaluation.statistics import LEVEL, bootstrap_interval
from vidjax.reporting import tables
from vidjax.system import terminal

MISSING = "missing"  # a cell whose runs do not exist
NOT_APPLICABLE = "-"  # a cell that does not apply to the row, e.g. the parameters of a trivial baseline

_Kind = TypeVar("_Kind", Result, Baseline)


@dataclasses.dataclass(frozen=True)
class Column:
    """One column of a comparison.

    Attributes:
      title: column heading.
      value: pooled result of one seed -> value, or None.
      kind: how values are shown and summarized over seeds. "percent": a fraction, as mean ± sd in percent;
        "seconds": mean duration; "flag": for how many seeds it is true; "text": the distinct values.
    """

    title: str
    value: Callable[[AnyResult], Any]
    kind: Literal["percent", "seconds", "flag", "text"] = "text"

    def values(self, results: Sequence[AnyResult]) -> list[Any]:
        """The values of the seeds that have one."""
        return [value for value in map(self.value, results) if value is not None]

    def cell(self, results: Sequence[AnyResult]) -> str:
        """The formatted cell, from the pooled results of all seeds (at least one)."""
        values = self.values(results)
        if not values:
            return NOT_APPLICABLE
        match self.kind:
            case "percent":
                mean, sd = mean_and_sd(values)
                return tables.percent(mean) + (f" ± {tables.percent(sd)}" if sd is not None else "")
            case "seconds":
                return terminal.duration(statistics.fmean(values))
            case "flag":
                return f"{sum(map(bool, values))} of {len(values)}"
            case "text":
                return ", ".join(dict.fromkeys(map(str, values)))

    def numbers(self, results: Sequence[AnyResult]) -> dict[str, Any]:
        """Column title -> value in full precision, from the pooled results of all seeds."""
        title = self.title.removesuffix(" %")
        if self.kind not in ("percent", "seconds"):
            return {title: self.cell(results) if results else MISSING}
        values = self.values(results)
        mean, sd = mean_and_sd(values) if values else (None, None)
        return {f"{title} (mean)": mean, f"{title} (sd)": sd}


@dataclasses.dataclass(frozen=True)
class IntervalColumn:
    """A column that is computed jointly from all seeds of a row.

    Attributes:
      title: column heading.
      bounds: pooled results of all seeds -> lower and upper bound as fractions; None if there is no interval.
    """

    title: str
    bounds: Callable[[Sequence[AnyResult]], tuple[float, float] | None]

    def cell(self, results: Sequence[AnyResult]) -> str:
        """The formatted cell, in percent."""
        bounds = self.bounds(results)
        return " to ".join(map(tables.percent, bounds)) if bounds else NOT_APPLICABLE

    def numbers(self, results: Sequence[AnyResult]) -> dict[str, Any]:
        """Column title -> bound in full precision."""
        low, high = (self.bounds(results) if results else None) or (None, None)
        title = self.title.removesuffix(" %")
        return {f"{title} (low)": low, f"{title} (high)": high}


AnyColumn = Column | IntervalColumn


@dataclasses.dataclass(frozen=True)
class ComparisonRow:
    """One row: its label on each axis, and the pooled result of each complete seed.

    Attributes:
      labels: axis name -> label.
      results: one pooled result per complete seed.
      seeds: planned number of seeds; None for rows without seeds (baselines).
      missing: what the first cell says where there is no result.
    """

    labels: Mapping[str, str]
    results: Sequence[AnyResult]
    seeds: int | None = 1
    missing: str = MISSING


def _of_runs(value: Callable[[Result], Any]) -> Callable[[AnyResult], Any]:
    """A value that only runs and ensembles have; None for trivial baselines."""
    return lambda result: value(result) if isinstance(result, Result) else None


def top1_interval(results: Sequence[AnyResult]) -> tuple[float, float] | None:
    """Bootstrap interval of video top-1, averaged over seeds and resampled over (class, group).

    Args:
      results: pooled results of one system, one per seed.

    Returns:
      Lower and upper bound; None if a result lacks the counts per group.

    Raises:
      DataError: if the seeds were not tested on the same groups.
    """
    groups = [result.groups for result in results if result.groups is not None]
    if len(groups) < len(results):
        return None
    first = groups[0]
    digests = {tuple(g.digest) for g in groups if g.digest is not None}
    if len(digests) > 1 or any(g.label != first.label or g.videos != first.videos for g in groups):
        raise DataError(
            f"the seeds of {_system(results[0])} were tested on different videos and have no common interval: evaluate"
            " them again, or delete outdated results"
        )
    return bootstrap_interval(np.mean([g.correct for g in groups], axis=0), first.videos)


COLUMNS: dict[str, AnyColumn] = {
    "model": Column("model", _of_runs(lambda r: r.model)),
    "inputs": Column("inputs", _of_runs(lambda r: r.inputs)),
    "dataset": Column("data", lambda r: r.dataset),
    "split": Column("split", lambda r: r.split),
    "parameters": Column("parameters", _of_runs(lambda r: f"{r.parameters:,}")),
    "gmacs": Column("GMACs/view", _of_runs(lambda r: f"{tables.gmacs(r.gmacs_per_view)} @ {r.resolution}")),
    "views": Column("views", _of_runs(lambda r: r.views_detail or r.views)),
    "videos": Column("videos", lambda r: tables.video_count(r.videos, r.failed_videos)),
    "clip_top1": Column("clip top-1 %", _of_runs(lambda r: r.clip_top1), "percent"),
    "video_top1": Column("video top-1 %", lambda r: r.video_top1, "percent"),
    "video_top1_interval": IntervalColumn(f"{LEVEL:.0%} interval", top1_interval),
    "video_top5": Column("video top-5 %", _of_runs(tables.top5), "percent"),
    "mean_class_accuracy": Column("mean class acc. %", lambda r: r.mean_class_accuracy, "percent"),
    "seconds": Column("wall time", _of_runs(lambda r: r.seconds), "seconds"),
    "shuffled_top1": Column("shuffled frames, top-1 %", _of_runs(lambda r: r.shuffled_top1), "percent"),
    "frames": Column("frames/video", _of_runs(lambda r: int(r.resolution.split("x")[0]) * r.views)),
    "all_seconds": Column(
        "wall time, with features", _of_runs(lambda r: r.seconds + (r.feature_seconds or 0.0)), "seconds"
    ),
}


def pool(results: Sequence[_Kind]) -> _Kind:
    """Pools the splits of one system and seed into one result over the test videos of all splits.

    Video top-1 and mean class accuracy follow from the summed counts of each class; clip top-1 and top-5 are weighted
    by the number of test videos, which is exact because all videos have the same number of views. The groups of all
    splits are concatenated.

    Args:
      results: one per split.

    Returns:
      One result of the same kind; `split` is e.g. "2+3".

    Raises:
      DataError: if the splits have different classes.
    """
    first = results[0]
    if len(results) == 1:
        return first
    if any(r.classes != first.classes for r in results):
        raise DataError(f"the splits of {_system(first)} have different classes and cannot be pooled")
    correct = [sum(column) for column in zip(*(r.per_class_correct for r in results), strict=True)]
    videos = [sum(column) for column in zip(*(r.per_class_videos for r in results), strict=True)]
    runs = [r for r in results if isinstance(r, Result)]
    return dataclasses.replace(
        first,
        split="+".join(str(r.split) for r in results),
        videos=sum(r.videos for r in results),
        failed_videos=sum(r.failed_videos for r in results),
        groups=_concatenated([r.groups for r in results]),
        **vars(metrics.from_counts(correct, videos)),
        **(_pooled_of_runs(runs) if runs else {}),
    )


def _pooled_of_runs(results: Sequence[Result]) -> dict[str, Any]:
    """The pooled values that baselines do not have."""
    weights = [sum(r.per_class_videos) for r in results]

    def mean(values: Sequence[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return sum(w * v for w, v in zip(weights, known)) / sum(weights) if len(known) == len(weights) else None

    return {
        "clip_top1": mean([r.clip_top1 for r in results]),
        "clip_top5": mean([r.clip_top5 for r in results]),
        "video_top5": mean([r.video_top5 for r in results]),
        "shuffled_top1": mean([r.shuffled_top1 for r in results]),
        "seconds": sum(r.seconds for r in results),
        # Each split has features of all its videos, which for the most part are those of the other splits, too.
        "feature_seconds": max((r.feature_seconds for r in results if r.feature_seconds is not None), default=None),
    }


def _concatenated(groups: Sequence[Groups | None]) -> Groups | None:
    """The groups of all splits; None if a split lacks them."""
    known = [g for g in groups if g is not None]
    if len(known) < len(groups):
        return None
    return Groups(
        label=[n for g in known for n in g.label],
        videos=[n for g in known for n in g.videos],
        correct=[n for g in known for n in g.correct],
        digest=[n for g in known for n in g.digest or ()] if known[0].digest is not None else None,
    )


def _system(result: AnyResult) -> str:
    return result.model if isinstance(result, Result) else f"baseline {result.baseline}"


def mean_and_sd(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and sample standard deviation (n - 1); the latter is None for a single value."""
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None


def _seeds(row: ComparisonRow) -> str:
    if row.seeds is None:
        return NOT_APPLICABLE
    return str(row.seeds) if len(row.results) == row.seeds else f"{len(row.results)} of {row.seeds}"


def table(rows: Sequence[ComparisonRow], columns: Sequence[AnyColumn]) -> pd.DataFrame:
    """The table for readers: formatted cells, "mean ± sd" in percent, the number of seeds of each row."""
    lines = []
    for row in rows:
        empty = [row.missing, *[MISSING if row.missing == MISSING else NOT_APPLICABLE] * (len(columns) - 1)]
        cells = {
            column.title: column.cell(row.results) if row.results else text
            for column, text in zip(columns, empty, strict=True)
        }
        lines.append({**row.labels, **cells, "seeds": _seeds(row)})
    return pd.DataFrame(lines)


def numbers(rows: Sequence[ComparisonRow], columns: Sequence[AnyColumn]) -> pd.DataFrame:
    """The table for computing: fractions and seconds in full precision; mean, sd and bounds in separate columns."""
    lines = []
    for row in rows:
        line: dict[str, Any] = dict(row.labels)
        for column in columns:
            line |= column.numbers(row.results)
        lines.append({**line, "seeds": len(row.results), "seeds planned": row.seeds})
    return pd.DataFrame(lines)

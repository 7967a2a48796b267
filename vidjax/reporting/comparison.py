"""Tables over several runs: splits pooled, mean and standard deviation over seeds, missing cells shown."""

import dataclasses
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd

from vidjax.errors import DataError
from vidjax.evaluation import metrics
from vidjax.evaluation.statistics import LEVEL, bootstrap_interval
from vidjax.reporting import tables

MISSING = "missing"  # a cell whose runs are not there
NOT_APPLICABLE = "-"  # a cell that the row does not have, e.g. the parameters of a trivial baseline

Result = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Column:
    """One column of a comparison.

    Attributes:
      title: head of the column.
      value: pooled result of one seed -> value; None where it has none.
      kind: how values are shown and summarised over seeds. "percent": a fraction, as mean ± sd in percent;
        "seconds": mean duration; "flag": for how many seeds it is true; "text": the distinct values.
    """

    title: str
    value: Callable[[Result], Any]
    kind: Literal["percent", "seconds", "flag", "text"] = "text"

    def values(self, results: Sequence[Result]) -> list[Any]:
        """The values of those seeds that have one."""
        return [value for value in map(self.value, results) if value is not None]

    def cell(self, results: Sequence[Result]) -> str:
        """The cell as it is read, from the pooled results of all seeds, of which there is one at least."""
        values = self.values(results)
        if not values:
            return NOT_APPLICABLE
        match self.kind:
            case "percent":
                mean, sd = mean_and_sd(values)
                return tables.percent(mean) + (f" ± {tables.percent(sd)}" if sd is not None else "")
            case "seconds":
                return tables.duration(statistics.fmean(values))
            case "flag":
                return f"{sum(map(bool, values))} of {len(values)}"
            case "text":
                return ", ".join(dict.fromkeys(map(str, values)))

    def numbers(self, results: Sequence[Result]) -> dict[str, Any]:
        """Title -> value in full precision, from the pooled results of all seeds."""
        title = self.title.removesuffix(" %")
        if self.kind not in ("percent", "seconds"):
            return {title: self.cell(results) if results else MISSING}
        values = self.values(results)
        mean, sd = mean_and_sd(values) if values else (None, None)
        return {f"{title} (mean)": mean, f"{title} (sd)": sd}


@dataclasses.dataclass(frozen=True)
class IntervalColumn:
    """A column that is computed from all seeds of a row together.

    Attributes:
      title: head of the column.
      bounds: pooled results of all seeds -> lower and upper bound, fractions; None where there is no interval.
    """

    title: str
    bounds: Callable[[Sequence[Result]], tuple[float, float] | None]

    def cell(self, results: Sequence[Result]) -> str:
        """The cell as it is read, in percent."""
        bounds = self.bounds(results)
        return " to ".join(map(tables.percent, bounds)) if bounds else NOT_APPLICABLE

    def numbers(self, results: Sequence[Result]) -> dict[str, Any]:
        """Title -> bound in full precision."""
        low, high = (self.bounds(results) if results else None) or (None, None)
        title = self.title.removesuffix(" %")
        return {f"{title} (low)": low, f"{title} (high)": high}


AnyColumn = Column | IntervalColumn


@dataclasses.dataclass(frozen=True)
class Row:
    """One row: its label on each axis, and the pooled result of each seed that is complete.

    Attributes:
      labels: axis name -> label.
      results: one pooled result for each complete seed.
      seeds: how many seeds there should be; None for rows without seeds (baselines).
    """

    labels: Mapping[str, str]
    results: Sequence[Result]
    seeds: int | None = 1


def _parameters(result: Result) -> str | None:
    return f"{result['parameters']:,}" if "parameters" in result else None


def _gmacs(result: Result) -> str | None:
    if "gmacs_per_view" not in result:
        return None
    return f"{tables.gmacs(result['gmacs_per_view'])} @ {result['resolution']}"


def top1_interval(results: Sequence[Result]) -> tuple[float, float] | None:
    """Bootstrap interval of video top-1 over (class, group), of the mean over seeds.

    Args:
      results: pooled results of one system, one for each seed.

    Returns:
      Lower and upper bound; None where a result does not say how many videos of each group were correct.

    Raises:
      DataError: if the seeds were not tested on the same groups.
    """
    groups = [result["groups"] for result in results if "groups" in result]
    if len(groups) < len(results):
        return None
    first = groups[0]
    digests = {tuple(g["digest"]) for g in groups if "digest" in g}  # older results have none
    if len(digests) > 1 or any(g["label"] != first["label"] or g["videos"] != first["videos"] for g in groups):
        raise DataError(
            f"seeds of {_system(results[0])} were tested on different videos, so that they have no common interval:"
            " evaluate them again, or delete the results that are out of date"
        )
    return bootstrap_interval(np.mean([g["correct"] for g in groups], axis=0), first["videos"])


COLUMNS: dict[str, AnyColumn] = {
    "model": Column("model", lambda r: r.get("model")),
    "inputs": Column("inputs", lambda r: r.get("inputs")),
    "dataset": Column("data", lambda r: r.get("dataset")),
    "split": Column("split", lambda r: r.get("split")),
    "parameters": Column("parameters", _parameters),
    "gmacs": Column("GMACs/view", _gmacs),
    "views": Column("views", lambda r: r.get("views_detail") or r.get("views")),
    "videos": Column("videos", tables.video_count),
    "clip_top1": Column("clip top-1 %", lambda r: r.get("clip_top1"), "percent"),
    "video_top1": Column("video top-1 %", lambda r: r.get("video_top1"), "percent"),
    "video_top1_interval": IntervalColumn(f"{LEVEL:.0%} interval", top1_interval),
    "video_top5": Column("video top-5 %", lambda r: tables.top5(r) if "video_top5" in r else None, "percent"),
    "mean_class_accuracy": Column("mean class acc. %", lambda r: r.get("mean_class_accuracy"), "percent"),
    "seconds": Column("wall time", lambda r: r.get("seconds"), "seconds"),
}


def pool(results: Sequence[Result]) -> dict[str, Any]:
    """Pools the splits of one system and seed: the test videos of all splits together.

    Video top-1 and mean class accuracy come from the summed counts of each class; clip top-1 and top-5
    are weighted by the number of test videos, which is exact as every video has equally many views. The groups of
    all splits stand side by side.

    Args:
      results: contents of `result.json`, one for each split; baselines may lack some keys.

    Returns:
      One result of the same form; `split` is e.g. "2+3".

    Raises:
      DataError: if the splits have different classes.
    """
    first = dict(results[0])
    if len(results) == 1:
        return first
    if any(r.get("classes") != first.get("classes") for r in results):
        raise DataError(f"splits of {_system(first)} have different classes: cannot be pooled")
    correct = [sum(column) for column in zip(*(r["per_class_correct"] for r in results), strict=True)]
    videos = [sum(column) for column in zip(*(r["per_class_videos"] for r in results), strict=True)]
    weights = [sum(r["per_class_videos"]) for r in results]
    pooled = {
        **first,
        "split": "+".join(str(r["split"]) for r in results),
        "videos": sum(r["videos"] for r in results),
        **metrics.from_counts(correct, videos),
    }
    for key in ("clip_top1", "clip_top5", "video_top5"):
        if first.get(key) is not None:
            pooled[key] = sum(w * r[key] for w, r in zip(weights, results, strict=True)) / sum(weights)
    for key in ("seconds", "failed_videos", "train_videos"):
        if key in first:
            pooled[key] = sum(r[key] for r in results)
    if all("groups" in r for r in results):
        pooled["groups"] = {key: [n for r in results for n in r["groups"].get(key, [])] for key in first["groups"]}
    else:
        pooled.pop("groups", None)
    return pooled


def _system(result: Result) -> str:
    return result.get("model") or f"baseline {result.get('baseline')}"


def mean_and_sd(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and sample standard deviation (n - 1); None for the latter where there is one value."""
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None


def _seeds(row: Row) -> str:
    if row.seeds is None:
        return NOT_APPLICABLE
    return str(row.seeds) if len(row.results) == row.seeds else f"{len(row.results)} of {row.seeds}"


def table(rows: Sequence[Row], columns: Sequence[AnyColumn]) -> pd.DataFrame:
    """The table as it is read: text cells, "mean ± sd" in percent, how many seeds each row has."""
    lines = []
    for row in rows:
        cells = {column.title: column.cell(row.results) if row.results else MISSING for column in columns}
        lines.append({**row.labels, **cells, "seeds": _seeds(row)})
    return pd.DataFrame(lines)


def numbers(rows: Sequence[Row], columns: Sequence[AnyColumn]) -> pd.DataFrame:
    """The table as one computes with it: fractions and seconds in full precision, mean, sd and bounds in columns."""
    lines = []
    for row in rows:
        line: dict[str, Any] = dict(row.labels)
        for column in columns:
            line |= column.numbers(row.results)
        lines.append({**line, "seeds": len(row.results), "seeds planned": row.seeds})
    return pd.DataFrame(lines)

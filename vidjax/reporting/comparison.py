"""Tables over several runs: splits pooled, mean and standard deviation over seeds, missing cells shown."""

import dataclasses
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import pandas as pd

from vidjax.errors import DataError
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


COLUMNS: dict[str, Column] = {
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
    "video_top5": Column("video top-5 %", lambda r: r.get("video_top5"), "percent"),
    "mean_class_accuracy": Column("mean class acc. %", lambda r: r.get("mean_class_accuracy"), "percent"),
    "seconds": Column("wall time", lambda r: r.get("seconds"), "seconds"),
}


def pool(results: Sequence[Result]) -> dict[str, Any]:
    """Pools the splits of one system and seed: the test videos of all splits together.

    Video top-1 and mean class accuracy come from the summed counts of each class; clip top-1 and top-5
    are weighted by the number of test videos, which is exact as every video has equally many views.

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
        raise DataError(
            f"splits of {first.get('model', first.get('baseline'))} have different classes: cannot be pooled"
        )
    correct = [sum(column) for column in zip(*(r["per_class_correct"] for r in results), strict=True)]
    videos = [sum(column) for column in zip(*(r["per_class_videos"] for r in results), strict=True)]
    weights = [sum(r["per_class_videos"]) for r in results]
    pooled = {
        **first,
        "split": "+".join(str(r["split"]) for r in results),
        "videos": sum(r["videos"] for r in results),
        "per_class_correct": correct,
        "per_class_videos": videos,
        "video_top1": sum(correct) / sum(videos),
        "mean_class_accuracy": statistics.fmean(c / n for c, n in zip(correct, videos, strict=True) if n),
    }
    for key in ("clip_top1", "clip_top5", "video_top5"):
        if key in first:
            pooled[key] = sum(w * r[key] for w, r in zip(weights, results, strict=True)) / sum(weights)
    for key in ("seconds", "failed_videos", "train_videos"):
        if key in first:
            pooled[key] = sum(r[key] for r in results)
    return pooled


def mean_and_sd(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and sample standard deviation (n - 1); None for the latter where there is one value."""
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None


def _cell(column: Column, row: Row) -> str:
    if not row.results:
        return MISSING
    values = [value for value in map(column.value, row.results) if value is not None]
    if not values:
        return NOT_APPLICABLE
    match column.kind:
        case "percent":
            mean, sd = mean_and_sd(values)
            return tables.percent(mean) + (f" ± {tables.percent(sd)}" if sd is not None else "")
        case "seconds":
            return tables.duration(statistics.fmean(values))
        case "flag":
            return f"{sum(map(bool, values))} of {len(values)}"
        case "text":
            return ", ".join(dict.fromkeys(map(str, values)))


def _seeds(row: Row) -> str:
    if row.seeds is None:
        return NOT_APPLICABLE
    return str(row.seeds) if len(row.results) == row.seeds else f"{len(row.results)} of {row.seeds}"


def table(rows: Sequence[Row], columns: Sequence[Column]) -> pd.DataFrame:
    """The table as it is read: text cells, "mean ± sd" in percent, how many seeds each row has."""
    lines = []
    for row in rows:
        cells = {column.title: _cell(column, row) for column in columns}
        lines.append({**row.labels, **cells, "seeds": _seeds(row)})
    return pd.DataFrame(lines)


def numbers(rows: Sequence[Row], columns: Sequence[Column]) -> pd.DataFrame:
    """The table as one computes with it: fractions and seconds in full precision, mean and sd in columns."""
    lines = []
    for row in rows:
        line: dict[str, Any] = dict(row.labels)
        for column in columns:
            title = column.title.removesuffix(" %")
            if column.kind in ("percent", "seconds"):
                values = [value for value in map(column.value, row.results) if value is not None]
                mean, sd = mean_and_sd(values) if values else (None, None)
                line |= {f"{title} (mean)": mean, f"{title} (sd)": sd}
            else:
                line[title] = _cell(column, row)
        lines.append({**line, "seeds": len(row.results), "seeds planned": row.seeds})
    return pd.DataFrame(lines)

"""Result tables: the row of a run, and tables as Markdown or CSV."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from vidjax.evaluation.result import Result

if TYPE_CHECKING:
    import pandas as pd  # slow to import, so only when a table is made
from vidjax.system.terminal import duration

_TRIVIAL_TOP5 = 5  # up to this many classes, top-5 is always 100%


def percent(fraction: float) -> str:
    """Formats a fraction 0..1 as a percentage with one decimal, e.g. 0.9837 -> "98.4"."""
    return f"{100 * fraction:.1f}"


def percent_or_dash(fraction: float | None) -> str:
    """As `percent`; "-" for None, e.g. the clip accuracy of an ensemble."""
    return "-" if fraction is None else percent(fraction)


def gmacs(value: float) -> str:
    """Formats multiply-accumulates / 1e9 with three significant digits, never in exponent notation."""
    decimals = 3 if value < 1 else 2 if value < 10 else 1
    return f"{value:.{decimals}f}" if value >= 0.001 else f"{value:.6f}"


def video_count(videos: int, failed: int) -> str:
    """Number of test videos, with the number of videos that could not be read if there are any."""
    return f"{videos} ({failed} failed)" if failed else str(videos)


def top5(result: Result) -> float | None:
    """Video top-5; None with five classes or fewer, where it is always 1."""
    return None if len(result.classes) <= _TRIVIAL_TOP5 else result.video_top5


def top5_note(result: Result) -> str:
    """A note on why `top5` is None; "" if it is not."""
    return (
        "" if top5(result) is not None else f"Top-5 is not shown: with {len(result.classes)} classes it is always 100%."
    )


def split_name(split: Any) -> str:
    """A split name that is clear next to the seed of a run, e.g. "hash, seed 0" -> "by hash, data seed 0"."""
    return re.sub(r"^hash\b", "by hash", re.sub(r"\bseed\b", "data seed", str(split)))


def result_row(result: Result) -> "pd.DataFrame":
    """The paper-style table row of one run.

    Returns:
      A table of one row, all cells text; accuracies in percent with one decimal, wall time "m:ss".
    """
    import pandas as pd

    row = {
        "model": result.model,
        "inputs": result.inputs,
        "data": result.dataset,
        "split": split_name(result.split),
        "parameters": f"{result.parameters:,}",
        "GMACs/view": f"{gmacs(result.gmacs_per_view)} @ {result.resolution}",
        "views": result.views_detail or result.views,
        "videos": video_count(result.videos, result.failed_videos),
        "clip top-1 %": percent_or_dash(result.clip_top1),
        "video top-1 %": percent(result.video_top1),
        "video top-5 %": percent_or_dash(top5(result)),
        "mean class acc. %": percent(result.mean_class_accuracy),
        "wall time": duration(result.seconds),
    }
    if result.feature_seconds is not None:
        row["features, once"] = duration(result.feature_seconds)
    return pd.DataFrame([{name: str(cell) for name, cell in row.items()}])


def _markdown_cell(cell: Any) -> str:
    text = " ".join(str(cell).split())
    return text.replace("|", "\\|").replace("<", "&lt;")


def markdown(heads: Sequence[Any], rows: Sequence[Sequence[Any]]) -> str:
    """A GitHub Markdown table of these cells, ending in a newline.

    Columns whose cells all start with a digit or a dash, or are empty, are right-aligned.
    """
    heads = [_markdown_cell(name) for name in heads]
    lines = [[_markdown_cell(cell) for cell in row] for row in rows]
    columns = list(zip(*lines, strict=True)) or [()] * len(heads)
    numeric = [all(not c or c[0].isdigit() or c[0] in "-+\u2013" for c in column) for column in columns]
    everything = [heads, ["--:" if right else ":--" for right in numeric], *lines]
    return "".join(f"| {' | '.join(line)} |\n" for line in everything)


def to_markdown(table: "pd.DataFrame") -> str:
    """The table as GitHub Markdown (`markdown`), without the index."""
    # By column: a row of a DataFrame would convert its cells to one type.
    return markdown(list(table.columns), list(zip(*(table.iloc[:, i] for i in range(table.shape[1])), strict=True)))


def to_csv(table: "pd.DataFrame") -> str:
    """The table as CSV, without the index."""
    return table.to_csv(index=False, lineterminator="\n")

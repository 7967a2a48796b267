"""What `python -m vidjax predict` prints and writes of its predictions: tables, JSON and CSV."""

import csv
import io
import itertools
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from vidjax.errors import printable
from vidjax.system import files, terminal

if TYPE_CHECKING:
    from vidjax.inference.classifier import Prediction

_ROWS_UP_TO = 100  # of a table over time
_CSV_COLUMNS = ("video", "rank", "label", "probability")
_CSV_COLUMNS_OVER_TIME = ("video", "time", "frame", "label", "probability")


class Row(NamedTuple):
    """A moment of a video.

    Attributes:
      time: in seconds; None where the video states none.
      frame: in the middle of the clip.
      label, probability: of the best class.
    """

    time: float | None
    frame: int
    label: str
    probability: float


class Found(NamedTuple):
    """What was found of a video; without `--every` there are no rows."""

    prediction: "Prediction"
    rows: list[Row]


def show(found: Found, top: int) -> None:
    """Prints the table of one video."""
    prediction = found.prediction
    best = [(label, f"{probability:.4f}") for label, probability in prediction.top(top)]
    title = f"{printable(prediction.video)}: {prediction.seen}"
    if found.rows:
        if len(found.rows) <= _ROWS_UP_TO:
            rows = [(clock(row), row.label, f"{row.probability:.4f}") for row in found.rows]
            terminal.table(pd.DataFrame(rows, columns=["time", "label", "probability"]), title)
        else:
            stretches = [list(same) for _, same in itertools.groupby(found.rows, lambda row: row.label)]
            lines = [
                (clock(same[0]), clock(same[-1]), same[0].label, f"{np.mean([row.probability for row in same]):.4f}")
                for same in stretches
            ]
            title += " (in stretches of one label; --csv has each)"
            terminal.table(pd.DataFrame(lines, columns=["from", "to", "label", "mean probability"]), title)
        title = "mean over time"
    terminal.table(pd.DataFrame(best, columns=["label", "probability"]), title)


def show_all(done: Iterable[Found]) -> None:
    """Prints one table of many videos."""
    rows = []
    for each in done:
        (label, probability), *others = each.prediction.top(2)
        second = f"{others[0][0]} {others[0][1]:.4f}" if others else ""
        rows.append((printable(each.prediction.video), label, f"{probability:.4f}", second))
    terminal.table(pd.DataFrame(rows, columns=["video", "label", "probability", "second"]))


def as_json(found: Found, top: int) -> dict[str, Any]:
    """An entry of what `--json` prints."""
    predictions = [{"label": label, "probability": value} for label, value in found.prediction.top(top)]
    content: dict[str, Any] = {"video": found.prediction.video, "predictions": predictions}
    if found.rows:
        content["times"] = [row._asdict() for row in found.rows]
    return content


def write_csv(done: Sequence[Found], path: str, top: int) -> None:
    """Writes a row for each video and rank, or for each video and moment; "-" prints them."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    has_times = any(each.rows for each in done)
    writer.writerow(_CSV_COLUMNS_OVER_TIME if has_times else _CSV_COLUMNS)
    for each in done:
        if has_times:
            for row in each.rows:
                writer.writerow([each.prediction.video, row.time, row.frame, row.label, f"{row.probability:.6g}"])
            continue
        for rank, (label, probability) in enumerate(each.prediction.top(top), 1):
            writer.writerow([each.prediction.video, rank, label, f"{probability:.6g}"])
    if path == "-":
        print(text.getvalue(), end="")
    else:
        files.write_text(Path(path), text.getvalue())
        print(f"table: {path}", file=sys.stderr)


def clock(row: Row) -> str:
    """The time of a row, "1:02.5", or the number of its frame."""
    if row.time is None:
        return f"frame {row.frame}"
    minutes, seconds = divmod(round(row.time, 3), 60)
    whole = f"{seconds:06.3f}".rstrip("0").rstrip(".")
    return f"{int(minutes)}:{whole}"

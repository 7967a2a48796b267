"""The output of a run: a progress bar in a terminal, plain lines in a log file.

A log (output that is not a terminal) never gets control characters, and never more than about one
progress line in ten seconds.
"""

import logging
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from rich import progress as rich_progress
from rich.cells import cell_len
from rich.console import Console
from rich.table import Column
from rich.text import Text

if TYPE_CHECKING:
    import pandas as pd  # slow to import: whoever has a table has imported it

Item = TypeVar("Item")

LOG_SECONDS = 10.0  # shortest time between two progress lines in a log
MAX_LOG_GAP_SECONDS = 60.0  # longest, even if an update brings no new values
LOG_WIDTH = 120  # columns of a table in a log, which has no terminal width
_COLUMN_GAP = 2


def _console(*, stderr: bool = False) -> Console:
    return Console(highlight=False, markup=False, emoji=False, stderr=stderr)


def say(text: str) -> None:
    """Prints one message, unwrapped and literally (square brackets are no markup)."""
    _console().print(text, soft_wrap=True)


class _Warnings(logging.Handler):
    def __init__(self, stderr: bool):
        super().__init__()
        self._stderr = stderr

    def emit(self, record: logging.LogRecord) -> None:
        text = f"{record.levelname.lower()}: {record.getMessage()}"
        _console(stderr=self._stderr).print(text, soft_wrap=True)


def show_warnings(*, stderr: bool = False) -> None:
    """Prints what vidjax logs as plain lines.

    Args:
      stderr: where standard output is for results alone.
    """
    logger = logging.getLogger("vidjax")
    logger.setLevel(logging.WARNING)  # whatever the root logger's is: launch.py quiets that one for Orbax's sake
    if not any(isinstance(handler, _Warnings) for handler in logger.handlers):
        logger.addHandler(_Warnings(stderr))
        logger.propagate = False


def _describe(values: Mapping[str, float]) -> str:
    """Formats the values of a training step as one phrase."""
    shown = []
    for name, value in values.items():
        match name:
            case "top1":
                shown.append(f"top-1 {100 * value:.1f}%")
            case "clips_per_second":
                shown.append(f"{value:,.0f} clips/s")
            case "data_wait":
                shown.append(f"data wait {100 * value:.0f}%")
            case "learning_rate":
                shown.append(f"lr {value:.2g}")
            case _:
                shown.append(f"{name.replace('_', ' ')} {value:.4g}")
    return "  ".join(shown)


class Progress:
    """Progress of a training loop; a context manager.

    In a terminal a bar with step, the newest values and remaining time; elsewhere a plain line for updates
    that bring values and are at least `LOG_SECONDS` apart, for the last step, and once a minute in any case.

    Args:
      total_steps: the step at which training ends.
      first_step: the step at which it (re)starts; steps before it do not count for the speed.
    """

    def __init__(self, total_steps: int, first_step: int = 0):
        self._total = total_steps
        self._first = self._shown = first_step
        self._console = _console()
        self._bar: rich_progress.Progress | None = None
        self._started = time.monotonic()
        self._logged = self._started
        self._values: dict[str, float] = {}
        if self._console.is_terminal:
            self._bar = rich_progress.Progress(
                rich_progress.BarColumn(bar_width=12),
                rich_progress.MofNCompleteColumn(table_column=Column(min_width=2 * len(str(total_steps)) + 1)),
                rich_progress.TextColumn("{task.description}", markup=False),
                rich_progress.TextColumn("ETA"),
                rich_progress.TimeRemainingColumn(compact=True, table_column=Column(min_width=5)),
                console=self._console,
            )
            self._task = self._bar.add_task("", total=total_steps, completed=first_step)

    def __enter__(self) -> Self:
        self._started = self._logged = time.monotonic()
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def update(
        self,
        step: int,
        *,
        loss: float | None = None,
        top1: float | None = None,
        clips_per_second: float | None = None,
        data_wait: float | None = None,
        **others: float | None,
    ) -> None:
        """Shows the state after `step` steps. Values that are not given stay as they were.

        Args:
          step: steps done so far, counted from the very beginning of training.
          loss: training loss.
          top1: training accuracy, a fraction.
          clips_per_second: clips processed per second.
          data_wait: share (0..1) of the time that was spent waiting for data.
          **others: any further named number.
        """
        values = {"loss": loss, "top1": top1, "clips_per_second": clips_per_second, "data_wait": data_wait, **others}
        given = {name: value for name, value in values.items() if value is not None}
        self._values |= given
        if self._bar:
            self._shown = max(self._shown, step)  # the values of a step may come a little later
            self._bar.update(self._task, completed=self._shown, description=_describe(self._values))
            return
        now = time.monotonic()
        silence = now - self._logged
        if step < self._total and silence < (LOG_SECONDS if given else MAX_LOG_GAP_SECONDS):
            return
        self._logged = now
        parts = (f"step {step}/{self._total}", _describe(self._values), f"ETA {self._remaining(step)}")
        self._console.print("  ".join(filter(None, parts)), soft_wrap=True)

    def note(self, text: str) -> None:
        """Prints a line above the bar, e.g. a validation result."""
        self._console.print(text, soft_wrap=True)

    def _remaining(self, step: int) -> str:
        done = step - self._first
        if done <= 0:
            return "-"
        return duration((time.monotonic() - self._started) / done * (self._total - step))


def track(
    iterable: Iterable[Item], total: int | None, description: str, unit: str = "", *, stderr: bool = False
) -> Iterator[Item]:
    """Yields from `iterable`, showing its progress.

    Args:
      iterable: the items.
      total: how many items it has; None where unknown.
      description: e.g. "evaluating".
      unit: what an item is, e.g. "batches".
      stderr: where standard output is for results alone.
    """
    console = _console(stderr=stderr)
    if console.is_terminal:
        with rich_progress.Progress(
            rich_progress.TextColumn("{task.description}", markup=False),
            rich_progress.BarColumn(bar_width=20),
            rich_progress.MofNCompleteColumn(),
            rich_progress.TextColumn("ETA"),
            rich_progress.TimeRemainingColumn(compact=True),
            console=console,
        ) as bar:
            yield from bar.track(iterable, total=total, description=description)
        return
    started = logged = time.monotonic()
    count, behind = 0, f" {unit}" if unit else ""
    for item in iterable:
        yield item
        count += 1
        now = time.monotonic()
        if now - logged >= LOG_SECONDS:
            logged = now
            left = duration((now - started) / count * (total - count)) if total else ""
            console.print(
                f"{description}: {count}{f'/{total}' if total else ''}{behind}{f', ETA {left}' if total else ''}",
                soft_wrap=True,
            )
    console.print(f"{description}: {count}{behind} done in {duration(time.monotonic() - started)}", soft_wrap=True)


def table(frame: "pd.DataFrame", title: str | None = None, *, keys: int = 1) -> None:
    """Prints a table so that no cell is broken over lines.

    What is wider than the terminal (or than `LOG_WIDTH` columns in a log) is shown transposed where it has
    few rows, else in blocks of columns, each beginning with the columns that tell rows apart.

    Args:
      frame: the table; its index is not shown.
      title: a line above it.
      keys: how many columns, from the left, tell rows apart, e.g. the axes of an experiment.
    """
    console = _console()
    limit = console.width if console.is_terminal else LOG_WIDTH
    if title:
        say(title)
    heads = [str(name) for name in frame.columns]
    rows = [[str(cell) for cell in row] for row in frame.itertuples(index=False)]
    widths = [max(cell_len(text) for text in column) for column in zip(heads, *rows, strict=True)]
    if sum(widths) + _COLUMN_GAP * (len(widths) - 1) <= limit:
        blocks = [list(range(len(heads)))]
    elif len(rows) <= 3:
        _print_table(console, None, [[head, *(row[i] for row in rows)] for i, head in enumerate(heads)])
        return
    else:
        blocks = _blocks(widths, limit, keys)
    for chosen in blocks:
        cut = [[row[i] for i in chosen] for row in rows]
        numeric = [i for i in range(len(chosen)) if all(row[i][:1].isdigit() or row[i] in ("", "-") for row in cut)]
        _print_table(console, [heads[i] for i in chosen], cut, numeric)


def _blocks(widths: Sequence[int], limit: int, keys: int) -> list[list[int]]:
    """Groups columns so that each group, with the first `keys` before it, fits into `limit` where that is possible."""
    repeated = list(range(keys))
    room = limit - sum(widths[column] + _COLUMN_GAP for column in repeated) + _COLUMN_GAP
    blocks, used = [[*repeated]], 0
    for column in range(keys, len(widths)):
        used += widths[column] + _COLUMN_GAP
        if used > room and len(blocks[-1]) > keys:
            blocks.append([*repeated])
            used = widths[column] + _COLUMN_GAP
        blocks[-1].append(column)
    return blocks


def _print_table(
    console: Console,
    heads: Sequence[str] | None,
    rows: Sequence[Sequence[str]],
    numeric: Collection[int] = (),
    footer: Sequence[str] | None = None,
) -> None:
    """Prints at the natural width: a wrapped or cut cell is worse than a long line. `numeric` columns go right."""
    lines = [line for line in (heads, *rows, footer) if line is not None]
    widths = [max(cell_len(text) for text in column) for column in zip(*lines, strict=True)]

    def show(line: Sequence[str], style: str = "") -> None:
        padded = []
        for i, (text, width) in enumerate(zip(line, widths, strict=True)):
            space = " " * (width - cell_len(text))
            padded.append(space + text if i in numeric else text + space)
        console.print(Text((" " * _COLUMN_GAP).join(padded).rstrip(), style), soft_wrap=True)

    rule = ["-" * width for width in widths]
    console.print()
    if heads is not None:
        show(heads, "bold")
        show(rule)
    for row in rows:
        show(row)
    if footer is not None:
        show(rule)
        show(footer, "bold")
    console.print()


def parameter_overview(rows: Sequence[tuple[str, Any, int, int]]) -> None:
    """Prints the layers of a model with their totals.

    Args:
      rows: (layer name, output shape, number of parameters, multiply-accumulates per view) of each layer.
    """
    cells = [[name, str(shape), f"{parameters:,}", f"{macs:,}"] for name, shape, parameters, macs in rows]
    total = ["total", "", f"{sum(row[2] for row in rows):,}", f"{sum(row[3] for row in rows):,}"]
    _print_table(_console(), ["layer", "output", "parameters", "MACs/view"], cells, numeric=(2, 3), footer=total)


def duration(seconds: float) -> str:
    """Formats seconds as "m:ss", or "h:mm:ss" from one hour on."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"

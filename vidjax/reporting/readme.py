"""Generates the result blocks of Markdown files, so that no result is ever typed by hand.

A block is the text between `<!-- results: NAME -->` and `<!-- end -->`.
"""

import difflib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from vidjax.errors import DataError
from vidjax.evaluation.result import Baseline, Result
from vidjax.reporting import comparison, tables
from vidjax.system import files

_BEGIN = re.compile(r"^<!-- results: *(\S+) *-->[ \t]*$", re.MULTILINE)
_END = re.compile(r"^<!-- end -->[ \t]*$", re.MULTILINE)


def regenerate(text: str, block: Callable[[str], str]) -> str:
    """Replaces the content of every block.

    Args:
      text: a Markdown file.
      block: block name -> the Markdown of that block.

    Returns:
      The file with regenerated blocks and otherwise unchanged.

    Raises:
      DataError: if a block is not closed.
    """
    pieces, position = [], 0
    while begin := _BEGIN.search(text, position):
        end = _END.search(text, begin.end())
        following = _BEGIN.search(text, begin.end())
        if end is None or (following and following.start() < end.start()):
            line = text.count("\n", 0, begin.start()) + 1
            raise DataError(f"line {line}: block 'results: {begin[1]}' has no '<!-- end -->'")
        pieces += [text[position : begin.end()], "\n\n", block(begin[1]).strip("\n"), "\n\n", end[0]]
        position = end.end()
    return "".join([*pieces, text[position:]])


def difference(before: str, after: str, name: str) -> str:
    """Unified diff between the current and the regenerated file; "" if they are equal."""
    lines = difflib.unified_diff(
        before.splitlines(keepends=True), after.splitlines(keepends=True), name, f"{name} (from the results)", n=1
    )
    return "".join(lines)


def read_results(folder: Path) -> tuple[dict[str, Result], list[Baseline]]:
    """Reads the committed results of one experiment.

    Args:
      folder: `results/NAME`; `baselines*.json` hold lists of baselines, every other file one run.

    Returns:
      Run name -> result, and the baselines of all files.

    Raises:
      DataError: if a file is malformed.
    """
    runs: dict[str, Result] = {}
    baselines: list[Baseline] = []
    for path in sorted(folder.glob("*.json")):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise DataError(f"{path}: is not JSON ({error})") from error
        if path.name.startswith("baselines"):
            if not isinstance(content, list):
                raise DataError(f"{path}: expected a list of baselines")
            baselines += [Baseline.from_json(each, path) for each in content]
        else:
            runs[path.stem] = Result.from_json(content, path)
    return runs, baselines


def baseline_rows(baselines: Sequence[Baseline], axes: Sequence[str]) -> list[comparison.ComparisonRow]:
    """One row per trivial baseline, with pooled splits; the first axis has its name."""
    by_name: dict[str, list[Baseline]] = {}
    for baseline in baselines:
        by_name.setdefault(baseline.baseline, []).append(baseline)
    rows = []
    for name, of_splits in by_name.items():
        labels = {axis: f"baseline: {name}" if i == 0 else comparison.NOT_APPLICABLE for i, axis in enumerate(axes)}
        rows.append(comparison.ComparisonRow(labels, [comparison.pool(of_splits)], seeds=None))
    return rows


def _distinct(values: Iterable[str | None]) -> str:
    return ", ".join(dict.fromkeys(value for value in values if value))


def _caption(runs: Mapping[str, Result]) -> str:
    """One line on where the numbers come from."""
    if not runs:
        return "No results yet."
    trained = [result for result in runs.values() if result.members is None]  # ensembles add nothing new
    said = {
        "data": _distinct(result.dataset for result in trained),
        "split": _distinct(str(result.split) for result in trained),
        "hardware:": _distinct(result.hardware for result in trained),
        "code:": _distinct(result.commit for result in trained),
    }
    parts = [f"{word} {found}" for word, found in said.items() if found]
    return "; ".join(["Mean ± standard deviation over seeds", *parts]) + "."


def experiment_block(
    title: str,
    rows: Sequence[comparison.ComparisonRow],
    columns: Sequence[comparison.AnyColumn],
    runs: Mapping[str, Result],
) -> str:
    """The Markdown of one experiment: title, table, and where the numbers come from."""
    table = tables.to_markdown(comparison.table(rows, columns))
    return f"**{title}**\n\n{table}\n<sub>{_caption(runs)}</sub>\n"


def matrix_block(title: str, rows: Sequence[comparison.ComparisonRow]) -> str:
    """The Markdown of video top-1 of an experiment of two axes: rows of the first, columns of the second.

    Args:
      title: above the table.
      rows: of the experiment; those of trivial baselines are left out.

    Raises:
      DataError: if it has another number of axes.
    """
    rows = [row for row in rows if row.seeds is not None]
    if any(len(row.labels) != 2 for row in rows):
        raise DataError(f"{title}: a matrix has two axes, not {len(rows[0].labels)}")
    first = next(iter(rows[0].labels))
    lines: dict[str, dict[str, str]] = {}
    for row in rows:
        label, column = row.labels.values()
        cell = row.missing
        if row.results:
            interval = comparison.COLUMNS["video_top1_interval"].cell(row.results)
            cell = f"{comparison.COLUMNS['video_top1'].cell(row.results)} ({interval})"
            cell += "" if len(row.results) == row.seeds else f", {len(row.results)} of {row.seeds} seeds"
        lines.setdefault(label, {first: label})[column] = cell
    table = tables.to_markdown(pd.DataFrame(list(lines.values())))
    caption = "Mean ± standard deviation over seeds; in brackets 95% bootstrap intervals."
    return f"**{title}**\n\n{table}\n<sub>{caption}</sub>\n"


def best_block(experiments: Mapping[str, Sequence[comparison.ComparisonRow]]) -> str:
    """The Markdown of one table with the best row of each data set, next to the best trivial baseline.

    Args:
      experiments: name of the experiment -> rows of its table, including baselines.
    """
    trained: dict[str, list[tuple[str, comparison.ComparisonRow]]] = {}
    baselines: dict[str, list[comparison.ComparisonRow]] = {}
    for name, rows in experiments.items():
        for row in filter(lambda row: row.results, rows):
            dataset = row.results[0].dataset
            if isinstance(row.results[0], Baseline):
                baselines.setdefault(dataset, []).append(row)
            else:
                trained.setdefault(dataset, []).append((name, row))
    lines = []
    for dataset, candidates in sorted(trained.items()):
        name, best = max(candidates, key=lambda found: _mean_top1(found[1]))
        beside = max(baselines.get(dataset, []), key=_mean_top1, default=None)
        classes = len(best.results[0].per_class_videos)
        cells = [comparison.COLUMNS[key].cell(best.results) for key in _BEST_COLUMNS]
        baseline = f"{comparison.COLUMNS['video_top1'].cell(beside.results)} ({_label(beside)})" if beside else "-"
        tried = f"{len(candidates)} rows; this one: {name}"
        lines.append(
            [dataset, _label(best), *cells, tables.percent(1 / classes), baseline, str(len(best.results)), tried]
        )
    heads = [
        *("data", "best row"),
        *(comparison.COLUMNS[key].title for key in _BEST_COLUMNS),
        *("chance %", "best trivial baseline, video top-1 %", "seeds", "chosen from"),
    ]
    caption = "The row with the highest mean per data set, selected on the test videos; mean ± sd over seeds."
    return f"{tables.to_markdown(pd.DataFrame(lines, columns=heads))}\n<sub>{caption}</sub>\n"


_BEST_COLUMNS = ("inputs", "videos", "video_top1")


def _mean_top1(row: comparison.ComparisonRow) -> float:
    return comparison.mean_and_sd([result.video_top1 for result in row.results])[0]


def _label(row: comparison.ComparisonRow) -> str:
    """The labels of a row on all axes that apply to it."""
    labels = (label for label in row.labels.values() if label != comparison.NOT_APPLICABLE)
    return ", ".join(labels).removeprefix("baseline: ")


def benchmark_block(path: Path) -> str:
    """The Markdown of a benchmark: its tables, and where the numbers come from.

    Args:
      path: the JSON file that the benchmark wrote.

    Raises:
      DataError: if the file is missing or not JSON.
    """
    content = files.read_json(path)
    if content is None:
        raise DataError(f"{path}: missing or not JSON; run the benchmark with --out={path}")
    parts = [
        f"**{table['title']}**\n\n{tables.to_markdown(pd.DataFrame(table['rows'], columns=table['columns']))}"
        for table in content["tables"]
    ]
    versions = ", ".join(f"{name} {version}" for name, version in content["versions"].items())
    code = f"code: {content['commit']}, {content['date']}"
    parts.append(f"<sub>{content['about']}; hardware: {content['hardware']}; {versions}; {code}.</sub>\n")
    return "\n".join(parts)


def pretrained_block(path: Path) -> str:
    """The Markdown of a zero-shot evaluation: pretrained weights on clips that they were not trained on.

    Args:
      path: the JSON file that `python -m vidjax zero-shot` wrote.

    Raises:
      DataError: if the file is missing or unfinished.
    """
    content = files.read_json(path)
    if not content or not content["summary"]:
        raise DataError(f"{path}: missing or unfinished; run python -m vidjax zero-shot --out {path}")
    summary, protocol = content["summary"], content["protocol"]
    rows = []
    for name, of_class in summary["per_class"].items():
        others = {label: count for label, count in of_class["predicted"].items() if label != name}
        confused = ", ".join(f"{label} {count}" for label, count in others.items()) or "-"
        correct = (tables.percent(of_class[key] / of_class["clips"]) for key in ("all_top1", "mapped_top1"))
        rows.append((name, str(of_class["clips"]), *correct, confused))
    interval = {
        key: " to ".join(map(tables.percent, summary[f"{key}_interval"])) for key in ("all_top1", "mapped_top1")
    }
    totals = (f"{tables.percent(summary[key])} ({interval[key]})" for key in ("all_top1", "mapped_top1"))
    rows.append(("all", tables.video_count(summary["clips"], summary["failed"]), *totals, "-"))
    heads = ["class", "clips", "top-1 % of all classes", f"top-1 % of these {len(summary['classes'])}", "confused with"]
    caption = (
        f"{protocol['weights']}, without fine-tuning; the {protocol['frames']} frames in the {protocol['position']} of"
        f" each clip at {protocol['fps']:g} fps, center crop; in brackets 95% bootstrap intervals over (class, group);"
        f" top-5 of all classes {tables.percent(summary['all_top5'])}%."
    )
    return f"{tables.to_markdown(pd.DataFrame(rows, columns=heads))}\n<sub>{caption}</sub>\n"

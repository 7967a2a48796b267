r"""Accuracy of trivial baselines on the data source of a config: what a network must beat.

The baselines are the majority class, and 1-nearest neighbor on clip length and frame rate and on the mean frame. Each
is fitted on the training part and evaluated on the test part.

Example:
  python -m vidjax baselines --config=configs/early_fusion.py:ucf101_small --config.data.root=UCF-101 \
      --config.data.splits=ucfTrainTestlist --config.data.split=2
"""

import argparse
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from vidjax.cli.config_argument import add_data_config
from vidjax.config import data
from vidjax.evaluation.baselines import baseline_rows
from vidjax.evaluation.result import Baseline
from vidjax.system import files
from vidjax.system.paths import typed_path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of the verb."""
    add_data_config(parser)
    parser.add_argument("--json", metavar="OUT", type=typed_path, help="also write the rows to this file")


def run(arguments: argparse.Namespace, overrides: Mapping[str, str]) -> int:
    """Prints the table, progress on stderr, and writes the rows where --json says."""
    from vidjax.config import loading

    if arguments.json:
        files.check_file(arguments.json, f"--json={arguments.json}")
    config = loading.load(arguments.config, dict(overrides))
    source = data.source(config)
    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task("decoding", total=len(source.train) + len(source.test))
        rows = baseline_rows(source, lambda done, total: bar.update(task, completed=done, total=total))
    Console().print(_table(rows))
    if arguments.json:
        files.write_json(arguments.json, [row.to_json() for row in rows])
    return 0


def _table(rows: Sequence[Baseline]) -> Table:
    first = rows[0]
    left_out = f", {first.failed_videos} that cannot be decoded left out" if first.failed_videos else ""
    table = Table(title=f"{first.dataset}, split {first.split}: {first.videos} test videos{left_out}")
    table.add_column("baseline")
    for name in ("correct", "video top-1", "mean class accuracy"):
        table.add_column(name, justify="right")
    for row in rows:
        shares = (f"{100 * share:.1f}%" for share in (row.video_top1, row.mean_class_accuracy))
        table.add_row(row.baseline, f"{row.correct} / {row.videos}", *shares)
    return table

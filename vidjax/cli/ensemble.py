"""Averages the test scores of several finished runs: an ensemble, without training or decoding anything.

All runs must have been tested on the same videos: one data set, one split, one list of classes. Prints a row for each
run and one for the ensemble; writes predictions/test.json, result.json and report.html to --out.

With --svm, a linear support vector machine is fitted to the scores of the training videos, its C chosen by the
validation videos (Simonyan & Zisserman 2014). It needs runs that were evaluated with evaluate.all_parts=True.

Example:
  python -m vidjax ensemble runs/early_fusion runs/slow_fusion runs/late_fusion --weights=2,1,1
"""

import argparse
import dataclasses
import shlex
from pathlib import Path

import pandas as pd

from vidjax.cli import refuse_overrides
from vidjax.errors import ConfigError, options_of, printable
from vidjax.evaluation import ensemble, score_svm
from vidjax.evaluation.result import Result
from vidjax.reporting import report, tables
from vidjax.system import files, terminal
from vidjax.system.paths import typed_path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of the verb."""
    parser.add_argument("runs", nargs="+", type=typed_path, metavar="RUN_DIR", help="directories of finished runs")
    parser.add_argument("--weights", metavar="W1,W2,...", help="weight of each run; default: equal weights")
    parser.add_argument("--svm", action="store_true", help="a linear SVM on the scores, in place of their average")
    parser.add_argument("--out", type=typed_path, default=Path("runs/ensemble"), help="folder; default runs/ensemble")


def run(arguments: argparse.Namespace, overrides: dict[str, str]) -> int:
    """Runs the verb; returns the exit status."""
    refuse_overrides("ensemble", overrides, ": the runs were evaluated by their own")
    folders, out = arguments.runs, arguments.out
    files.check_folder(out, f"--out={out}")
    weights = _weights(arguments.weights)
    if arguments.svm and weights:
        raise ConfigError(f"--svm takes no --weights={arguments.weights}: it finds its own")
    with options_of("evaluate"):
        scored, result = score_svm.fit_runs(folders) if arguments.svm else ensemble.ensemble_runs(folders, weights)
    before = Result.read(out / "result.json")
    if (out / "config.json").exists() or (before is not None and before.members is None):
        raise ConfigError(f"--out={out} is the directory of a run; give another one")
    words = [*map(str, folders), *([f"--weights={arguments.weights}"] if weights else []), *["--svm"] * arguments.svm]
    command = shlex.join(["python", "-m", "vidjax", "ensemble", *words, f"--out={out}"])
    scored.write(out / "predictions" / "test.json")
    result = dataclasses.replace(result, command=command)
    result.write(out / "result.json")
    of_runs = [found for folder in folders if (found := Result.read(folder / "result.json")) is not None]
    table = pd.concat([tables.result_row(each) for each in (*of_runs, result)], ignore_index=True)
    table.insert(0, "run", [*(folder.name for folder in folders), "ensemble"])
    terminal.table(table)
    if arguments.svm:
        terminal.say(scored.average)
    for failure in scored.failed:
        terminal.say(f"not read: {printable(failure.id)}: {failure.reason}")
    terminal.say(f"report: {report.write(out)}")
    return 0


def _weights(text: str | None) -> list[float] | None:
    if text is None:
        return None
    try:
        return [float(word) for word in text.split(",")]
    except ValueError as error:
        raise ConfigError(f"--weights={text}: give comma-separated numbers, e.g. --weights=2,1") from error

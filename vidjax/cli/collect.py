r"""Copies the results of an experiment to results/NAME/, where they are committed.

With --check, it compares the config hashes of collected results with those that the current code computes:

  python -m vidjax collect --check experiments/motion.py
  python -m vidjax collect --check experiments/ucf101_fusion.py --config.data.root=UCF-101 \
      --config.data.splits=ucfTrainTestlist --config.data.allow_missing=True
      With the overrides that the experiment was run with.

A different hash does not make a result wrong: a default has changed since, or a key is given that did not exist then.
Results are never edited; run the experiment again for new ones.
"""

import argparse
from pathlib import Path

from vidjax.cli import refuse_overrides
from vidjax.experiment.collecting import collect, matches_config
from vidjax.system.paths import typed_path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of the verb."""
    help_ = "the --workdir of an experiment; with --check its file"
    parser.add_argument("path", type=typed_path, metavar="WORKDIR", help=help_)
    parser.add_argument("--destination", type=typed_path, default=None, help="folder; default results/NAME")
    parser.add_argument("--check", action="store_true", help="list which collected results have the same configs")


def run(arguments: argparse.Namespace, overrides: dict[str, str]) -> int:
    """Runs the verb; returns the exit status."""
    if arguments.check:
        return _check(arguments.path, overrides, arguments.destination)
    refuse_overrides("collect", overrides, " without --check")
    files = collect(arguments.path, arguments.destination)
    print(f"{len(files)} results in {files[0].parent}")
    return 0


def _check(path: Path, overrides: dict[str, str], folder: Path | None) -> int:
    same = matches_config(path, overrides, folder)
    for name, is_same in same.items():
        print(f"{'same' if is_same else 'other config':12}  {name}")
    print(f"{sum(same.values())} of {len(same)} results are of the configs that {path} has now")
    if not all(same.values()) and not overrides:
        print("(pass the --config.KEY=VALUE that the runs had, e.g. data.root: they are part of the config)")
    return 0

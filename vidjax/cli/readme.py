"""Regenerates the result tables of README.md and docs/ from the committed results, or checks that they agree."""

import argparse
from pathlib import Path

from vidjax.cli import refuse_overrides
from vidjax.errors import DataError
from vidjax.experiment import plan
from vidjax.reporting import comparison, readme
from vidjax.system.paths import typed_path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of the verb."""
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 with a diff where they disagree")
    parser.add_argument(
        "--root",
        type=typed_path,
        default=Path(),
        help="folder with README.md, docs/, experiments/ and results/; default: the working directory",
    )


def pages(root: Path) -> list[Path]:
    """The Markdown files under `root` whose blocks are generated: README.md, then all of docs/.

    Raises:
      DataError: if there is no README.md.
    """
    if not (root / "README.md").is_file():
        raise DataError(f"{root / 'README.md'}: no such file; give --root, the folder of the repository")
    return [root / "README.md", *sorted((root / "docs").rglob("*.md"))]


def block(root: Path, name: str) -> str:
    """The Markdown of `<!-- results: NAME -->`, from experiments/NAME.py and results/NAME/ under `root`.

    Of `matrix/NAME`: video top-1 of an experiment of two axes, a row for each label of the first and a column for each
    of the second. Of `benchmarks/NAME` and `pretrained/NAME`: from the JSON file of that name in results/. Of `best`:
    the best row of each data set, over all experiments that have results.

    Raises:
      VidjaxError: if the experiment is missing or a result does not fit it.
    """
    if name.startswith("benchmarks/"):
        return readme.benchmark_block(root / "results" / f"{name}.json")
    if name.startswith("pretrained/"):
        return readme.pretrained_block(root / "results" / f"{name}.json")
    if name == "best":
        tried = (path.stem for path in sorted((root / "experiments").glob("*.py")))
        return readme.best_block(
            {name: _rows(root, name)[1] for name in tried if (root / "results" / name).is_dir()},
        )
    if name.startswith("matrix/"):
        experiment, rows = _rows(root, name.removeprefix("matrix/"))
        return readme.matrix_block(f"{experiment.title}; video top-1 %", rows)
    experiment, rows = _rows(root, name)
    runs, _ = readme.read_results(root / "results" / name)
    return readme.experiment_block(experiment.title, rows, experiment.table_columns(), runs)


def _rows(root: Path, name: str) -> tuple[plan.Experiment, list[comparison.ComparisonRow]]:
    """An experiment, and the rows of its table with those of the trivial baselines."""
    experiment = plan.load(root / "experiments" / f"{name}.py")
    runs, baselines = readme.read_results(root / "results" / name)
    foreign = sorted(runs.keys() - plan.run_names(experiment))
    if foreign:
        raise DataError(f"{root / 'results' / name / foreign[0]}.json: no run of experiments/{name}.py has this name")
    rows = plan.comparison_rows(experiment, runs) + readme.baseline_rows(baselines, list(experiment.axes))
    return experiment, rows


def run(arguments: argparse.Namespace, overrides: dict[str, str]) -> int:
    """Runs the verb; returns the exit status."""
    refuse_overrides("readme", overrides)
    disagree = False
    for path in pages(arguments.root):
        before = path.read_text(encoding="utf-8")
        try:
            after = readme.regenerate(before, lambda name: block(arguments.root, name))
        except DataError as error:
            raise DataError(f"{path}: {error}") from error
        if before == after:
            continue
        disagree = True
        if arguments.check:
            print(readme.difference(before, after, str(path.relative_to(arguments.root))), end="")
        else:
            path.write_text(after, encoding="utf-8")
            print(f"{path}: result tables regenerated")
    if not disagree:
        print("result tables agree with results/")
    return int(disagree and arguments.check)

"""Regenerates the result tables of the README from the committed results, or checks that they agree."""

import argparse
from pathlib import Path

from vidjax.errors import ConfigError, DataError
from vidjax.experiment import plan
from vidjax.reporting import readme
from vidjax.system.paths import typed_path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of the verb."""
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 with a diff where they disagree")
    parser.add_argument(
        "--file",
        type=typed_path,
        default=Path("README.md"),
        help="its folder has experiments/ and results/; default README.md",
    )


def block(root: Path, name: str) -> str:
    """The Markdown of `<!-- results: NAME -->`, from experiments/NAME.py and results/NAME/ under `root`.

    Of `benchmarks/NAME` and `pretrained/NAME`: from the JSON file of that name in results/.

    Raises:
      VidjaxError: if the experiment is missing or a result does not fit it.
    """
    if name.startswith("benchmarks/"):
        return readme.benchmark_block(root / "results" / f"{name}.json")
    if name.startswith("pretrained/"):
        return readme.pretrained_block(root / "results" / f"{name}.json")
    experiment = plan.load(root / "experiments" / f"{name}.py")
    runs, baselines = readme.read_results(root / "results" / name)
    foreign = sorted(runs.keys() - plan.run_names(experiment))
    if foreign:
        raise DataError(f"{root / 'results' / name / foreign[0]}.json: no run of experiments/{name}.py has this name")
    rows = plan.comparison_rows(experiment, runs) + readme.baseline_rows(baselines, list(experiment.axes))
    return readme.experiment_block(experiment.title, rows, experiment.table_columns(), runs)


def run(arguments: argparse.Namespace, overrides: dict[str, str]) -> int:
    """Runs the verb; returns the exit status."""
    if overrides:
        raise ConfigError("readme takes no --config.KEY=VALUE")
    if not arguments.file.is_file():
        raise DataError(f"{arguments.file}: no such file; give --file")
    before = arguments.file.read_text(encoding="utf-8")
    after = readme.regenerate(before, lambda name: block(arguments.file.parent, name))
    if arguments.check:
        print(readme.difference(before, after, arguments.file.name), end="")
        return int(before != after)
    arguments.file.write_text(after, encoding="utf-8")
    print(f"{arguments.file}: {'up to date already' if before == after else 'result tables regenerated'}")
    return 0

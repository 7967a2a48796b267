"""Copies the results of an experiment to results/NAME/, where they are committed."""

import argparse

from vidjax.collect import collect
from vidjax.errors import ConfigError
from vidjax.paths import typed_path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of the verb."""
    parser.add_argument("workdir", type=typed_path, help="the --workdir of the experiment")
    parser.add_argument("--destination", type=typed_path, default=None, help="folder; default results/NAME")


def run(arguments: argparse.Namespace, overrides: dict[str, str]) -> int:
    """Runs the verb; returns the exit status."""
    if overrides:
        raise ConfigError("collect takes no --config.KEY=VALUE")
    files = collect(arguments.workdir, arguments.destination)
    print(f"{len(files)} results in {files[0].parent}")
    return 0

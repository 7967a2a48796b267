"""Copies the results of an experiment to where they are committed."""

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vidjax.config import identity, loading
from vidjax.errors import DataError
from vidjax.evaluation.result import Result
from vidjax.experiment import plan
from vidjax.experiment.runner import results
from vidjax.system import files


def _absolute_paths(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        return [path for item in value.values() for path in _absolute_paths(item)]
    if isinstance(value, list):
        return [path for item in value for path in _absolute_paths(item)]
    if isinstance(value, str):
        return re.findall(r"(?:(?<=[\s='\"])|^)(?:~|/[\w.-]+)/\S*", value)
    return []


def collect(workdir: Path | str, destination: Path | str | None = None) -> list[Path]:
    """Copies the results of an experiment to where they are committed: `results/NAME/RUN.json`.

    Args:
      workdir: of the experiment.
      destination: the folder; by default `results/NAME` under the working directory.

    Returns:
      The files, one for each finished run and for each ensemble of finished runs.

    Raises:
      DataError: if `workdir` holds no experiment or no finished run, if the members of an ensemble do not fit each
        other, or if a result names a path of this machine.
    """
    workdir = Path(workdir)
    description = files.read_json(workdir / "experiment.json")
    if not description:
        raise DataError(f"{workdir}: no experiment.json; give the --workdir of an experiment")
    folder = Path(destination) if destination else Path("results") / description["name"]
    found, errors = results(description["runs"], description.get("ensembles", {}), workdir)
    if not found:
        raise DataError(f"{workdir}: no finished run to collect")
    for name, reason in errors.items():
        raise DataError(f"ensemble {name}: {reason}")
    contents = {}
    for name, result in found.items():
        # These name folders of this machine; the config hash and the experiment file describe the run.
        contents[name] = dataclasses.replace(result, command=None, data_notes=None).to_json()
        if paths := _absolute_paths(contents[name]):
            raise DataError(f"{workdir / 'runs' / name / 'result.json'}: names a path of this machine ({paths[0]})")
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, content in contents.items():
        written.append(folder / f"{name}.json")
        files.write_text(written[-1], files.to_json(content, sort_keys=True))
    return written


def matches_config(
    path: Path | str, overrides: Mapping[str, Any] | None = None, folder: Path | str | None = None
) -> dict[str, bool]:
    """Finds out which collected results still have the config hash that the current code computes for their run.

    Args:
      path: the experiment file.
      overrides: dotted config key -> value, those that the runs were started with.
      folder: of the results; by default `results/NAME` under the working directory.

    Returns:
      Run name -> whether its config has the hash that its result was made with, in the order of the table; runs
      without a result are left out.

    Raises:
      ConfigError: if the experiment or the config of a run is wrong.
      DataError: if no run has a result.
    """
    experiment = plan.load(path)
    folder = Path(folder) if folder else Path("results") / experiment.name
    same = {}
    for run in plan.runs_of(experiment, overrides):
        result = Result.read(folder / f"{run.name}.json")
        if result is not None:
            same[run.name] = result.config_hash == identity.config_hash(loading.load(run.config, run.overrides))
    if not same:
        raise DataError(f"{folder}: no result of a run of {path}; collect those of its --workdir first")
    return same

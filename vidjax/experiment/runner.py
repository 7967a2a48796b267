"""Runs the experiments that `vidjax.experiment.plan` declares, and writes their result tables.

Each run is a process of its own, `launch.py --config=... --workdir=DIR/runs/NAME` (in an installation
`-m vidjax train ...`), so that a crash, a leak or a flag of one cannot affect another. The same command again runs only
what is not finished.
"""

import fnmatch
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Container, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from vidjax.config import flat, identity, loading, stored
from vidjax.config.overrides import config_overrides
from vidjax.errors import ConfigError, VidjaxError
from vidjax.evaluation import ensemble
from vidjax.evaluation.result import Result
from vidjax.experiment.plan import ROOT, Experiment, PlannedRun, comparison_rows, ensembles_of, load, runs_of
from vidjax.reporting import comparison, tables
from vidjax.system import files, terminal
from vidjax.system.paths import checkout
from vidjax.system.terminal import duration
from vidjax.system.termination import sigterm_to_system_exit

_NO_WEIGHTS = "no weights"  # status of a run whose published weights are not on this machine
LAUNCHER = ROOT / "launch.py"  # of a checkout


def status(run: PlannedRun, workdir: Path) -> Literal["finished", "other config", "failed", "interrupted", "new"]:
    """Returns the status of a run under `workdir`.

    Raises:
      ConfigError: if the config of the run cannot be loaded.
    """
    folder = workdir / "runs" / run.name
    config = loading.load(run.config, run.overrides)
    result, before = Result.read(folder / "result.json"), stored.read_stored(folder)
    if result is not None and result.finished:
        return "finished" if result.config_hash == identity.config_hash(config) else "other config"
    if before is not None and identity.differences(before, json.loads(flat.to_json(config))):
        return "other config"
    if (folder / "error.txt").is_file():
        return "failed"
    return "interrupted" if before is not None else "new"


def _has_weights(name: str) -> bool:
    from vidjax import pretrained  # imports JAX

    return pretrained.is_here(pretrained.known(name))


def _archive(folder: Path) -> Path:
    """Moves the directory of a run with a different config to `replaced/`: nothing is ever deleted."""
    replaced = folder.parent.parent / "replaced"
    replaced.mkdir(exist_ok=True)
    number = next(i for i in itertools.count(1) if not (replaced / f"{folder.name}-{i}").exists())
    return folder.rename(replaced / f"{folder.name}-{number}")


def _run_command(command: Sequence[str], log: Path) -> int:
    """Runs a command with its output in `log`; stops it when this process is stopped."""
    with log.open("a", encoding="utf-8") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
        try:
            return process.wait()
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(timeout=20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


def _check_configs(runs: Iterable[PlannedRun]) -> None:
    """Refuses what is wrong with the config of a run by itself, before any of them begins.

    Raises:
      ConfigError: naming the run.
    """
    from vidjax.config.validation import check_config  # imports JAX, which tables of results need not

    for each in runs:
        try:
            check_config(loading.load(each.config, each.overrides))
        except ConfigError as error:
            raise ConfigError(f"{each.name}: {error}") from error


def _check_devices() -> None:
    """Refuses an unavailable device, once for all runs.

    In a separate process, since this one would hold the device that the runs need.

    Raises:
      ConfigError: if it is not there.
    """
    if os.environ.get("JAX_PLATFORMS", "") in ("", "cpu"):
        return
    done = subprocess.run([sys.executable, "-m", "vidjax.system.devices"], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        said = done.stderr.strip().rpartition("\n")[2]
        raise ConfigError(said or f"JAX cannot start here: its process ends with status {done.returncode}")


def _reason(code: int, log: Path) -> str:
    """Why a run failed, in one line: the last line that it printed."""
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    how = f"killed by signal {-code}" if code < 0 else f"exit status {code}" if code else "ended without a result"
    return f"{how}: {lines[-1]}" if lines else how


def _execute(run: PlannedRun, workdir: Path, launcher: Path) -> str | None:
    """Runs one run to its end; returns the error in one line, or None."""
    folder = workdir / "runs" / run.name
    folder.mkdir(parents=True, exist_ok=True)
    error = folder / "error.txt"
    error.unlink(missing_ok=True)
    log = folder / "log.txt"
    # Relative, so that the command that a run records is the one a reader would type.
    program = ["-m", "vidjax", "train"] if launcher == LAUNCHER and checkout() is None else [os.path.relpath(launcher)]
    code = _run_command([sys.executable, *program, *run.arguments(), f"--workdir={folder}"], log)
    result = Result.read(folder / "result.json") if code == 0 else None
    if result is not None and result.finished:
        return None
    reason = _reason(code, log)
    files.write_text(error, reason + "\n")
    return reason


def results(
    names: Iterable[str], ensembles: Mapping[str, Sequence[str]], workdir: Path
) -> tuple[dict[str, Result], dict[str, str]]:
    """Reads the finished results of an experiment.

    Args:
      names: of its runs.
      ensembles: name -> names of the runs whose scores are averaged.
      workdir: of the experiment.

    Returns:
      Name -> result, for finished runs and for ensembles of finished runs; and name -> why not, for
      ensembles whose members do not fit each other.
    """
    read = {name: Result.read(workdir / "runs" / name / "result.json") for name in names}
    found = {name: result for name, result in read.items() if result is not None and result.finished}
    errors = {}
    for name, members in ensembles.items():
        if set(members) <= found.keys():
            try:
                _, found[name] = ensemble.ensemble_runs([workdir / "runs" / member for member in members])
            except VidjaxError as error:
                errors[name] = str(error)
    return found, errors


def write_tables(
    experiment: Experiment, runs: Sequence[PlannedRun], workdir: Path, weights_here: Container[str]
) -> pd.DataFrame:
    """Writes `table.md`, `table.csv` and `results.json` from the finished runs; returns the table.

    Args:
      experiment: that the table is of.
      runs: all of the experiment.
      workdir: holds `runs/NAME/` and gets the files.
      weights_here: published weights that need not be fetched.
    """
    found, errors = results([run.name for run in runs], ensembles_of(experiment), workdir)
    for name, reason in errors.items():
        terminal.say(f"no ensemble {name}: {reason}")
    rows, columns = comparison_rows(experiment, found, weights_here), experiment.table_columns()
    table = comparison.table(rows, columns)
    files.write_text(workdir / "table.md", f"{experiment.title}\n\n{tables.to_markdown(table)}")
    files.write_text(workdir / "table.csv", tables.to_csv(comparison.numbers(rows, columns)))
    records: dict[str, Any] = {}
    for run in runs:
        error = workdir / "runs" / run.name / "error.txt"
        state = "finished" if run.name in found else "failed" if error.is_file() else "missing"
        records[run.name] = {"status": state, "command": ["launch.py", *run.arguments()]}
        if state == "finished":
            records[run.name]["result"] = found[run.name].to_json()
        elif state == "failed":
            records[run.name]["error"] = error.read_text(encoding="utf-8").strip()
    for name, members in ensembles_of(experiment).items():
        if name in found:
            records[name] = {"status": "averaged", "members": members, "result": found[name].to_json()}
    files.write_json(workdir / "results.json", records)
    return table


def run(
    path: Path | str,
    workdir: Path | str,
    overrides: Mapping[str, Any] | None = None,
    *,
    list_only: bool = False,
    only: str = "*",
    launcher: Path = LAUNCHER,
) -> int:
    """Runs the unfinished runs of an experiment and writes its table.

    Args:
      path: the experiment file.
      workdir: holds `runs/NAME/` (each with `log.txt`, and `error.txt` where it failed), `table.md`,
        `table.csv` (full precision) and `results.json`.
      overrides: dotted config key -> value, for all runs.
      list_only: lists the runs and their status, and runs nothing.
      only: pattern of run names, e.g. "hard-*-seed0": no others are run. The table shows what there is of all.
      launcher: the program that does one run.

    Returns:
      Exit status: 1 if any run failed, else 0.

    Raises:
      ConfigError: if the experiment or the config of any run is wrong, or no run matches `only`; found before the first
        run begins.
    """
    workdir = Path(workdir)
    experiment = load(path)
    experiment.table_columns()
    runs = runs_of(experiment, overrides)
    needed = {each.weights for each in runs if each.weights is not None}
    weights_here = set(filter(_has_weights, needed))
    states = {
        each.name: _NO_WEIGHTS if each.weights in needed - weights_here else status(each, workdir) for each in runs
    }
    chosen = [each for each in runs if fnmatch.fnmatchcase(each.name, only)]
    if not chosen:
        raise ConfigError(f"--only={only}: no run matches; --list shows all runs, e.g. {runs[0].name}")
    if list_only:
        for each in chosen:
            terminal.say(f"{states[each.name]:12}  {each.name}  {' '.join(each.arguments())}")
        return 0
    waiting = [each for each in chosen if states[each.name] not in ("finished", _NO_WEIGHTS)]
    if waiting and launcher == LAUNCHER:
        _check_configs(waiting)
        _check_devices()
    try:
        workdir.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise ConfigError(f"--workdir={workdir} is not a writable folder: {problem.strerror}") from problem
    description = {"name": experiment.name, "runs": list(states), "ensembles": ensembles_of(experiment)}
    files.write_json(workdir / "experiment.json", description)
    selected = f" that match {only!r}" if len(chosen) < len(runs) else ""
    finished = sum(states[each.name] == "finished" for each in chosen)
    terminal.say(f"{experiment.title}: {len(chosen)} runs{selected}, {finished} finished already")
    for name in sorted(needed - weights_here):
        if count := sum(each.weights == name for each in chosen):
            terminal.say(f"{count} runs are left out: they begin from {name}; python -m vidjax weights fetch {name}")
    if waiting and launcher == LAUNCHER:
        from vidjax.experiment import cost  # imports JAX

        terminal.say(f"planned: {cost.describe(waiting)}")
    for each in runs:
        if states[each.name] == "other config":  # all at once: none may get into the table meanwhile
            aside = _archive(workdir / "runs" / each.name)
            terminal.say(f"{each.name}: made with a different config; moved to {aside}")
    errors = {}
    started = time.monotonic()
    table = write_tables(experiment, runs, workdir, weights_here)
    with sigterm_to_system_exit():
        for number, each in enumerate(waiting, start=1):
            folder = workdir / "runs" / each.name
            terminal.say(f"run {number} of {len(waiting)}: {each.name} (output in {folder / 'log.txt'})")
            error = _execute(each, workdir, launcher)
            if error:
                errors[each.name] = error
                terminal.say(f"{each.name} failed: {error}")
            elapsed = time.monotonic() - started
            left = elapsed / number * (len(waiting) - number)
            table = write_tables(experiment, runs, workdir, weights_here)
            terminal.table(table, keys=len(experiment.axes))
            terminal.say(f"{duration(elapsed)} elapsed, about {duration(left)} left")
    if not waiting:
        terminal.table(table, keys=len(experiment.axes))
    terminal.say(f"table: {workdir / 'table.md'}, {workdir / 'table.csv'}; all results: {workdir / 'results.json'}")
    for name, error in errors.items():
        terminal.say(f"failed: {name}: {error}")
    return 1 if errors else 0


def main(path: Path | str, workdir: Path | str, arguments: Sequence[str] = ()) -> int:
    """Calls `run` with the rest of a command line.

    Args:
      path: the experiment file.
      workdir: of the experiment.
      arguments: `--config.key=value` for all runs; `--list` only lists the runs and their status; `--only=PATTERN`
        runs those whose names match.

    Raises:
      ConfigError: for any other argument, and as `run`.
    """
    patterns = [argument.removeprefix("--only=") for argument in arguments if argument.startswith("--only=")]
    rest = [argument for argument in arguments if argument != "--list" and not argument.startswith("--only=")]
    overrides = config_overrides(rest)
    return run(path, workdir, overrides, list_only="--list" in arguments, only=patterns[-1] if patterns else "*")

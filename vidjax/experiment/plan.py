"""Declares experiments: axes, splits and seeds, and the runs and table rows that follow from them.

An experiment file defines `get_experiment() -> Experiment`:

    def get_experiment():
        return Experiment(
            name="motion",
            title="Early fusion and single frame on motion",
            axes={"model": {"early fusion": Setting("configs/early_fusion.py"), ...}},
            seeds=range(5),
        )
"""

import dataclasses
import importlib.util
import itertools
import os
import re
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any

from vidjax.config.renamed import to_current_names
from vidjax.errors import ConfigError
from vidjax.evaluation.result import Result
from vidjax.reporting import comparison
from vidjax.system.paths import typed_path

ROOT = Path(__file__).resolve().parents[2]

_COLUMNS = ("inputs", "parameters", "gmacs", "views", "videos", "clip_top1", "video_top1")
DEFAULT_COLUMNS = (*_COLUMNS, "video_top5", "mean_class_accuracy", "seconds")
INTERVAL_COLUMNS = (*_COLUMNS, "video_top1_interval")  # experiments add their own columns to these


@dataclasses.dataclass(frozen=True)
class Setting:
    """The meaning of one label of an axis.

    Attributes:
      config: the `--config` of the run, e.g. "configs/early_fusion.py:ucf101_small"; None: another axis, or the
        experiment, names it.
      overrides: dotted config key -> value.
      argument: words that are added to the argument of the config, which another axis may name: "motion_hard"
        makes "configs/multires.py:base=early_fusion" into "configs/multires.py:base=early_fusion,motion_hard".
      weights: published weights that the run begins from; without them on the machine it is not run, and its row says
        how they are fetched.
    """

    config: str | None = None
    overrides: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    argument: str | None = None
    weights: str | None = None


@dataclasses.dataclass(frozen=True)
class Experiment:
    """The declaration of a result table.

    Attributes:
      name: of the folder under `results/` and of the block in `docs/results.md`.
      title: one line above the table.
      axes: axis name -> row label -> setting; a row for each combination.
      config: the config of every run, where no axis says it.
      overrides: of every run; the axes come after them, the command line last.
      seeds: values of `config.seed`; the table shows mean and standard deviation over them.
      splits: values of `config.data.split`; one model for each, test videos pooled. None: the config's own.
      columns: keys of `vidjax.reporting.comparison.COLUMNS`, or custom columns.
      ensembles: row label -> labels of one axis whose runs' scores are averaged, seed by seed and split by split:
        one more label of that axis, which nothing is trained for.
    """

    name: str
    title: str
    axes: Mapping[str, Mapping[str, Setting]]
    config: str | None = None
    overrides: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    seeds: Sequence[int] = (0,)
    splits: Sequence[int] | None = None
    columns: Sequence[str | comparison.AnyColumn] = DEFAULT_COLUMNS
    ensembles: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)

    def run_labels(self) -> list[dict[str, str]]:
        """Axis name -> label, for each row of the table that is trained, in order."""
        return self._product({axis: list(settings) for axis, settings in self.axes.items()})

    def row_labels(self) -> list[dict[str, str]]:
        """Axis name -> label, for each row of the table in order; ensembles follow the runs of their axis."""
        labels = {axis: list(settings) for axis, settings in self.axes.items()}
        axes = {name: self._axis_of(name) for name in self.ensembles}
        for name, axis in axes.items():
            labels[axis].append(name)
        # A row is an ensemble over one axis at most.
        return [row for row in self._product(labels) if sum(row[axes[n]] == n for n in axes) <= 1]

    def members(self, row: Mapping[str, str]) -> list[dict[str, str]]:
        """Returns the rows whose runs an ensemble row averages; [] for any other row."""
        name = next((name for name in self.ensembles if row[self._axis_of(name)] == name), None)
        return [{**row, self._axis_of(name): label} for label in self.ensembles[name]] if name else []

    def weights_of(self, row: Mapping[str, str]) -> str | None:
        """The published weights that the runs of a row begin from."""
        settings = (self.axes[axis].get(label) for axis, label in row.items())
        return next((each.weights for each in settings if each is not None and each.weights), None)

    def _axis_of(self, ensemble: str) -> str:
        """The axis whose labels an ensemble averages over."""
        labels = self.ensembles[ensemble]
        for axis, settings in self.axes.items():
            if len(labels) > 1 and set(labels) <= settings.keys() and ensemble not in settings:
                return axis
        raise ConfigError(
            f"experiment {self.name!r}: ensemble {ensemble!r} must list two or more labels of one axis, and must not"
            " be a label itself"
        )

    @staticmethod
    def _product(labels: Mapping[str, Sequence[str]]) -> list[dict[str, str]]:
        return [dict(zip(labels, row, strict=True)) for row in itertools.product(*labels.values())]

    def table_columns(self) -> list[comparison.AnyColumn]:
        """Looks up the columns by name.

        Raises:
          ConfigError: for an unknown column.
        """
        unknown = [c for c in self.columns if isinstance(c, str) and c not in comparison.COLUMNS]
        if unknown:
            raise ConfigError(
                f"experiment {self.name!r}: no column {unknown[0]!r} (known: {', '.join(comparison.COLUMNS)})"
            )
        return [comparison.COLUMNS[c] if isinstance(c, str) else c for c in self.columns]


@dataclasses.dataclass(frozen=True)
class PlannedRun:
    """One training run of an experiment.

    Attributes:
      name: the same in every invocation, e.g. "early_fusion-split2-seed0".
      config: the `--config` argument.
      overrides: dotted config key -> value.
      weights: as of `Setting`.
    """

    name: str
    config: str
    overrides: Mapping[str, Any]
    weights: str | None = None

    def arguments(self) -> list[str]:
        """The arguments of `launch.py`, without the workdir."""
        return [f"--config={self.config}", *(f"--config.{key}={value}" for key, value in self.overrides.items())]


def load(path: Path | str) -> Experiment:
    """Reads an experiment file.

    Raises:
      ConfigError: if there is no such file or it defines no `get_experiment`.
    """
    path = typed_path(str(path))
    if not path.is_file():
        known = ", ".join(sorted(str(p) for p in path.parent.glob("*.py"))) or "none"
        raise ConfigError(f"no experiment file {str(path)!r} (there: {known})")
    spec = importlib.util.spec_from_file_location(f"vidjax_experiment_{path.stem}", path)
    assert spec is not None and spec.loader is not None, path
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, "get_experiment"):
        raise ConfigError(f"{path} defines no get_experiment()")
    try:
        experiment = module.get_experiment()
    except TypeError as error:
        raise ConfigError(f"{path}: get_experiment(): {error}") from error
    if not isinstance(experiment, Experiment):
        raise ConfigError(f"{path}: get_experiment() returns no vidjax.experiment.plan.Experiment")
    return experiment


def run_name(labels: Mapping[str, str], split: int | None, seed: int) -> str:
    """Name of a run, safe as a file name: labels, split and seed."""
    parts = [re.sub(r"[^A-Za-z0-9.]+", "_", label).strip("_.") for label in labels.values()]
    return "-".join([*parts, *([] if split is None else [f"split{split}"]), f"seed{seed}"])


def runs_of(experiment: Experiment, overrides: Mapping[str, Any] | None = None) -> list[PlannedRun]:
    """All runs: every row of the first seed and split, then of the next, so that the table fills evenly.

    Args:
      experiment: what to run.
      overrides: of the command line, for all runs.

    Raises:
      ConfigError: if a row has no config or two, or if two runs would have the same name.
    """
    runs = []
    for seed, split in itertools.product(experiment.seeds, experiment.splits or (None,)):
        for labels in experiment.run_labels():
            settings = [experiment.axes[axis][label] for axis, label in labels.items()]
            configs = [setting.config for setting in settings if setting.config]
            if not configs and experiment.config:
                configs = [experiment.config]
            if len(configs) != 1:
                raise ConfigError(f"experiment {experiment.name!r}: row {labels} must name exactly one config")
            # By today's names, so that a later layer replaces a key that an earlier one has under its first name.
            values: dict[str, Any] = {}
            for layer in (
                experiment.overrides,
                *(setting.overrides for setting in settings),
                {"seed": seed} | ({} if split is None else {"data.split": split}),
                overrides or {},
            ):
                values |= to_current_names(layer, announce=True)
            config = _with_arguments(_find_config(configs[0]), [s.argument for s in settings if s.argument])
            runs.append(PlannedRun(run_name(labels, split, seed), config, values, experiment.weights_of(labels)))
    names = [run.name for run in runs] + list(ensembles_of(experiment))
    if twice := [name for name in names if names.count(name) > 1]:
        raise ConfigError(
            f"experiment {experiment.name!r}: two runs have the same name {twice[0]!r}; change a label, seed or split"
        )
    return runs


def _find_config(argument: str) -> str:
    """Config files are named relative to the repository, wherever the command was given."""
    file, colon, rest = argument.partition(":")
    if not Path(file).is_file() and (ROOT / file).is_file():
        file = os.path.relpath(ROOT / file)
    return f"{file}{colon}{rest}"


def _with_arguments(config: str, arguments: Sequence[str]) -> str:
    """Adds words to the text after the colon of a `--config` argument."""
    file, _, rest = config.partition(":")
    words = ",".join([*([rest] if rest else []), *arguments])
    return f"{file}:{words}" if words else file


def ensembles_of(experiment: Experiment) -> dict[str, list[str]]:
    """Name of each ensemble, as a run of its row would have it -> names of the runs that it averages."""
    return {
        run_name(row, split, seed): [run_name(member, split, seed) for member in members]
        for row in experiment.row_labels()
        if (members := experiment.members(row))
        for split in experiment.splits or (None,)
        for seed in experiment.seeds
    }


def comparison_rows(
    experiment: Experiment, found: Mapping[str, Result], weights_here: Container[str] = ()
) -> list[comparison.ComparisonRow]:
    """The rows of the table; a seed counts when all of its splits are there.

    Args:
      experiment: whose rows.
      found: run name -> result.
      weights_here: published weights that need not be fetched; a row without results names the command for the others.
    """
    rows = []
    for labels in experiment.row_labels():
        complete = []
        for seed in experiment.seeds:
            names = [run_name(labels, split, seed) for split in experiment.splits or (None,)]
            if all(name in found for name in names):
                complete.append(comparison.pool([found[name] for name in names]))
        weights = experiment.weights_of(labels)
        how = comparison.MISSING
        if weights is not None and weights not in weights_here:
            how = f"needs `python -m vidjax weights fetch {weights}`"
        rows.append(comparison.ComparisonRow(labels, complete, len(experiment.seeds), how))
    return rows


def run_names(experiment: Experiment) -> set[str]:
    """The names of all runs and ensembles of an experiment."""
    return {
        run_name(labels, split, seed)
        for labels in experiment.row_labels()
        for split in experiment.splits or (None,)
        for seed in experiment.seeds
    }

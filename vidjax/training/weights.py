"""Which weights are evaluated: the last, the averaged (EMA) or the best by validation."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from vidjax.errors import OptionError, VidjaxError
from vidjax.training.best_checkpoint import best_folder
from vidjax.training.checkpoints import Checkpoints
from vidjax.training.early_stopping import EarlyStopping
from vidjax.training.state import TrainState, Variables, validated

WEIGHTS = ("last", "ema", "best")


class TrainingOutcome(NamedTuple):
    """The outcome of training.

    Attributes:
      state: after the last step.
      early_stopping: the tracker of its validations.
      seconds: total training time, across resumes.
      replaced: id -> reason, for unreadable training videos that were replaced by others.
    """

    state: TrainState
    early_stopping: EarlyStopping
    seconds: float
    replaced: Mapping[str, str] = {}


class SelectedWeights(NamedTuple):
    """Which weights were evaluated, as a result records it.

    Attributes:
      name: of `WEIGHTS`.
      best_step: of the best validation; None without validations.
      stopped_early: whether early stopping ended the training.
    """

    name: str
    best_step: int | None
    stopped_early: bool


def choose(name: str | None, trained: TrainingOutcome, workdir: Path) -> tuple[TrainState, SelectedWeights]:
    """Selects the weights to evaluate.

    Args:
      name: of `WEIGHTS`; None: the weights that validation used, i.e. averaged ones if the run has them, else the last.
      trained: the outcome of training.
      workdir: the run directory.

    Returns:
      The state to evaluate, and which weights it has.

    Raises:
      OptionError: if the run has no such weights.
    """
    state, early_stopping = trained.state, trained.early_stopping
    name = name or ("ema" if state.ema is not None else "last")
    chosen = SelectedWeights(name, early_stopping.best_step, early_stopping.should_stop)
    if name == "ema":
        if state.ema is None:
            raise OptionError("{weights}=ema: the run was trained without EMA weights", ["weights"])
        return validated(state), chosen
    if name == "best":
        if early_stopping.best_step is not None and early_stopping.best_step == int(state.step):
            return validated(state), chosen
        if early_stopping.best_step is None or not best_folder(workdir).is_dir():
            raise OptionError(f"{workdir}: {{weights}}=best needs at least one completed validation", ["weights"])
        with Checkpoints(best_folder(workdir), read_only=True) as checkpoints:
            weights, _ = checkpoints.restore(state.weights, early_stopping.best_step)
        return state.with_weights(weights), chosen
    return state, chosen


def read(name: str, workdir: Path, like: Variables) -> tuple[Variables, int]:
    """Reads the weights of a run, and nothing else of its checkpoints.

    Args:
      name: of `WEIGHTS`.
      workdir: the run directory.
      like: weights of the same structure and shapes, possibly abstract.

    Returns:
      The weights, NumPy arrays, and after how many steps they were saved.

    Raises:
      VidjaxError: if there is no checkpoint, or it does not fit the model.
      OptionError: if the run has no such weights.
    """
    folder = workdir / "checkpoints"
    if not folder.is_dir():
        raise VidjaxError(f"{workdir}: no checkpoints; train first, or pass the directory of a run")
    with Checkpoints(folder, read_only=True) as checkpoints:
        notes, latest = checkpoints.notes(), checkpoints.latest_step()
        assert latest is not None
        best = (notes.get("monitor") or {}).get("best_step")
        if name != "best":
            return checkpoints.restore_weights(like, latest, averaged=name == "ema"), latest
    if best is None or not best_folder(workdir).is_dir():
        raise OptionError(f"{workdir}: {{weights}}=best needs at least one completed validation", ["weights"])
    with Checkpoints(best_folder(workdir), read_only=True) as checkpoints:
        return checkpoints.restore_weights(like, best), best

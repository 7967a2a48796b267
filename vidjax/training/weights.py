"""Which weights are evaluated: the last, the averaged or the best by validation."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from vidjax.errors import OptionError
from vidjax.training.best_checkpoint import best_folder
from vidjax.training.checkpoints import Checkpoints
from vidjax.training.early_stopping import EarlyStopping
from vidjax.training.state import TrainState, validated

WEIGHTS = ("last", "ema", "best")


class TrainingOutcome(NamedTuple):
    """What training leaves.

    Attributes:
      state: after the last step.
      early_stopping: the tracker of its validations.
      seconds: wall time spent on training, over all sittings.
      replaced: id -> reason of the training videos that could not be read, in whose place others stood.
    """

    state: TrainState
    early_stopping: EarlyStopping
    seconds: float
    replaced: Mapping[str, str] = {}


class SelectedWeights(NamedTuple):
    """What a result says of the weights that were tested.

    Attributes:
      name: of `WEIGHTS`.
      best_step: of the best validation; None without any.
      stopped_early: the validations ended the training.
    """

    name: str
    best_step: int | None
    stopped_early: bool


def choose(name: str | None, trained: TrainingOutcome, workdir: Path) -> tuple[TrainState, SelectedWeights]:
    """Puts the chosen weights into a state.

    Args:
      name: of `WEIGHTS`; None: what validation scored, so averaged ones where they are kept, otherwise the last.
      trained: the run.
      workdir: of the run.

    Returns:
      The state to evaluate, and what a result says of it.

    Raises:
      OptionError: if the run has no such weights.
    """
    state, early_stopping = trained.state, trained.early_stopping
    name = name or ("ema" if state.ema is not None else "last")
    chosen = SelectedWeights(name, early_stopping.best_step, early_stopping.should_stop)
    if name == "ema":
        if state.ema is None:
            raise OptionError("{weights}=ema: the run was trained without averaged weights", ["weights"])
        return validated(state), chosen
    if name == "best":
        if early_stopping.best_step is not None and early_stopping.best_step == int(state.step):
            return validated(state), chosen
        if early_stopping.best_step is None or not best_folder(workdir).is_dir():
            raise OptionError(f"{workdir}: {{weights}}=best, but there was no validation so far", ["weights"])
        with Checkpoints(best_folder(workdir), read_only=True) as checkpoints:
            weights, _ = checkpoints.restore(state.weights, early_stopping.best_step)
        return state.with_weights(weights), chosen
    return state, chosen

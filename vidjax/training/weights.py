"""Which weights are evaluated: the last, the averaged or the best by validation."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from vidjax.errors import OptionError
from vidjax.training.checkpoints import Checkpoints
from vidjax.training.monitor import Monitor
from vidjax.training.state import TrainState, Weights

WEIGHTS = ("last", "ema", "best")


class Trained(NamedTuple):
    """What training leaves.

    Attributes:
      state: after the last step.
      monitor: of its validations.
      seconds: wall time spent on training, over all sittings.
      replaced: id -> reason of the training videos that could not be read, in whose place others stood.
    """

    state: TrainState
    monitor: Monitor
    seconds: float
    replaced: Mapping[str, str] = {}


class Chosen(NamedTuple):
    """What a result says of the weights that were tested.

    Attributes:
      name: of `WEIGHTS`.
      best_step: of the best validation; None without any.
      stopped_early: the validations ended the training.
    """

    name: str
    best_step: int | None
    stopped_early: bool


class BestWeights:
    """Keeps the weights of the best validation in `checkpoints_best/`, beside the checkpoints of the run.

    A run may be killed between a best validation and the next checkpoint, from before which it is resumed. So
    the best weights that the newest checkpoint knows of stay until a newer checkpoint knows better ones.

    Args:
      workdir: of the run.
      checkpoints: of the run.
    """

    def __init__(self, workdir: Path, checkpoints: Checkpoints):
        self._best = Checkpoints(_folder(workdir))
        self._checkpoints = checkpoints
        self._known: int | None = None

    def __enter__(self) -> "BestWeights":
        return self

    def __exit__(self, *exception: object) -> None:
        self._best.__exit__(*exception)

    def resume(self, state: TrainState, best_step: int | None) -> None:
        """Forgets what came after the checkpoint that was restored to `state` and knows the best of `best_step`.

        Its own weights are saved again where they are that best and a kill came before they were on disk.
        """
        step, saved = int(state.step), self._best.steps()
        self._known = best_step
        for later in [each for each in saved if each > step]:
            self._best.delete(later)
        if best_step == step and step not in saved:
            self._best.save(validated(state).weights, step)

    def save(self, weights: Weights, step: int) -> None:
        """Saves the weights of a new best validation."""
        self.tidy()
        self._best.save(weights, step)

    def before_checkpoint(self, step: int, best_step: int | None) -> None:
        """Makes sure that what the checkpoint of a step is about to note as the best is on disk, or is its own."""
        if best_step != step:
            self._best.wait()
        self._known = best_step

    def tidy(self) -> None:
        """Removes all but the best weights that the newest checkpoint knows of."""
        self._checkpoints.wait()
        self._best.wait()
        for other in self._best.steps():
            if other != self._known:
                self._best.delete(other)


def validated(state: TrainState) -> TrainState:
    """The state with the weights that validation scores: the averaged ones where they are kept."""
    return state.with_weights(state.ema) if state.ema is not None else state


def choose(name: str | None, trained: Trained, workdir: Path) -> tuple[TrainState, Chosen]:
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
    state, monitor = trained.state, trained.monitor
    name = name or ("ema" if state.ema is not None else "last")
    chosen = Chosen(name, monitor.best_step, monitor.stops)
    if name == "ema":
        if state.ema is None:
            raise OptionError("{weights}=ema: the run was trained without averaged weights", ["weights"])
        return validated(state), chosen
    if name == "best":
        if monitor.best_step is not None and monitor.best_step == int(state.step):
            return validated(state), chosen
        if monitor.best_step is None or not _folder(workdir).is_dir():
            raise OptionError(f"{workdir}: {{weights}}=best, but there was no validation so far", ["weights"])
        with Checkpoints(_folder(workdir), read_only=True) as checkpoints:
            weights, _ = checkpoints.restore(state.weights, monitor.best_step)
        return state.with_weights(weights), chosen
    return state, chosen


def _folder(workdir: Path) -> Path:
    return workdir / "checkpoints_best"

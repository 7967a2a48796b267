"""The best checkpoint: kept beside the newest ones, by the validation metric."""

from pathlib import Path

from vidjax.training.checkpoints import Checkpoints
from vidjax.training.state import TrainState, Variables, validated


class BestCheckpoint:
    """Keeps the weights of the best validation in `checkpoints_best/`, beside the checkpoints of the run.

    A run may be killed between a best validation and the next checkpoint, from before which it is resumed. So
    the best weights that the newest checkpoint knows of stay until a newer checkpoint knows better ones.

    Args:
      workdir: of the run.
      checkpoints: of the run.
    """

    def __init__(self, workdir: Path, checkpoints: Checkpoints):
        self._best = Checkpoints(best_folder(workdir))
        self._checkpoints = checkpoints
        self._known: int | None = None

    def __enter__(self) -> "BestCheckpoint":
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

    def save(self, weights: Variables, step: int) -> None:
        """Saves the weights of a new best validation."""
        self.prune()
        self._best.save(weights, step)

    def before_checkpoint(self, step: int, best_step: int | None) -> None:
        """Makes sure that what the checkpoint of a step is about to note as the best is on disk, or is its own."""
        if best_step != step:
            self._best.wait()
        self._known = best_step

    def prune(self) -> None:
        """Removes all but the best weights that the newest checkpoint knows of."""
        self._checkpoints.wait()
        self._best.wait()
        for other in self._best.steps():
            if other != self._known:
                self._best.delete(other)


def best_folder(workdir: Path) -> Path:
    return workdir / "checkpoints_best"

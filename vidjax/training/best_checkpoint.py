"""The checkpoint with the best validation metric, kept in addition to the latest ones."""

from pathlib import Path

from vidjax.training.checkpoints import Checkpoints
from vidjax.training.state import TrainState, Variables, validated


class BestCheckpoint:
    """Keeps the weights of the best validation in `checkpoints_best/` of the run directory.

    A run may be killed between its best validation and the next checkpoint, and then resumes from an earlier one. So
    the best weights that the latest checkpoint refers to are kept until a newer checkpoint refers to better ones.

    Args:
      workdir: the run directory.
      checkpoints: the regular checkpoints of the run.
    """

    def __init__(self, workdir: Path, checkpoints: Checkpoints):
        self._best = Checkpoints(best_folder(workdir))
        self._checkpoints = checkpoints
        self._referenced: int | None = None

    def __enter__(self) -> "BestCheckpoint":
        return self

    def __exit__(self, *exception: object) -> None:
        self._best.__exit__(*exception)

    def resume(self, state: TrainState, best_step: int | None) -> None:
        """Deletes best weights that are newer than the checkpoint restored to `state`.

        If the restored weights are the best ones but were not on disk before the run was killed, they are saved again.

        Args:
          state: as restored, or the initial state.
          best_step: step of the best validation that the checkpoint refers to.
        """
        step, saved = int(state.step), self._best.steps()
        self._referenced = best_step
        for later in [each for each in saved if each > step]:
            self._best.delete(later)
        if best_step == step and step not in saved:
            self._best.save(validated(state).weights, step)

    def save(self, weights: Variables, step: int) -> None:
        """Saves the weights of a new best validation."""
        self.prune()
        self._best.save(weights, step)

    def before_checkpoint(self, step: int, best_step: int | None) -> None:
        """Call before saving a checkpoint of `step`: waits until the best weights that it will refer to are on disk."""
        if best_step != step:
            self._best.wait()
        self._referenced = best_step

    def prune(self) -> None:
        """Deletes all weights except the best ones that the latest checkpoint refers to."""
        self._checkpoints.wait()
        self._best.wait()
        for other in self._best.steps():
            if other != self._referenced:
                self._best.delete(other)


def best_folder(workdir: Path) -> Path:
    return workdir / "checkpoints_best"

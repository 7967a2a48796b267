"""Checkpoints: the one module that knows Orbax."""

from pathlib import Path
from typing import Any, TypeVar

import jax
import orbax.checkpoint as ocp

from vidjax.errors import VidjaxError
from vidjax.training.state import TrainState, Variables

State = TypeVar("State", TrainState, Variables)


class Checkpoints:
    """Saves and restores the state of a run; a context manager that waits for pending saves.

    A checkpoint is written beside its final name and renamed when whole, so that one that a kill cut
    short is never restored.

    Args:
      folder: where they lie, one folder a step.
      keep: how many of the newest stay; None: all.
      read_only: disturbs no run that is writing there.
    """

    def __init__(self, folder: Path, keep: int | None = None, *, read_only: bool = False):
        writing: dict[str, Any] = {"max_to_keep": keep, "cleanup_tmp_directories": True}
        options = ocp.CheckpointManagerOptions(**({"read_only": True} if read_only else writing))
        self._manager = ocp.CheckpointManager(folder.absolute(), options=options)
        self._folder = folder

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *exception: object) -> None:
        self._manager.close()

    def save(self, state: TrainState | Variables, step: int, **metadata: Any) -> None:
        """Saves in the background.

        Args:
          state: of the run, or its weights alone.
          step: steps done.
          **metadata: small JSON values beside it, e.g. the seconds spent so far.
        """
        items = ocp.args.Composite(state=ocp.args.StandardSave(_fields(state)), notes=ocp.args.JsonSave(metadata))
        if not self._manager.save(step, args=items):
            raise VidjaxError(f"{self._folder}: step {step} was not saved; a checkpoint of that step or later is there")

    def wait(self) -> None:
        """Returns when everything saved is on disk."""
        self._manager.wait_until_finished()

    def latest_step(self) -> int | None:
        """Steps done in the newest whole checkpoint; None where there is none."""
        return self._manager.latest_step()

    def steps(self) -> list[int]:
        """Steps done in each whole checkpoint."""
        return sorted(self._manager.all_steps())

    def delete(self, step: int) -> None:
        """Removes the checkpoint of that step."""
        self._manager.delete(step)

    def restore(self, like: State, step: int | None = None) -> tuple[State, dict[str, Any]]:
        """Restores a checkpoint.

        Args:
          like: a state of the same structure, shapes, dtypes and placement; it may have no values
          (`ParallelStrategy.abstract_state`).
          step: steps done in it; None: the newest.

        Returns:
          The state, and the notes saved beside it.

        Raises:
          VidjaxError: if there is none, or it does not fit.
        """
        step = step if step is not None else self.latest_step()
        if step is None:
            raise VidjaxError(f"{self._folder}: no checkpoint to restore; train first")
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, _fields(like))
        items = ocp.args.Composite(state=ocp.args.StandardRestore(abstract), notes=ocp.args.JsonRestore())
        try:
            restored = self._manager.restore(step, args=items)
        except (ValueError, KeyError, TypeError, FileNotFoundError) as error:
            reason = str(error).splitlines()[0]
            raise VidjaxError(f"{self._folder}/{step}: the checkpoint does not fit this model: {reason}") from error
        return like.replace(**restored["state"]), restored["notes"]  # type: ignore[attr-defined]


def _fields(state: TrainState | Variables) -> dict[str, Any]:
    """The fields that are in use, so that one that is added later leaves old checkpoints readable."""
    return {name: value for name, value in vars(state).items() if value is not None}

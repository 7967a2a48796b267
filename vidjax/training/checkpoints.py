"""Checkpoints: the only module that uses Orbax."""

from pathlib import Path
from typing import Any, TypeVar

import jax
import orbax.checkpoint as ocp

from vidjax.errors import VidjaxError
from vidjax.training.state import TrainState, Variables

State = TypeVar("State", TrainState, Variables)


class Checkpoints:
    """Saves and restores training states; a context manager that waits for pending saves.

    A checkpoint is written under a temporary name and renamed when it is complete, so that an interrupted save is
    never restored.

    Args:
      folder: one subfolder per step.
      keep: how many of the latest checkpoints to keep; None: all.
      read_only: does not interfere with a run that is writing there.
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
        """Saves a checkpoint in the background.

        Args:
          state: the training state, or only its weights.
          step: steps done so far.
          **metadata: small JSON values stored with it, e.g. the training time so far.
        """
        items = ocp.args.Composite(state=ocp.args.StandardSave(_fields(state)), notes=ocp.args.JsonSave(metadata))
        if not self._manager.save(step, args=items):
            raise VidjaxError(
                f"{self._folder}: step {step} was not saved because a checkpoint of the same or a later step exists"
            )

    def wait(self) -> None:
        """Blocks until all saves are on disk."""
        self._manager.wait_until_finished()

    def latest_step(self) -> int | None:
        """Step of the latest complete checkpoint; None without one."""
        return self._manager.latest_step()

    def steps(self) -> list[int]:
        """Steps of all complete checkpoints."""
        return sorted(self._manager.all_steps())

    def delete(self, step: int) -> None:
        """Deletes the checkpoint of that step."""
        self._manager.delete(step)

    def restore(self, like: State, step: int | None = None) -> tuple[State, dict[str, Any]]:
        """Restores a checkpoint.

        Args:
          like: a state of the same structure, shapes, dtypes and placement, possibly abstract
            (`ParallelStrategy.abstract_state`).
          step: of the checkpoint; None: the latest.

        Returns:
          The state, and the metadata saved with it.

        Raises:
          VidjaxError: if there is no checkpoint, or it does not fit the model.
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
    """The fields that are not None, so that checkpoints stay readable when optional fields are added."""
    return {name: value for name, value in vars(state).items() if value is not None}

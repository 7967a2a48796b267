"""Checkpoints: the only module that uses Orbax."""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
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
        with _quiet():
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
        step = self._step(step)
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, _fields(like))
        items = ocp.args.Composite(state=ocp.args.StandardRestore(abstract), notes=ocp.args.JsonRestore())
        try:
            restored = self._manager.restore(step, args=items)
        except (ValueError, KeyError, TypeError, FileNotFoundError) as error:
            raise self._misfit(step, str(error).splitlines()[0]) from error
        return like.replace(**restored["state"]), restored["notes"]  # type: ignore[attr-defined]

    def notes(self, step: int | None = None) -> dict[str, Any]:
        """The metadata saved with a checkpoint; None: with the latest.

        Raises:
          VidjaxError: if there is none.
        """
        items = ocp.args.Composite(notes=ocp.args.JsonRestore())
        with _quiet():
            notes: dict[str, Any] = self._manager.restore(self._step(step), args=items)["notes"]
        return notes

    def restore_weights(self, like: Variables, step: int | None = None, *, averaged: bool = False) -> Variables:
        """Restores the weights alone: nothing of the optimizer is read, and no device is asked for.

        Args:
          like: weights of the same structure, shapes and dtypes, possibly abstract.
          step: of the checkpoint; None: the latest.
          averaged: those of the moving average, not those after the last step.

        Returns:
          NumPy arrays.

        Raises:
          VidjaxError: if there is no checkpoint, or it does not fit the model.
        """
        step = self._step(step)
        # A manager of its own: each reads an item in one way only, and `restore` does in another.
        with (
            _quiet(),
            ocp.CheckpointManager(
                self._folder.absolute(),
                options=ocp.CheckpointManagerOptions(read_only=True),
                item_handlers={"state": ocp.PyTreeCheckpointHandler()},
            ) as manager,
        ):
            stored = manager.item_metadata(step)["state"].tree
            stored = stored.get("ema", {}) if averaged else stored
            tree: Any = {name: stored.get(name, {}) for name in ("params", "model_state")}
            self._check_fit(step, tree, like)
            tree = {"ema": tree} if averaged else tree
            as_numpy = jax.tree.map(lambda leaf: ocp.RestoreArgs(restore_type=np.ndarray), tree)
            arguments = ocp.args.PyTreeRestore(tree, restore_args=as_numpy, partial_restore=True)
            found = manager.restore(step, args=ocp.args.Composite(state=arguments))["state"]
        found = found["ema"] if averaged else found
        return Variables(found["params"], found["model_state"])

    def _check_fit(self, step: int, stored: Any, like: Variables) -> None:
        wanted = {"params": like.params, "model_state": like.model_state}
        shapes = [
            {jax.tree_util.keystr(path, simple=True, separator="/"): tuple(leaf.shape) for path, leaf in leaves}
            for leaves in map(jax.tree_util.tree_leaves_with_path, (stored, wanted))
        ]
        for name in sorted(shapes[0].keys() | shapes[1].keys(), key=lambda name: (not name.startswith("params"), name)):
            of_file, of_model = (each.get(name) for each in shapes)
            if of_file != of_model:
                raise self._misfit(step, f"{name} has the shape {of_file} there, {of_model} in the model")

    def _step(self, step: int | None) -> int:
        step = step if step is not None else self.latest_step()
        if step is None:
            raise VidjaxError(f"{self._folder}: no checkpoint to restore; train first")
        return step

    def _misfit(self, step: int, reason: str) -> VidjaxError:
        return VidjaxError(f"{self._folder}/{step}: the checkpoint does not fit this model: {reason}")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps Orbax from warning that a manager is read-only, and that items are left out."""
    logger = logging.getLogger("absl")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _fields(state: TrainState | Variables) -> dict[str, Any]:
    """The fields that are not None, so that checkpoints stay readable when optional fields are added."""
    return {name: value for name, value in vars(state).items() if value is not None}

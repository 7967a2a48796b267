import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidjax.training import best_checkpoint, weights
from vidjax.training.checkpoints import Checkpoints
from vidjax.training.early_stopping import EarlyStopping
from vidjax.training.state import TrainState, Variables


def state_of(step, average=None):
    params = {"kernel": jnp.full((2, 3), float(step))}
    ema = Variables({"kernel": jnp.full((2, 3), average)}, {}) if average is not None else None
    return TrainState(jnp.asarray(step, jnp.int32), params, {}, {}, ema)


@pytest.fixture
def best(tmp_path):
    with (
        Checkpoints(tmp_path / "checkpoints") as checkpoints,
        best_checkpoint.BestCheckpoint(tmp_path, checkpoints) as best,
    ):
        yield best


def saved(tmp_path, step):
    with Checkpoints(tmp_path / "checkpoints_best", read_only=True) as folder:
        found, _ = folder.restore(state_of(0).weights, step)
    return np.unique(found.params["kernel"]).tolist()


def test_best_weights_that_a_kill_lost_are_those_of_the_checkpoint(best, tmp_path):
    best.resume(state_of(4, average=7.0), 4)
    best.before_checkpoint(8, 4)
    assert saved(tmp_path, 4) == [7.0]
    best.resume(state_of(4), 4)  # they are there
    best.before_checkpoint(8, 4)
    assert saved(tmp_path, 4) == [7.0]


def test_a_checkpoint_waits_for_best_weights_that_are_not_its_own(best, monkeypatch):
    waits = []
    wait = Checkpoints.wait
    monkeypatch.setattr(Checkpoints, "wait", lambda self: waits.append(self) or wait(self))
    best.save(state_of(4).weights, 4)
    waits.clear()
    best.before_checkpoint(4, 4)
    assert not waits
    best.before_checkpoint(8, 4)
    assert len(waits) == 1


def test_what_came_after_the_checkpoint_is_forgotten(best, tmp_path):
    best.save(state_of(2).weights, 2)
    best.before_checkpoint(4, 2)
    best.save(state_of(6).weights, 6)
    best.before_checkpoint(8, 6)
    best.resume(state_of(4), 2)
    best.before_checkpoint(8, 2)
    assert saved(tmp_path, 2) == [2.0] and not (tmp_path / "checkpoints_best" / "6").exists()


def test_the_best_weights_of_the_last_step_are_its_own(tmp_path):
    early_stopping = EarlyStopping("loss", None)
    early_stopping.update(4, {"loss": 0.5})
    state, chosen = weights.choose(
        "best", weights.TrainingOutcome(state_of(4, average=7.0), early_stopping, 0.0), tmp_path
    )
    assert jax.tree.map(float, state.params["kernel"][0, 0]) == 7.0 and chosen.best_step == 4

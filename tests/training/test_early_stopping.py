"""The best validation, and when patience runs out."""

import pytest

from vidjax.training.early_stopping import EarlyStopping


@pytest.mark.parametrize("metric, values", [("video_top1", [0.5, 0.5, 0.4, 0.6]), ("loss", [0.6, 0.6, 0.7, 0.5])])
def test_of_equal_values_the_earliest_is_the_best(metric, values):
    tracker = EarlyStopping(metric, patience=2)
    seen = []
    for step, value in enumerate(values, start=1):
        seen.append((tracker.update(step, {metric: value}), tracker.best_step, tracker.should_stop))
    assert seen == [(True, 1, False), (False, 1, False), (False, 1, True), (True, 4, False)]


def test_without_patience_training_never_stops():
    tracker = EarlyStopping("loss")
    for step in range(10):
        tracker.update(step, {"loss": float(step)})
    assert tracker.validations_since_best == 9 and not tracker.should_stop


def test_a_state_that_a_checkpoint_stores_is_restored():
    """Under the keys of checkpoints written so far."""
    stored = {"best": 0.25, "best_step": 8, "since": 3}
    tracker = EarlyStopping("loss", patience=3)
    tracker.load_state_dict(stored)
    assert tracker == EarlyStopping("loss", 3, 0.25, 8, 3) and tracker.should_stop
    assert tracker.state_dict() == stored


def test_a_checkpoint_without_a_state_leaves_a_new_tracker():
    tracker = EarlyStopping("loss", patience=3)
    tracker.load_state_dict(None)
    assert tracker == EarlyStopping("loss", patience=3)

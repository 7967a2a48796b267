"""Pose + LSTM: counts, what normalizing by the body leaves, masks, and mirror images."""

import jax
import numpy as np
import pytest

from tests import random_variables
from vidjax import models

K, T, J = 4, 6, 5


def network(**options):
    return models.create("pose_lstm", K, **{"units": 8, "hidden": 6, **options})


def joints(count=2, frames=T, seed=0):
    rng = np.random.default_rng(seed)
    return np.concatenate(
        [rng.uniform(0.2, 0.8, (count, frames, J, 2)), rng.uniform(size=(count, frames, J, 1))], -1
    ).astype(np.float32)


def logits(model, variables, pose, mask=None):
    found = jax.jit(lambda pose, mask: model.apply(variables, pose, pose_mask=mask).logits)(pose, mask)
    assert np.isfinite(found).all()
    return np.asarray(found)


def test_counts_by_hand():
    """33 joints: x, y and confidence, and the body's place and size; 64 units, two layers of 64 cells."""
    counts = models.summary(models.create("pose_lstm", 101), pose=(1, 32, 33, 3))
    numbers = 33 * 3 + 3
    lstm = 2 * 4 * (64 * 64 + 64 * 64 + 64)
    assert counts.parameters == (numbers + 1) * 64 + lstm + 65 * 101
    assert counts.macs == 32 * (numbers * 64 + 2 * 4 * 2 * 64 * 64) + 64 * 101


@pytest.mark.parametrize(("normalized", "of_frames", "of_clip"), [("frame", 0, 0), ("clip", 1, 0), ("none", 1, 1)])
def test_what_place_and_size_change(normalized, of_frames, of_clip):
    """Another place and size of the body, in each frame or in the whole clip, where neither is an input by itself."""
    model, pose = network(normalized=normalized, body=False), joints()
    variables = random_variables.of(model, pose=pose)
    before = logits(model, variables, pose)
    rng = np.random.default_rng(1)
    for shape, matters in {(2, T, 1, 2): of_frames, (2, 1, 1, 2): of_clip}.items():
        moved = pose.copy()
        moved[..., :2] = moved[..., :2] * 1.5 + rng.uniform(-0.2, 0.2, shape)
        difference = np.abs(logits(model, variables, moved) - before).max()
        assert difference > 1e-3 if matters else difference < 1e-4, (shape, difference)


@pytest.mark.parametrize("scored", ["last", "mean", "each"])
def test_frames_without_anybody_leave_the_state_as_it_is(scored):
    """The same as a clip without those frames, whatever numbers stand there."""
    model, pose = network(scored=scored, velocities=False), joints()
    variables = random_variables.of(model, pose=pose)
    there = np.array([True, False, True, True, False, False])
    mask = np.broadcast_to(there[None, :, None], pose.shape[:3])
    pose[:, ~there] = 7.0
    found, short = logits(model, variables, pose, mask), logits(model, variables, pose[:, there])
    if scored == "each":
        found = found[:, there]
    np.testing.assert_allclose(found, short, rtol=1e-5, atol=1e-6)


def test_a_missing_joint_is_not_seen():
    model, pose = network(velocities=True), joints()
    variables = random_variables.of(model, pose=pose)
    mask = np.ones(pose.shape[:3], bool)
    mask[:, 2, 3] = False
    before = logits(model, variables, pose, mask)
    pose[:, 2, 3] = -3.0
    np.testing.assert_allclose(logits(model, variables, pose, mask), before, rtol=1e-6)
    assert np.abs(logits(model, variables, joints()) - before).max() > 1e-4


def test_nobody_at_all_has_finite_scores_and_gradients():
    model, pose = network(), joints()
    variables = random_variables.of(model, pose=pose)
    mask = np.zeros(pose.shape[:3], bool)

    def loss(params):
        return model.apply({"params": params}, np.zeros_like(pose), pose_mask=mask).logits.sum()

    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(jax.jit(jax.grad(loss))(variables["params"])))


def test_velocities_and_confidence_are_inputs_by_option():
    sizes = {
        name: models.summary(network(**options), pose=(1, T, J, 3)).parameters
        for name, options in {
            "all": {"velocities": True},
            "default": {},
            "places": {"confidence": False, "body": False},
        }.items()
    }
    assert sizes["all"] - sizes["default"] == 8 * 2 * J
    assert sizes["default"] - sizes["places"] == 8 * (J + 3)

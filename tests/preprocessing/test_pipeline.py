import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidjax.data.records import Batch
from vidjax.errors import ConfigError
from vidjax.preprocessing import augment
from vidjax.preprocessing.augment import ColourJitter
from vidjax.preprocessing.pipeline import Preprocessing

KEY = jax.random.key(0)


def batch_of(size=12, side=10, classes=4):
    """Every pixel is unique within its frame, and all frames of a clip are equal."""
    frame = np.random.default_rng(0).permutation(side * side * 3).reshape(side, side, 3) % 256
    clips = np.broadcast_to(frame, (size, 3, side, side, 3)).astype(np.uint8)
    return Batch(
        {"rgb": clips}, np.arange(size, dtype=np.int32) % classes, np.arange(size, dtype=np.int32), np.ones(size, bool)
    )


def test_nothing_but_normalisation_by_default():
    batch = batch_of()
    inputs, label = Preprocessing(mean=117.0, std=58.0).training(batch, KEY)
    np.testing.assert_allclose(inputs["rgb"], (batch.inputs["rgb"] - 117.0) / 58.0, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(label, batch.label)


def test_evaluation_cuts_the_centre_and_draws_nothing():
    batch = batch_of()
    everything = Preprocessing(crop=4, flip=True, mirror="invariant", colour=ColourJitter(0.5, 0.5, 0.5))
    inputs = everything.evaluation(batch)
    np.testing.assert_array_equal(inputs["rgb"], batch.inputs["rgb"][:, :, 3:7, 3:7])


def test_random_crops_are_windows_the_same_for_all_frames_and_reach_every_place():
    batch = batch_of(size=64, side=6)
    inputs, _ = Preprocessing(crop=4).training(batch, KEY)
    clips, frame = np.asarray(inputs["rgb"]), batch.inputs["rgb"][0, 0]
    seen = set()
    for clip in clips:
        assert (clip == clip[:1]).all()
        places = [(y, x) for y in range(3) for x in range(3) if (clip[0] == frame[y : y + 4, x : x + 4]).all()]
        assert len(places) == 1
        seen.update(places)
    assert len(seen) == 9


def test_flips_mirror_half_of_the_clips_and_permute_their_labels():
    batch = batch_of(size=200)
    mirror = (1, 0, 2, 3)
    inputs, label = Preprocessing(flip=True, mirror=mirror).training(batch, KEY)
    clips = np.asarray(inputs["rgb"])
    flipped = (clips == batch.inputs["rgb"][:, :, :, ::-1]).all(axis=(1, 2, 3, 4))
    kept = (clips == batch.inputs["rgb"]).all(axis=(1, 2, 3, 4))
    assert (flipped != kept).all()
    assert 70 < flipped.sum() < 130
    np.testing.assert_array_equal(label, np.where(flipped, np.array(mirror)[batch.label], batch.label))


def test_an_invariant_source_keeps_its_labels():
    batch = batch_of()
    _, label = Preprocessing(flip=True, mirror="invariant").training(batch, KEY)
    np.testing.assert_array_equal(label, batch.label)


@pytest.mark.parametrize("mirror, message", [(None, "does not say"), ("forbidden", "forbids")])
def test_undeclared_and_forbidden_flips_are_errors(mirror, message):
    with pytest.raises(ConfigError, match=f"preprocessing.flip=True.*{message}"):
        Preprocessing(flip=True, mirror=mirror)


def test_draws_follow_the_example_number():
    batch = batch_of(size=16)
    augmented = Preprocessing(crop=6, flip=True, mirror="invariant", colour=ColourJitter(0.5, 0.5, 0.5))
    whole, _ = augmented.training(batch, KEY)
    part, _ = augmented.training(jax.tree.map(lambda x: x[5:9], batch), KEY)
    np.testing.assert_allclose(whole["rgb"][5:9], part["rgb"], rtol=1e-4, atol=1e-3)
    later, _ = augmented.training(batch._replace(index=batch.index + 1600), KEY)
    assert np.abs(whole["rgb"] - later["rgb"]).max() > 1


@pytest.mark.parametrize("kind", ["brightness", "contrast", "saturation"])
def test_colour_jitter_is_one_draw_per_clip_within_its_strength(kind):
    clips = jax.random.uniform(KEY, (6, 3, 5, 5, 3), minval=100.0, maxval=120.0)
    keys = jax.random.split(KEY, 6)
    got = np.asarray(augment.colour_jitter(clips, ColourJitter(**{kind: 0.4}), keys))
    clips = np.asarray(clips)
    grey = (clips * np.array([0.299, 0.587, 0.114])).sum(-1, keepdims=True)
    centre = {"brightness": 0.0, "contrast": grey.mean((1, 2, 3, 4), keepdims=True), "saturation": grey}[kind]
    # With a centre c, the result is c + factor * (clip - c): one factor for the whole clip.
    factors = ((got - centre) * (clips - centre)).sum((1, 2, 3, 4)) / ((clips - centre) ** 2).sum((1, 2, 3, 4))
    assert (np.abs(factors - 1) <= 0.4).all() and factors.std() > 0.05
    want = centre + factors[:, None, None, None, None] * (clips - centre)
    np.testing.assert_allclose(got, want, rtol=2e-3)


def test_colour_jitter_of_strength_zero_changes_nothing():
    clips = jax.random.uniform(KEY, (2, 3, 5, 5, 3), maxval=255.0)
    got = augment.colour_jitter(clips, ColourJitter(), jax.random.split(KEY, 2))
    np.testing.assert_allclose(got, clips, rtol=1e-4, atol=1e-3)
    assert jnp.isfinite(got).all()

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.refusals import refused
from vidjax.config import data, loading
from vidjax.data.records import Batch
from vidjax.errors import ConfigError
from vidjax.preprocessing import augment
from vidjax.preprocessing.augment import ColorJitter
from vidjax.preprocessing.erasing import Erasing
from vidjax.preprocessing.mixing import MixedLabels, Mixing
from vidjax.preprocessing.pipeline import Preprocessing
from vidjax.preprocessing.warp import Warp

KEY = jax.random.key(0)
EVERYTHING = Preprocessing(
    crop=6,
    flip=True,
    mirror=(1, 0, 2, 3),
    warp=Warp(rotation=20.0, zoom=0.2, shift=0.1),
    color=ColorJitter(0.5, 0.5, 0.5),
    erasing=Erasing(0.5),
    mixing=Mixing(0.4, 1.0),
)


def batch_of(size=12, side=10, classes=4):
    """Every pixel is unique within its frame, and all frames of a clip are equal."""
    frame = np.random.default_rng(0).permutation(side * side * 3).reshape(side, side, 3) % 256
    clips = np.broadcast_to(frame, (size, 3, side, side, 3)).astype(np.uint8)
    return Batch(
        {"rgb": clips}, np.arange(size, dtype=np.int32) % classes, np.arange(size, dtype=np.int32), np.ones(size, bool)
    )


def training(preprocessing, batch):
    """Compiled: one by one its operations take longer to compile."""
    return jax.jit(preprocessing.training)(batch, KEY)


def test_nothing_but_normalization_by_default():
    batch = batch_of()
    inputs, label = training(Preprocessing(mean=117.0, std=58.0), batch)
    np.testing.assert_allclose(inputs["rgb"], (batch.inputs["rgb"] - 117.0) / 58.0, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(label, batch.label)


def test_evaluation_may_see_a_larger_square_than_training():
    batch = batch_of()
    pipeline = Preprocessing(crop=6, evaluation_crop=8)
    assert training(pipeline, batch)[0]["rgb"].shape[2:4] == (6, 6)
    np.testing.assert_array_equal(pipeline.evaluation(batch)["rgb"], batch.inputs["rgb"][:, :, 1:9, 1:9])


def test_evaluation_cuts_the_center_and_draws_nothing():
    batch = batch_of()
    inputs = EVERYTHING.evaluation(batch)
    np.testing.assert_array_equal(inputs["rgb"], batch.inputs["rgb"][:, :, 2:8, 2:8])


def test_random_crops_are_windows_the_same_for_all_frames_and_reach_every_place():
    batch = batch_of(size=64, side=6)
    inputs, _ = training(Preprocessing(crop=4), batch)
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
    inputs, label = training(Preprocessing(flip=True, mirror=mirror), batch)
    clips = np.asarray(inputs["rgb"])
    flipped = (clips == batch.inputs["rgb"][:, :, :, ::-1]).all(axis=(1, 2, 3, 4))
    kept = (clips == batch.inputs["rgb"]).all(axis=(1, 2, 3, 4))
    assert (flipped != kept).all()
    assert 70 < flipped.sum() < 130
    np.testing.assert_array_equal(label, np.where(flipped, np.array(mirror)[batch.label], batch.label))


def test_an_invariant_source_keeps_its_labels():
    batch = batch_of()
    _, label = training(Preprocessing(flip=True, mirror="invariant"), batch)
    np.testing.assert_array_equal(label, batch.label)


@pytest.mark.parametrize("mirror", [None, "forbidden"])
def test_undeclared_and_forbidden_flips_are_errors(mirror):
    with refused(ConfigError, "flip=True"):
        Preprocessing(flip=True, mirror=mirror)


def test_draws_follow_the_example_number():
    batch = batch_of(size=16)
    augment_all = jax.jit(EVERYTHING.training)
    whole, labels = augment_all(batch, KEY)
    for start in range(0, 16, 2):  # in pairs, since mixing needs them
        part, part_labels = augment_all(jax.tree.map(lambda x, start=start: x[start : start + 2], batch), KEY)
        np.testing.assert_allclose(whole["rgb"][start : start + 2], part["rgb"], rtol=1e-4, atol=2e-3)
        for one, other in zip(labels, part_labels, strict=True):
            np.testing.assert_allclose(one[start : start + 2], other, rtol=1e-5)
    later, _ = augment_all(batch._replace(index=batch.index + 1600), KEY)
    assert np.abs(whole["rgb"] - later["rgb"]).max() > 1


@pytest.mark.parametrize("kind", ["brightness", "contrast", "saturation"])
def test_color_jitter_is_one_draw_per_clip_within_its_strength(kind):
    clips = jax.random.uniform(KEY, (6, 3, 5, 5, 3), minval=100.0, maxval=120.0)
    keys = jax.random.split(KEY, 6)
    got = np.asarray(augment.color_jitter(clips, ColorJitter(**{kind: 0.4}), keys))
    clips = np.asarray(clips)
    gray = (clips * np.array([0.299, 0.587, 0.114])).sum(-1, keepdims=True)
    center = {"brightness": 0.0, "contrast": gray.mean((1, 2, 3, 4), keepdims=True), "saturation": gray}[kind]
    # With a center c, the result is c + factor * (clip - c): one factor for the whole clip.
    factors = ((got - center) * (clips - center)).sum((1, 2, 3, 4)) / ((clips - center) ** 2).sum((1, 2, 3, 4))
    assert (np.abs(factors - 1) <= 0.4).all() and factors.std() > 0.05
    want = center + factors[:, None, None, None, None] * (clips - center)
    np.testing.assert_allclose(got, want, rtol=2e-3)


def test_color_jitter_of_strength_zero_changes_nothing():
    clips = jax.random.uniform(KEY, (2, 3, 5, 5, 3), maxval=255.0)
    got = augment.color_jitter(clips, ColorJitter(), jax.random.split(KEY, 2))
    np.testing.assert_allclose(got, clips, rtol=1e-4, atol=1e-3)
    assert jnp.isfinite(got).all()


@pytest.mark.slow
def test_each_augmentation_has_draws_of_its_own():
    """Switching another one on changes neither where is cropped nor what is mirrored."""
    batch = batch_of(size=32)
    crop_and_flip = Preprocessing(crop=6, flip=True, mirror=(1, 0, 2, 3))
    want, label = training(crop_and_flip, batch)
    erased, same_label = training(dataclasses.replace(crop_and_flip, erasing=Erasing(1.0)), batch)
    clips = np.asarray(erased["rgb"])
    gone = (clips == 0).all(axis=-1)
    assert gone.any(axis=(1, 2, 3)).mean() > 0.8
    np.testing.assert_array_equal(np.where(gone[..., None], want["rgb"], clips), want["rgb"])
    np.testing.assert_array_equal(same_label, label)
    mixed, labels = training(dataclasses.replace(crop_and_flip, mixing=Mixing(mixup=1.0)), batch)
    own, weight = np.asarray(want["rgb"]), np.asarray(labels.weight)[:, None, None, None, None]
    other = own.reshape(16, 2, *own.shape[1:])[:, ::-1].reshape(own.shape)
    np.testing.assert_allclose(mixed["rgb"], weight * own + (1 - weight) * other, rtol=1e-4, atol=1e-3)
    assert isinstance(labels, MixedLabels)
    np.testing.assert_array_equal(labels.label, label)  # permuted by the flip, as the partner's
    np.testing.assert_array_equal(labels.partner, label.reshape(16, 2)[:, ::-1].ravel())


@pytest.mark.slow
def test_a_warp_sees_beyond_the_crop():
    """It comes first, so what a rotation brings in is the picture and not a border."""
    batch = batch_of(size=8, side=40)
    warp = Warp(rotation=30.0)
    moved, _ = training(Preprocessing(warp=warp), batch)
    cut, _ = training(Preprocessing(warp=warp, crop=38), batch)
    places = [(y, x) for y in range(3) for x in range(3)]
    for whole, window in zip(np.asarray(moved["rgb"]), np.asarray(cut["rgb"]), strict=True):
        assert any(np.allclose(whole[:, y : y + 38, x : x + 38], window, atol=0.01) for y, x in places)


def test_the_papers_recipe_is_the_ucf101_preset():
    """Karpathy et al. 2014, section 4.1: center region at 200 x 200, a random 170 x 170 of it, flips, minus 117."""
    config = loading.load("configs/single_frame.py:ucf101")
    clip = data.clip(config)
    assert (clip.short_side, clip.crop, clip.crop_position, clip.resize) == (200, 200, "center", "short_side")
    section = config.preprocessing
    recipe = Preprocessing(section.crop, section.flip, "invariant", mean=section.mean, std=section.std)
    unused = {"rotation", "zoom", "shift", "erasing", "mixup", "cutmix"}
    assert not any(section[key] for key in unused | {"brightness", "contrast", "saturation"})
    frame = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    batch = Batch(
        {"rgb": np.broadcast_to(frame, (4, 1, 200, 200, 3))}, np.zeros(4, int), np.arange(4), np.ones(4, bool)
    )
    inputs, _ = training(recipe, batch)
    windows = np.lib.stride_tricks.sliding_window_view(frame[..., 0], (170, 170))
    mirrored = np.lib.stride_tricks.sliding_window_view(frame[:, ::-1, 0], (170, 170))
    for clip_seen in np.asarray(inputs["rgb"]):
        first_row = clip_seen[0, 0, :, 0] + 117
        found = [
            (view, *place)
            for view in (windows, mirrored)
            for place in np.argwhere((view[:, :, 0] == first_row).all(axis=-1))
        ]
        ((view, y, x),) = found
        np.testing.assert_array_equal(view[y, x], clip_seen[0, :, :, 0] + 117)

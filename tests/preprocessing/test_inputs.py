"""Several inputs of an example see the same warp, crop and mirror image, each by its own rule."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.refusals import refused
from vidjax.data.flip_rule import why_flip_not_allowed
from vidjax.data.inputs import DIFFERENCE, GRADIENT, GRAY, RGB, Input, Negate, Permute
from vidjax.data.records import Batch
from vidjax.errors import ConfigError
from vidjax.preprocessing.augment import ColorJitter
from vidjax.preprocessing.erasing import Erasing
from vidjax.preprocessing.geometry import Geometry
from vidjax.preprocessing.mixing import Mixing
from vidjax.preprocessing.pipeline import Preprocessing
from vidjax.preprocessing.warp import Affine, Warp

KEY = jax.random.key(3)
SIDE = 24
POSE = Input("pose", (2, 3), "float32", space="points", mirror=Permute((1, 0)))
FLOW = Input("flow", (2,), "uint8", vectors=True, mirror=Negate((0,)), mean=(128.0,), std=(32.0,))
MARKED = Input("marked", (1,), "float32", mean=(0.0,), std=(1.0,))
SECOND = Input("rgb_2", (3,), "uint8", reader="video", color=True)


def batch_of(inputs, size=40, mirrored=None):
    index = np.arange(size, dtype=np.int32)
    return Batch(inputs, index % 2, index, np.ones(size, bool), mirrored)


def marked(size=40):
    """Pictures with one bright blob, and the same place as key point 0; key point 1 is missing."""
    rng = np.random.default_rng(0)
    places = rng.uniform(6, SIDE - 7, (size, 2)).round()
    rows, columns = np.mgrid[:SIDE, :SIDE]
    blobs = np.exp(-((rows - places[:, :1, None]) ** 2 + (columns - places[:, 1:, None]) ** 2) / 4)
    points = np.zeros((size, 1, 2, 3), np.float32)
    points[:, 0, 0] = np.c_[(places[:, ::-1] + 0.5) / SIDE, np.full(size, 0.9)]
    mask = np.zeros((size, 1, 2), bool)
    mask[:, :, 0] = True
    return batch_of({"marked": blobs[:, None, :, :, None].astype(np.float32), "pose": points, "pose_mask": mask}, size)


def where(picture):
    """Center of the bright blob, x and y as shares; None where it is cut off."""
    h, w = picture.shape
    if picture.max() < 0.6 or max(picture[[0, -1]].max(), picture[:, [0, -1]].max()) > 0.15:
        return None
    heavy = np.where(picture > 0.15, picture, 0)
    total = heavy.sum()
    x, y = (heavy.sum(0) * np.arange(w)).sum() / total, (heavy.sum(1) * np.arange(h)).sum() / total
    return (x + 0.5) / w, (y + 0.5) / h


@pytest.mark.parametrize(
    "options",
    [
        {"crop": 15},
        {"flip": True},
        {"warp": Warp(30.0, 0.3, 0.1)},
        {"crop": 15, "flip": True, "warp": Warp(30.0, 0.3, 0.1)},
    ],
)
def test_key_points_lie_where_the_picture_shows_them(options):
    preprocessing = Preprocessing(inputs=(MARKED, POSE), mirror="invariant", **options)
    batch = marked()
    seen, _ = jax.jit(preprocessing.training)(batch, KEY)
    pictures, points, mask = (np.asarray(seen[name]) for name in ("marked", "pose", "pose_mask"))
    flipped = points[:, 0, 1, 2] > 0  # the confidence has gone to the other key point
    assert flipped.any() == bool(options.get("flip")) and not flipped.all()
    found = 0
    for picture, at, is_there, is_flipped in zip(
        pictures[:, 0, :, :, 0], points[:, 0], mask[:, 0], flipped, strict=True
    ):
        place = where(picture)
        if place is None:
            continue
        found += 1
        assert is_there.tolist() == [not is_flipped, is_flipped]
        np.testing.assert_allclose(at[int(is_flipped)], [*place, 0.9], atol=0.02)
        assert (at[1 - int(is_flipped)] == 0).all()  # what is missing stays 0
    assert found > 8


def test_key_points_outside_of_the_picture_are_missing():
    points = np.array([[[[0.05, 0.5, 1.0], [0.5, 0.5, 1.0]]]], np.float32)
    batch = batch_of({"marked": np.zeros((1, 1, SIDE, SIDE, 1), np.float32), "pose": points}, 1)
    seen = Preprocessing(inputs=(MARKED, POSE), crop=12).evaluation(batch)
    assert np.asarray(seen["pose_mask"])[0, 0].tolist() == [False, True]
    np.testing.assert_allclose(seen["pose"][0, 0], [[0, 0, 0], [0.5, 0.5, 1]], atol=1e-6)


@pytest.mark.parametrize("crop", [None, 11, 12])  # the rest is odd and even
def test_mirrored_views_show_what_mirroring_the_video_would(crop):
    batch = marked(6)
    mirrored = np.arange(6) % 2 == 1
    preprocessing = Preprocessing(inputs=(MARKED, POSE), crop=crop)
    seen = preprocessing.evaluation(batch._replace(mirrored=mirrored))
    turned = dict(batch.inputs)
    turned["marked"] = turned["marked"][:, :, :, ::-1]
    turned["pose"] = turned["pose"][:, :, ::-1] * [-1, 1, 1] + [1, 0, 0]
    turned["pose_mask"] = turned["pose_mask"][:, :, ::-1]
    plain, other = preprocessing.evaluation(batch), preprocessing.evaluation(batch._replace(inputs=turned))
    for name, values in seen.items():
        expected = np.where(mirrored.reshape(-1, *(1,) * (values.ndim - 1)), other[name], plain[name])
        np.testing.assert_allclose(values, expected, atol=1e-6, err_msg=name)


def test_flow_keeps_its_meaning_when_it_is_mirrored():
    """Motion to the right by 1 becomes motion to the left; 128 stands for none."""
    flow = np.full((40, 2, 8, 8, 2), 128, np.uint8)
    flow[..., 0] += 32
    flow[..., 1] += 16
    flow[:, :, :, :4] = 128  # the left half stands still
    seen, _ = Preprocessing(inputs=(FLOW,), flip=True, mirror="invariant").training(batch_of({"flow": flow}), KEY)
    seen = np.asarray(seen["flow"])
    flipped = seen[:, 0, 0, 0, 0] != 0
    assert 8 < flipped.sum() < 32
    np.testing.assert_allclose(seen[~flipped][:, :, :, 4:], np.broadcast_to([1.0, 0.5], (sum(~flipped), 2, 8, 4, 2)))
    np.testing.assert_allclose(seen[flipped][:, :, :, :4], np.broadcast_to([-1.0, 0.5], (sum(flipped), 2, 8, 4, 2)))
    assert (seen[flipped][:, :, :, 4:] == 0).all()


def test_flow_is_turned_and_enlarged_as_the_picture_is():
    """A vector from one place to another in the picture ends where the warp takes that place."""
    maps = Affine(*(jnp.array([value]) for value in (0.4, 1.2, 0.1, -0.05)))
    points = np.array([[[[0.3, 0.4], [0.5, 0.45]]]], np.float32)
    geometry = Geometry(maps)
    moved, _ = geometry.of_points(jnp.asarray(points), None, None)
    vector = geometry.of_values(jnp.asarray(points[:, :, 1:] - points[:, :, :1])[:, :, :, None], FLOW)
    np.testing.assert_allclose(vector[0, 0, 0, 0], moved[0, 0, 1] - moved[0, 0, 0], atol=1e-6)


def test_a_pair_sees_the_same_places_and_colors():
    clips = np.random.default_rng(0).integers(0, 256, (40, 2, 16, 16, 3), np.uint8)
    preprocessing = Preprocessing(
        inputs=(RGB, SECOND),
        crop=12,
        flip=True,
        mirror="invariant",
        warp=Warp(5.0),
        color=ColorJitter(0.4),
        erasing=Erasing(0.5),
        mixing=Mixing(0.4),
        mean=(100.0, 110.0, 120.0),
        std=(50.0, 60.0, 70.0),
    )
    seen, _ = jax.jit(preprocessing.training)(batch_of({"rgb": clips, "rgb_2": clips}), KEY)
    np.testing.assert_array_equal(seen["rgb"], seen["rgb_2"])


def test_each_channel_has_its_mean():
    clips = np.full((1, 1, 4, 4, 3), 120, np.uint8)
    seen = Preprocessing(mean=(100.0, 110.0, 120.0), std=(10.0, 20.0, 30.0)).evaluation(batch_of({"rgb": clips}, 1))
    np.testing.assert_allclose(seen["rgb"][0, 0, 0, 0], [2.0, 0.5, 0.0])
    seen = Preprocessing(mean=(100.0, 110.0, 120.0), dtype=jnp.bfloat16).evaluation(batch_of({"rgb": clips}, 1))
    assert seen["rgb"].dtype == jnp.bfloat16


def test_numbers_pass_through():
    sound = Input("sound", (5,), "float32", space=None)
    values = np.random.default_rng(0).normal(size=(4, 3, 5)).astype(np.float32)
    mask = np.ones((4, 3), bool)
    mask[1, 2] = False
    preprocessing = Preprocessing(inputs=(sound,), crop=7, flip=True, mirror="invariant", mean=117.0, std=58.0)
    seen, _ = preprocessing.training(batch_of({"sound": values, "sound_mask": mask}, 4), KEY)
    np.testing.assert_array_equal(seen["sound"], np.where(mask[..., None], values, 0))
    np.testing.assert_array_equal(seen["sound_mask"], mask)


def test_what_an_input_does_not_allow():
    fixed = Input("text", (4,), "float32", space=None, mirror="forbidden")
    with refused(ConfigError, "flip=True", "text"):
        Preprocessing(inputs=(RGB, fixed), flip=True, mirror="invariant")
    with refused(ConfigError, "mixup", "cutmix", "pose"):
        Preprocessing(inputs=(RGB, POSE), mixing=Mixing(0.2))
    assert why_flip_not_allowed("invariant", (RGB, POSE)) is None


def test_gray_difference_and_gradient_are_made_of_what_is_seen():
    """After the crop and the mirror image, of normalized pictures."""
    clips = np.random.default_rng(0).integers(0, 256, (6, 4, SIDE, SIDE, 3)).astype(np.uint8)
    pairs = np.repeat(clips, 2, axis=1)
    pairs[:, 1::2] = np.roll(clips, 1, axis=2)
    options = {"crop": 16, "flip": True, "mirror": "invariant", "mean": 100.0, "std": 50.0}
    inputs = {
        "rgb": (RGB, clips),
        "gray": (GRAY, clips),
        "gradient": (GRADIENT, clips),
        "difference": (DIFFERENCE, pairs),
    }
    seen = {}
    for name, (spec, frames) in inputs.items():
        preprocessing = Preprocessing(inputs=(spec,), **options)
        made, _ = preprocessing.training(batch_of({name: frames}, 6), KEY)
        assert made[name].shape == preprocessing.specs(4, 16, 6)[name].shape
        seen[name] = np.asarray(made[name])
    luma = seen["rgb"] @ [0.299, 0.587, 0.114]
    np.testing.assert_allclose(seen["gray"][..., 0], luma, atol=1e-5)
    np.testing.assert_allclose(seen["gradient"][..., 0], np.gradient(luma, axis=3), atol=1e-5)
    np.testing.assert_allclose(seen["gradient"][..., 1], np.gradient(luma, axis=2), atol=1e-5)
    both, _ = Preprocessing(inputs=(RGB,), **options).training(batch_of({"rgb": pairs}, 6), KEY)
    both = np.asarray(both["rgb"])
    np.testing.assert_allclose(seen["difference"], both[:, 1::2] - both[:, ::2], atol=1e-5)

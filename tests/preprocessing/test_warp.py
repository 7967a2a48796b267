import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from vidjax.preprocessing.warp import Warp, affine, apply_warp, draw_warp

KEY = jax.random.key(0)


def clip_of(h=11, w=15, seed=0):
    return np.random.default_rng(seed).uniform(0, 255, (2, h, w, 3)).astype(np.float32)


@pytest.mark.parametrize(
    "angle, zoom, down, right", [(0.3, 1.0, 0.0, 0.0), (0.0, 0.7, 0.1, -0.2), (-1.1, 1.4, -0.3, 0.25), (3.0, 1.1, 0, 0)]
)
def test_the_affine_map_is_that_of_scipy(angle, zoom, down, right):
    clip = clip_of()
    _, h, w, _ = clip.shape
    # scipy maps a place of the result to one of the input, rows first, for one plane.
    inverse = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) / zoom
    middle = np.array([h - 1, w - 1]) / 2
    offset = middle - inverse @ (middle + np.array([down * h, right * w]))
    want = np.stack(
        [
            np.stack(
                [ndimage.affine_transform(f[..., c], inverse, offset, order=1, mode="nearest") for c in range(3)], -1
            )
            for f in clip.astype(np.float64)
        ]
    )
    got = affine(jnp.asarray(clip), *map(jnp.float32, (angle, zoom, down, right)))
    np.testing.assert_allclose(got, want, atol=0.02)


def test_quarter_turns_are_counter_clockwise():
    clip = clip_of(9, 9)
    got = affine(jnp.asarray(clip), jnp.float32(np.pi / 2), *map(jnp.float32, (1, 0, 0)))
    np.testing.assert_allclose(got, np.rot90(clip, axes=(1, 2)), atol=0.01)


def test_shifts_go_down_and_right_and_repeat_the_border():
    clip = clip_of(10, 20)
    got = np.asarray(affine(jnp.asarray(clip), *map(jnp.float32, (0, 1, 0.2, 0.1))))
    np.testing.assert_allclose(got[:, 2:, 2:], clip[:, :-2, :-2], atol=0.01)
    np.testing.assert_allclose(got[:, :2, 2:], np.repeat(clip[:, :1, :-2], 2, axis=1), atol=0.01)
    np.testing.assert_allclose(got[:, 2:, :2], np.repeat(clip[:, :-2, :1], 2, axis=2), atol=0.01)


def test_zoom_enlarges_about_the_center():
    clip = clip_of(9, 9)
    got = affine(jnp.asarray(clip), *map(jnp.float32, (0, 2, 0, 0)))
    np.testing.assert_allclose(got[:, ::2, ::2], clip[:, 2:7, 2:7], atol=0.01)


def measured(warp, count=300):
    """The linear part and the shift of each draw, from clips that show their own coordinates."""
    rows, columns = np.mgrid[:21, :31].astype(np.float32)
    frame = np.stack([rows, columns, np.ones_like(rows)], axis=-1)
    clips = np.broadcast_to(frame, (count, 2, *frame.shape))
    moved = np.asarray(apply_warp(jnp.asarray(clips), draw_warp(warp, jax.random.split(KEY, count), jnp.float32)))
    assert (moved[:, 0] == moved[:, 1]).all()  # the same for all frames
    np.testing.assert_allclose(moved[..., 2], 1, rtol=1e-5)
    return moved[:, 0, :, :, :2]


@pytest.mark.slow
def test_draws_fill_their_ranges_and_nothing_else_moves():
    turned = measured(Warp(rotation=20))
    across = turned[:, 10, 18] - turned[:, 10, 12]  # 6 pixels to the right in the result
    angles = np.rad2deg(np.arctan2(across[:, 0], across[:, 1]))
    np.testing.assert_allclose(np.hypot(*across.T), 6, rtol=1e-4)
    np.testing.assert_allclose(turned[:, 10, 15], np.broadcast_to([10, 15], (300, 2)), atol=1e-3)
    assert -20 <= angles.min() < -18 and 18 < angles.max() <= 20 and abs(angles.mean()) < 2.5

    zoomed = measured(Warp(zoom=0.25))
    factors = 6 / (zoomed[:, 10, 18, 1] - zoomed[:, 10, 12, 1])
    np.testing.assert_allclose(factors, 6 / (zoomed[:, 13, 15, 0] - zoomed[:, 7, 15, 0]), rtol=1e-4)
    assert 0.75 <= factors.min() < 0.78 and 1.22 < factors.max() <= 1.25

    moved = np.array([10, 15]) - measured(Warp(shift=0.2))[:, 10, 15]
    for shifts, side in zip(moved.T, (21, 31)):
        assert -0.2 <= shifts.min() / side < -0.18 and 0.18 < shifts.max() / side <= 0.2 + 1e-6
    assert abs(np.corrcoef(moved.T)[0, 1]) < 0.2

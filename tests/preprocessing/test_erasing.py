import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidjax.preprocessing.erasing import Erasing, random_erasing

H, W = 40, 60


def erased(erasing, count=600, seed=0):
    """Which pixels of each clip are erased, bool [count, H, W]."""
    clips = np.ones((count, 2, H, W, 3), np.float32)
    erase = jax.jit(random_erasing, static_argnums=1)
    result = np.asarray(erase(clips, erasing, jax.random.split(jax.random.key(seed), count)))
    assert set(np.unique(result)) <= {0.0, 1.0}
    assert (result == result[:, :1, :, :, :1]).all()  # the same in all frames and channels
    return result[:, 0, :, :, 0] == 0


def rectangles(masks):
    """Height, width, top and left of each erased rectangle; whatever is erased must be one."""
    found = []
    for mask in masks[masks.any(axis=(1, 2))]:
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        assert mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        assert mask.sum() == len(rows) * len(columns) == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
        found.append((len(rows), len(columns), rows[0], columns[0]))
    return np.array(found).T


def test_rectangles_have_the_papers_areas_and_aspects_and_lie_anywhere():
    masks = erased(Erasing(probability=1.0))
    height, width, top, left = rectangles(masks)
    assert len(height) == 600
    area, aspect = height * width / (H * W), height / width
    assert 0.015 < area.min() < 0.04 and 0.36 < area.max() < 0.42 and 0.17 < area.mean() < 0.22
    assert 0.25 < aspect.min() < 0.36 and 2.7 < aspect.max() < 4
    assert abs(np.log(aspect).mean()) < 0.1  # tall and wide ones are equally frequent
    assert top.min() == left.min() == 0 and (top + height).max() == H and (left + width).max() == W


def test_probability_and_options():
    share = erased(Erasing(probability=0.3)).any(axis=(1, 2)).mean()
    assert abs(share - 0.3) < 5 * np.sqrt(0.21 / 600)
    assert not erased(Erasing(probability=0.0)).any()
    height, width, _, _ = rectangles(erased(Erasing(1.0, area_min=0.1, area_max=0.1, aspect_min=1.0), 50))
    assert set(height) == set(width) == {round(np.sqrt(0.1 * H * W))}


def test_what_never_fits_leaves_the_clip_whole():
    assert not erased(Erasing(1.0, area_min=1.0, area_max=1.0, aspect_min=1.0), 20).any()


@pytest.mark.slow
def test_draws_belong_to_the_key_of_the_clip():
    keys = jax.random.split(jax.random.key(1), 8)
    clips = jnp.ones((8, 1, H, W, 3))
    whole = random_erasing(clips, Erasing(1.0), keys)
    np.testing.assert_array_equal(whole[3:5], random_erasing(clips[3:5], Erasing(1.0), keys[3:5]))

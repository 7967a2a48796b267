import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from tests.refusals import refused
from vidjax.preprocessing.mixing import MixedLabels, Mixing, mix, swap_neighbors

H, W = 24, 36


def mixed(mixing, count=400, seed=0):
    """Clip i shows the number i: the mixture tells the share of the example itself in each pixel."""
    numbers = np.arange(count, dtype=np.float32)
    clips = jnp.asarray(np.broadcast_to(numbers[:, None, None, None, None], (count, 2, H, W, 3)))
    got, labels = mix(clips, jnp.arange(count), mixing, jax.random.split(jax.random.key(seed), count))
    got = np.asarray(got)
    assert (got == got[:, :1, :, :, :1]).all()  # the same for all frames
    partner = np.arange(count) ^ 1
    np.testing.assert_array_equal(labels.label, np.arange(count))
    np.testing.assert_array_equal(labels.partner, partner)
    return (got[:, 0, :, :, 0] - partner[:, None, None]) / (numbers - partner)[:, None, None], np.asarray(labels.weight)


def test_neighbors_are_exchanged():
    np.testing.assert_array_equal(swap_neighbors(jnp.arange(8).reshape(4, 2)), [[2, 3], [0, 1], [6, 7], [4, 5]])
    with refused(ValueError, "3"):
        swap_neighbors(jnp.arange(3))


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_mixup_weights_are_beta_and_multiply_every_pixel(alpha):
    shares, weight = mixed(Mixing(mixup=alpha))
    np.testing.assert_allclose(shares, np.broadcast_to(weight[:, None, None], shares.shape), atol=1e-4)
    assert stats.kstest(weight, stats.beta(alpha, alpha).cdf).pvalue > 0.01


def test_cutmix_shows_the_neighbor_in_a_rectangle_and_weighs_by_its_area():
    shares, weight = mixed(Mixing(cutmix=1.0))
    assert set(np.unique(shares)) == {0.0, 1.0}
    np.testing.assert_allclose(weight, shares.mean(axis=(1, 2)), rtol=1e-5, atol=1e-6)
    inside = []
    for other in shares == 0:
        rows, columns = np.flatnonzero(other.any(axis=1)), np.flatnonzero(other.any(axis=0))
        if not len(rows):
            continue
        assert other.sum() == len(rows) * len(columns)
        at_border = rows[0] == 0 or rows[-1] == H - 1 or columns[0] == 0 or columns[-1] == W - 1
        if not at_border:  # the frame's aspect ratio, where the border does not cut
            inside.append(len(columns) - len(rows) * W / H)
    assert len(inside) > 20 and np.abs(inside).max() <= W / H + 1
    # Beta(1, 1) is uniform; cut at the border, the other's share is below its 1/2 on average.
    assert 0.25 < (1 - weight).mean() < 0.45


def test_both_are_chosen_by_example_half_and_half():
    shares, weight = mixed(Mixing(mixup=1.0, cutmix=1.0))
    constant = (np.ptp(shares, axis=(1, 2)) < 1e-3) & (weight > 0) & (weight < 1)
    assert abs(constant.mean() - 0.5) < 0.12
    np.testing.assert_allclose(weight, shares.mean(axis=(1, 2)), atol=1e-4)


@pytest.mark.slow
def test_draws_belong_to_the_key_and_pairs_to_the_position():
    keys = jax.random.split(jax.random.key(2), 8)
    clips = jax.random.uniform(jax.random.key(3), (8, 2, H, W, 3))
    whole, labels = mix(clips, jnp.arange(8), Mixing(0.8, 1.0), keys)
    part, part_labels = mix(clips[2:6], jnp.arange(2, 6), Mixing(0.8, 1.0), keys[2:6])
    np.testing.assert_allclose(whole[2:6], part, rtol=1e-6)
    np.testing.assert_array_equal(labels.partner[2:6], part_labels.partner)
    np.testing.assert_allclose(labels.weight[2:6], part_labels.weight, rtol=1e-6)


def test_the_dominant_label_has_the_larger_share():
    labels = MixedLabels(jnp.array([1, 2, 3]), jnp.array([4, 5, 6]), jnp.array([0.6, 0.5, 0.4]))
    assert labels.dominant.tolist() == [1, 2, 6]

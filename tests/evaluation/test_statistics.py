import numpy as np
import pytest

from tests.refusals import refused
from vidjax.evaluation.statistics import bootstrap_interval, wilson_interval


def test_clusters_of_one_video_are_resampled_videos():
    right = np.random.default_rng(1).random(60) < 0.7
    means = [np.random.default_rng(seed).choice(right, 60).mean() for seed in range(4000)]
    want = np.percentile(means, [2.5, 97.5])
    got = bootstrap_interval(right, np.ones(60, int))
    np.testing.assert_allclose(got, want, atol=1.01 / 60)  # the draws differ: by one video at most
    # The normal approximation, which is independent of any draw.
    half = 1.96 * np.sqrt(right.mean() * (1 - right.mean()) / 60)
    np.testing.assert_allclose(got, (right.mean() - half, right.mean() + half), atol=0.02)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_where_all_clusters_are_equal_there_is_no_doubt(share):
    videos = np.array([1, 4, 2])
    assert bootstrap_interval(share * videos, videos) == (share, share)


def test_all_draws_of_two_clusters():
    # Two clusters, of 1 and 3 videos, the small one right: draws give 1, 1/4 (twice) or 0.
    assert bootstrap_interval([1, 0], [1, 3]) == (0.0, 1.0)
    low, high = bootstrap_interval([1, 0], [1, 3], level=0.4)  # inside of the middle half, which is all 1/4
    assert (low, high) == (0.25, 0.25)


def test_whole_clusters_make_wider_intervals():
    right = np.random.default_rng(0).random(40) < 0.5
    alone = bootstrap_interval(np.repeat(right, 5), np.ones(200))
    together = bootstrap_interval(5 * right, np.full(40, 5))
    ratio = (together[1] - together[0]) / (alone[1] - alone[0])
    assert ratio == pytest.approx(np.sqrt(5), rel=0.1)


def test_an_interval_covers_the_true_accuracy_in_95_of_100_cases():
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(400):
        # Clusters of 1 to 5 videos, each with an accuracy of its own: 60% on average.
        videos = rng.integers(1, 6, 60)
        right = rng.binomial(videos, rng.beta(3, 2, 60))
        low, high = bootstrap_interval(right, videos, resamples=1000, seed=trial)
        covered += low <= 0.6 <= high
    assert 0.92 <= covered / 400 <= 0.98


def test_the_same_seed_gives_the_same_interval_in_any_chunks(monkeypatch):
    right, videos = np.random.default_rng(0).random(50), np.full(50, 4)  # shares without ties
    once = bootstrap_interval(right, videos)
    assert once == bootstrap_interval(right, videos)
    assert once != bootstrap_interval(right, videos, seed=1)
    monkeypatch.setattr("vidjax.evaluation.statistics._CHUNK", 150)
    assert once == bootstrap_interval(right, videos)


@pytest.mark.parametrize("correct, videos", [([], []), ([1.0], [1, 2])])
def test_what_gives_no_interval(correct, videos):
    with refused(ValueError, f"({len(correct)},)", f"({len(videos)},)"):
        bootstrap_interval(correct, videos)


def test_wilson_interval():
    assert wilson_interval(95, 100) == pytest.approx((0.8882, 0.9785), abs=1e-3)  # tabulated for 95 of 100
    assert wilson_interval(0, 10)[0] == 0.0
    assert wilson_interval(10, 10)[1] == pytest.approx(1.0)

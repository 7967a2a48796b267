import json

import numpy as np
import pytest

from tests.refusals import refused
from vidjax.data.records import Source, Video
from vidjax.data.views import ViewSpec
from vidjax.errors import DataError, DivergedError
from vidjax.evaluation import metrics
from vidjax.evaluation.predictions import PredictionsFile
from vidjax.evaluation.scores import average_views
from vidjax.evaluation.view_scores import ViewScores

CLASSES = ("a", "b", "c")


def videos(labels):
    return tuple(Video.of(f"v{i}", f"v{i}.avi", label, f"g{i}") for i, label in enumerate(labels))


def source(labels):
    return Source("toy", "1", CLASSES, (), (), videos(labels))


def collect(labels, scores, views, mirror=None, order=None, masked=()):
    """Adds scores [video, view, K] in the given order, two views a batch, with padding at the end."""
    collected = ViewScores(videos(labels), views, len(CLASSES), mirror)
    flat = np.asarray(scores, np.float32).reshape(-1, len(CLASSES))
    order = list(order if order is not None else range(len(flat)))
    for start in range(0, len(order), 2):
        numbers = order[start : start + 2]
        mask = [n not in masked for n in numbers]
        padded = numbers + [len(flat)] * (2 - len(numbers))
        batch = np.stack([flat[n] if n < len(flat) else np.full(3, 9) for n in padded])
        collected.add(np.array(padded), np.array(mask + [False] * (2 - len(mask))), batch, np.ones(2))
    return collected.records(source(labels), "test", "probabilities", {})


def test_views_are_averaged_per_video_in_any_order():
    scores = [[[0.6, 0.3, 0.1], [0.0, 0.9, 0.1]], [[0.2, 0.2, 0.6], [0.1, 0.1, 0.8]]]
    want = collect([0, 2], scores, ViewSpec(clips=2))
    assert collect([0, 2], scores, ViewSpec(clips=2), order=[3, 0, 2, 1]) == want
    np.testing.assert_allclose(want.videos[0].scores, [0.3, 0.6, 0.1], atol=1e-6)
    assert [video.view_ranks for video in want.videos] == [[0, 2], [0, 0]]
    first = want.videos[0]
    assert (first.path, first.label_name, first.predicted_name) == ("v0.avi", "a", "b")
    summary = metrics.compute_accuracies(want)
    assert summary.clip_top1 == 0.75
    assert summary.clip_top5 == 1.0
    assert summary.video_top1 == 0.5
    assert summary.video_top5 == 1.0
    assert PredictionsFile.from_json(json.loads(json.dumps(want.to_json())), "file") == want


def test_scores_of_a_mirrored_view_go_back_to_their_classes():
    scores = [[[0.7, 0.2, 0.1], [0.2, 0.7, 0.1]]]
    got = collect([0], scores, ViewSpec(flip=True), mirror=(1, 0, 2))
    np.testing.assert_allclose(got.videos[0].scores, [0.7, 0.2, 0.1], atol=1e-6)


def test_a_video_with_an_unread_view_is_failed_and_not_counted():
    scores = [[[1, 0, 0], [1, 0, 0]], [[1, 0, 0], [1, 0, 0]]]
    got = collect([0, 0], scores, ViewSpec(clips=2), masked={3})
    assert [video.id for video in got.videos] == ["v0"]
    assert [failure.id for failure in got.failed] == ["v1"]
    assert metrics.compute_accuracies(got).failed_videos == 1


def test_a_view_that_comes_twice_is_an_error():
    with refused(DataError, "v0", "0"):
        collect([0, 0], [[[1, 0, 0]], [[1, 0, 0]]], ViewSpec(), order=[0, 1, 0])


@pytest.mark.parametrize("counts", [(5, 3, 2), (1, 7, 4)])
def test_constant_scores_give_the_share_of_the_first_class(counts):
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    got = collect(labels, np.full((len(labels), 2, 3), 1 / 3), ViewSpec(clips=2))
    summary = metrics.compute_accuracies(got)
    assert summary.video_top1 == summary.clip_top1 == counts[0] / sum(counts)
    assert summary.mean_class_accuracy == pytest.approx(1 / 3)
    assert summary.per_class_correct == [counts[0], 0, 0]
    assert summary.per_class_videos == list(counts)
    np.testing.assert_array_equal(metrics.confusion_matrix(got)[:, 0], counts)


def test_scores_far_below_one_keep_their_order():
    scores = np.array([[[1.0, 1e-12, 1e-9]]])
    got = collect([2], scores, ViewSpec())
    assert got.videos[0].view_ranks == [1]
    assert metrics.rank(np.asarray(got.videos[0].scores), 2) == 1


def test_averaging_rules_differ():
    logits = np.array([[4.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 1.0, 0.0]])
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    by_logits = average_views(logits, "logits")
    np.testing.assert_allclose(by_logits, np.exp(logits.mean(0)) / np.exp(logits.mean(0)).sum())
    np.testing.assert_allclose(average_views(probabilities, "probabilities"), probabilities.mean(0))
    assert not np.allclose(by_logits, probabilities.mean(0))


def test_class_without_videos_is_left_out_of_the_mean():
    got = collect([0, 0, 1], [[[1, 0, 0]], [[0, 1, 0]], [[0, 1, 0]]], ViewSpec())
    assert metrics.compute_accuracies(got).mean_class_accuracy == pytest.approx((0.5 + 1.0) / 2)


def test_scores_that_are_no_numbers_are_refused():
    scores = [[[0.6, 0.3, 0.1]], [[0.2, float("nan"), 0.6]]]
    with refused(DivergedError, "v1"):
        collect([0, 2], scores, ViewSpec())
    assert collect([0, 2], scores, ViewSpec(), masked=(1,)).failed[0].id == "v1"

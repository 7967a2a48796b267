import math
import subprocess
import sys

import numpy as np

from vidjax.evaluation import metrics
from vidjax.evaluation.predictions import PredictionsFile, VideoPrediction


def video(label, scores, view_ranks=(0,), group="g"):
    return VideoPrediction(
        id="v", group=group, label=label, scores=scores, views=len(view_ranks), view_ranks=list(view_ranks)
    )


def predicted(classes, videos):
    return PredictionsFile(
        dataset="toy",
        split="1",
        part="test",
        classes=[*classes],
        average="probabilities",
        views_per_video=1,
        videos=videos,
        failed=[],
    )


def test_top5_counts_five():
    scores = [0.3, 0.2, 0.15, 0.12, 0.11, 0.1, 0.02]
    assert metrics.compute_accuracies(predicted("abcdefg", [video(4, scores, [4])])).video_top5 == 1.0
    assert metrics.compute_accuracies(predicted("abcdefg", [video(5, scores, [4])])).video_top5 == 0.0


def test_confusion_counts():
    counts = metrics.confusion_counts([0, 0, 1, 2], [0, 1, 1, 0], 3)
    np.testing.assert_array_equal(counts, [[1, 1, 0], [0, 1, 0], [1, 0, 0]])


def test_confusion_matrix_of_a_predictions_file():
    scores = [[0.6, 0.4], [0.5, 0.5], [0.1, 0.9]]  # of equal scores the lower class
    videos = [video(label, of_video) for label, of_video in zip([0, 1, 1], scores)]
    np.testing.assert_array_equal(metrics.confusion_matrix(predicted("ab", videos)), [[1, 0], [1, 1]])
    np.testing.assert_array_equal(metrics.confusion_matrix(predicted("a", [])), [[0]])


def test_from_counts():
    got = metrics.from_counts([1, 8, 0], [2, 40, 0])
    assert got.video_top1 == 9 / 42
    assert got.mean_class_accuracy == (1 / 2 + 8 / 40) / 2, "a class without videos does not count"
    assert (got.per_class_correct, got.per_class_videos) == ([1, 8, 0], [2, 40, 0])
    assert math.isnan(metrics.from_counts([0], [0]).video_top1)
    assert math.isnan(metrics.from_counts([0], [0]).mean_class_accuracy)
    np.testing.assert_array_equal(metrics.class_accuracy([1, 8, 0], [2, 40, 0]), [0.5, 0.2, np.nan])


def test_groups_are_counted_within_their_class():
    got = metrics.group_counts([1, 0, 1, 1, 0], ["g2", "g1", "g1", "g2", "g1"], [True, False, True, False, True])
    # In order: (0, g1) with 1 of 2, (1, g1) with 1 of 1, (1, g2) with 1 of 2.
    assert (got.label, got.videos, got.correct) == ([0, 1, 1], [2, 1, 2], [1, 1, 1])
    same = metrics.group_counts([1, 0, 1, 1, 0], ["g2", "g1", "g1", "g2", "g1"], [False] * 5)
    other = metrics.group_counts([1, 0, 1, 1, 0], ["g3", "g1", "g1", "g3", "g1"], [True] * 5)
    assert same.digest == got.digest != other.digest, "the same videos, whatever was right"


def test_summary_of_two_videos_of_a_group():
    videos = [video(1, [0.1, 0.9], [0, 1]), video(1, [0.8, 0.2], [1, 1]), video(0, [0.8, 0.2], [0, 0], group="h")]
    got = metrics.compute_accuracies(predicted("ab", videos))
    assert (got.groups.label, got.groups.videos, got.groups.correct) == ([0, 1], [1, 2], [1, 1])
    assert (got.video_top1, got.clip_top1, got.mean_class_accuracy) == (2 / 3, 3 / 6, 0.75)


def test_reports_can_import_it_without_jax():
    code = "import sys, vidjax.reporting.comparison, vidjax.reporting.report; assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)

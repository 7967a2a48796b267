import math
import subprocess
import sys

import numpy as np

from vidjax.evaluation import metrics


def test_confusion_counts():
    counts = metrics.confusion_counts([0, 0, 1, 2], [0, 1, 1, 0], 3)
    np.testing.assert_array_equal(counts, [[1, 1, 0], [0, 1, 0], [1, 0, 0]])


def test_confusion_matrix_of_a_predictions_file():
    scores = [[0.6, 0.4], [0.5, 0.5], [0.1, 0.9]]  # of equal scores the lower class
    videos = [{"label": label, "scores": s} for label, s in zip([0, 1, 1], scores)]
    matrix = metrics.confusion_matrix({"classes": ["a", "b"], "videos": videos})
    np.testing.assert_array_equal(matrix, [[1, 0], [1, 1]])
    np.testing.assert_array_equal(metrics.confusion_matrix({"classes": ["a"], "videos": []}), [[0]])


def test_from_counts():
    got = metrics.from_counts([1, 8, 0], [2, 40, 0])
    assert got["video_top1"] == 9 / 42
    assert got["mean_class_accuracy"] == (1 / 2 + 8 / 40) / 2, "a class without videos does not count"
    assert (got["per_class_correct"], got["per_class_videos"]) == ([1, 8, 0], [2, 40, 0])
    assert math.isnan(metrics.from_counts([0], [0])["video_top1"])
    assert math.isnan(metrics.from_counts([0], [0])["mean_class_accuracy"])
    np.testing.assert_array_equal(metrics.class_accuracy([1, 8, 0], [2, 40, 0]), [0.5, 0.2, np.nan])


def test_groups_are_counted_within_their_class():
    got = metrics.group_counts([1, 0, 1, 1, 0], ["g2", "g1", "g1", "g2", "g1"], [True, False, True, False, True])
    # In order: (0, g1) with 1 of 2, (1, g1) with 1 of 1, (1, g2) with 1 of 2.
    digest = got.pop("digest")
    assert got == {"label": [0, 1, 1], "videos": [2, 1, 2], "correct": [1, 1, 1]}
    same = metrics.group_counts([1, 0, 1, 1, 0], ["g2", "g1", "g1", "g2", "g1"], [False] * 5)
    other = metrics.group_counts([1, 0, 1, 1, 0], ["g3", "g1", "g1", "g3", "g1"], [True] * 5)
    assert same["digest"] == digest != other["digest"], "the same videos, whatever was right"


def test_summary_of_two_videos_of_a_group():
    videos = [
        {"label": 1, "group": "g", "scores": [0.1, 0.9], "view_ranks": [0, 1]},
        {"label": 1, "group": "g", "scores": [0.8, 0.2], "view_ranks": [1, 1]},
        {"label": 0, "group": "h", "scores": [0.8, 0.2], "view_ranks": [0, 0]},
    ]
    got = metrics.summarise({"classes": ["a", "b"], "videos": videos, "failed": []})
    assert got["groups"].pop("digest")
    assert got["groups"] == {"label": [0, 1], "videos": [1, 2], "correct": [1, 1]}
    assert (got["video_top1"], got["clip_top1"], got["mean_class_accuracy"]) == (2 / 3, 3 / 6, 0.75)


def test_reports_can_import_it_without_jax():
    code = "import sys, vidjax.reporting.comparison, vidjax.reporting.report; assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)

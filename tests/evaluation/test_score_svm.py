"""A linear SVM on the scores of runs: it learns what neither run knows, from the training videos alone."""

import numpy as np
import pytest

from tests.evaluation.test_ensemble import predicted, runs
from tests.refusals import refused
from vidjax.errors import OptionError
from vidjax.evaluation import metrics, score_svm


def scores(count, seed):
    """Of class 0 by two runs: the first one is right, but shy of the second class; the second one is wrong."""
    truth = np.arange(count) % 2 == 0
    noise = np.random.default_rng(seed).uniform(-0.05, 0.05, (2, count))
    return np.where(truth, 0.9, 0.6) + noise[0], np.where(truth, 0.3, 0.7) + noise[1]


@pytest.fixture
def folders(tmp_path):
    found = runs(tmp_path, *scores(40, 0))
    for part, seed in {"train": 1, "validation": 2}.items():
        for folder, of_run in zip(found, scores(40, seed), strict=True):
            predicted(of_run.tolist(), part=part).write(folder / "predictions" / f"{part}.json")
    return found


def test_it_learns_how_far_to_trust_a_run(folders):
    scored, result = score_svm.fit_runs(folders)
    assert metrics.compute_accuracies(scored).video_top1 == 1.0 == result.video_top1
    from_average, _ = score_svm.ensemble.ensemble_runs(folders)
    assert metrics.compute_accuracies(from_average).video_top1 < 0.6
    for video in scored.videos:
        assert sum(video.scores) == pytest.approx(1) and video.predicted_name == "ab"[video.predicted]
    assert scored.average.startswith("linear SVM") and result.average == scored.average


def test_labels_of_test_videos_are_not_used(folders):
    before, _ = score_svm.fit_runs(folders)
    for folder in folders:
        path = folder / "predictions" / "test.json"
        test = score_svm.PredictionsFile.read(path)
        for number, video in enumerate(test.videos):
            test.videos[number] = type(video)(**{**vars(video), "label": 1 - video.label})
        test.write(path)
    after, _ = score_svm.fit_runs(folders)
    assert [video.scores for video in after.videos] == [video.scores for video in before.videos]


def test_missing_parts_are_named(folders):
    (folders[1] / "predictions" / "train.json").unlink()
    with refused(OptionError, "run1/predictions/train.json", "all_parts"):
        score_svm.fit_runs(folders)

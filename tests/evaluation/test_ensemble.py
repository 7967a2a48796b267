import dataclasses
import json

import numpy as np
import pytest

from tests.refusals import refused
from tests.reporting import run_directory
from vidjax.errors import ConfigError, DataError
from vidjax.evaluation import ensemble, metrics
from vidjax.evaluation.predictions import PredictionsFile

CLASSES = ["a", "b"]


def predicted(scores, failed=(), **changes):
    """Videos v0, v1, ... of classes 0, 1, 0, 1, ..., with the score of class 0 given; None: failed."""
    videos = [
        {"id": f"v{i}", "group": f"g{i}", "label": i % 2, "scores": [p, 1 - p], "views": 3, "view_ranks": [0] * 3}
        for i, p in enumerate(scores)
        if p is not None
    ]
    failures = [{"id": f"v{i}", "reason": "broken"} for i, p in enumerate(scores) if p is None]
    base = {"dataset": "toy", "split": "1", "part": "test", "classes": CLASSES, "average": "probabilities"}
    content = {**base, "views_per_video": 3, "videos": videos, "failed": failures, **changes}
    return PredictionsFile.from_json(content, "predictions")


def average(members, weights=None):
    return ensemble.average(
        members, [f"run{i}" for i in range(len(members))], ensemble.normalize_weights(weights, len(members))
    )


def test_scores_are_averaged_video_by_video():
    other = predicted([0.2, 0.1, 0.3])
    other.videos.reverse()  # by id, not by place
    got = average([predicted([0.9, 0.7, 0.4]), other])
    np.testing.assert_allclose([video.scores for video in got.videos], [[0.55, 0.45], [0.4, 0.6], [0.35, 0.65]])
    assert [video.id for video in got.videos] == ["v0", "v1", "v2"]
    assert [video.views for video in got.videos] == [6, 6, 6]
    assert metrics.compute_accuracies(got).per_class_correct == [1, 1]
    assert [(video.label_name, video.predicted_name) for video in got.videos] == [("a", "a"), ("b", "b"), ("a", "b")]
    assert got.videos[0].path is None and "path" not in got.videos[0].to_json(), "older files have none"


def test_weights():
    members = [predicted([1.0]), predicted([0.0]), predicted([0.5])]
    np.testing.assert_allclose(average(members, [6, 2, 0]).videos[0].scores, [0.75, 0.25])
    for wrong, tokens in (
        ([1, 2], ("--weights", "2", "3")),
        ([1, -1, 1], ("--weights=1,-1,1", "0")),
        ([0, 0, 0], ("--weights=0,0,0", "0")),
    ):
        with refused(ConfigError, *tokens):
            average(members, wrong)


def test_errors_that_are_independent_cancel():
    """Three runs, each wrong on another third of the videos, are never wrong together."""
    truth = np.array([1.0, 0.0] * 30)
    members = []
    for run in range(3):
        sure = 0.5 + 0.2 * np.where(np.arange(60) % 3 == run, -1, 1) * (2 * truth - 1)
        members.append(predicted(sure.tolist()))
        assert metrics.compute_accuracies(members[-1]).video_top1 == pytest.approx(2 / 3)
    assert metrics.compute_accuracies(average(members)).video_top1 == 1.0


def test_a_video_that_failed_in_any_run_is_failed():
    got = average([predicted([0.9, None, 0.4]), predicted([0.2, 0.1, None])])
    assert [video.id for video in got.videos] == ["v0"]
    assert [(each.id, each.reason) for each in got.failed] == [("v1", "run0: broken"), ("v2", "run1: broken")]


def relabeled():
    other = predicted([0.5, 0.5])
    other.videos[1] = dataclasses.replace(other.videos[1], label=0)
    return other


@pytest.mark.parametrize(
    "other, tokens",
    [
        (predicted([0.5, 0.5], dataset="toys"), ("dataset", "'toy'", "'toys'")),
        (predicted([0.5, 0.5], split="2"), ("split", "'1'", "'2'")),
        (predicted([0.5, 0.5], part="validation"), ("part", "'test'", "'validation'")),
        (predicted([0.5, 0.5], classes=["a", "c"]), ("classes", "'b'", "'c'")),
        (predicted([0.5, 0.5], classes=["a", "b", "c"]), ("classes", "2", "3")),
        (predicted([0.5, 0.5, 0.5]), ("v2",)),
        (predicted([0.5]), ("v1",)),
        (relabeled(), ("v1", "label", "1", "0")),
    ],
)
def test_runs_on_other_videos_are_refused(other, tokens):
    with refused(DataError, "run0", "run1", *tokens):
        average([predicted([0.5, 0.5]), other])


def runs(folder, *scores, **changes):
    folders = []
    for i, values in enumerate(scores):
        folders.append(run_directory.write(folder / f"run{i}", classes=CLASSES, samples=False, metrics=False))
        of_run = predicted(values)
        of_run.write(folders[-1] / "predictions" / "test.json")
        run_directory.result(of_run, seed=i, **changes).write(folders[-1] / "result.json")
    return folders


def test_result_has_the_keys_of_a_run(tmp_path):
    folders = runs(tmp_path, [0.9, 0.7, 0.4, 0.2], [0.2, 0.1, 0.9, 0.7])
    scored, result = ensemble.ensemble_runs(folders)
    run = json.loads((folders[0] / "result.json").read_text())
    assert run.keys() - result.to_json().keys() == {"config_hash", "best_step"}
    assert result.video_top1 == metrics.compute_accuracies(scored).video_top1 == 1.0  # .55, .4, .65, .45 of class 0
    assert (result.seed, result.model) == ("0+1", "ensemble of 2")
    assert result.parameters == 2 * run["parameters"] and result.views == 4
    assert result.gmacs_per_view == 2 * run["gmacs_per_view"]
    assert result.seconds == pytest.approx(2 * run["seconds"])
    assert (result.inputs, result.hardware) == (run["inputs"], run["hardware"]), "what is equal is said once"
    assert result.clip_top1 is None
    assert result.classes == CLASSES and result.videos == 4
    assert result.groups.correct == [1, 1, 1, 1]
    assert [(m.run, m.video_top1, m.weight) for m in result.members] == [
        ("run0", 0.5, 0.5),
        ("run1", 0.5, 0.5),
    ]


def test_runs_that_cannot_be_averaged(tmp_path):
    first, second = runs(tmp_path, [0.9, 0.1], [0.9, 0.1])
    with refused(ConfigError, "2", first):
        ensemble.ensemble_runs([first])
    with refused(ConfigError, "run0", "--weights"):
        ensemble.ensemble_runs([first, second, first])
    with refused(DataError, "nowhere/result.json"):
        ensemble.ensemble_runs([first, tmp_path / "nowhere"])
    (second / "predictions" / "test.json").unlink()
    with refused(DataError, "run1/predictions/test.json"):
        ensemble.ensemble_runs([first, second])
    unfinished = {**json.loads((second / "result.json").read_text()), "finished": False}
    (second / "result.json").write_text(json.dumps(unfinished))
    with refused(DataError, f"{second}:"):
        ensemble.ensemble_runs([first, second])


def test_no_common_video_is_an_error(tmp_path):
    folders = runs(tmp_path, [0.9, 0.1], [0.9, 0.1])
    for folder, scores in zip(folders, ([0.9, None], [None, 0.1])):
        predicted(scores).write(folder / "predictions" / "test.json")
    with refused(DataError, "run0", "run1"):
        ensemble.ensemble_runs(folders)

"""Classes that two data sets share: which clips are taken, what is counted, and going on after a stop."""

import json
import shutil

import numpy as np
import pytest

from tests.refusals import unnamed
from vidjax import cli
from vidjax.cli import zero_shot
from vidjax.errors import VideoError
from vidjax.pretrained import CATALOG
from vidjax.pretrained.video_classifier import Scores

CLASSES = CATALOG["i3d-kinetics400"].classes


def test_every_mapped_class_is_one_of_kinetics():
    assert set(zero_shot.KINETICS_OF_UCF101.values()) <= set(CLASSES)


@pytest.fixture
def folder(toy_folder, tmp_path, monkeypatch):
    """Two clips of one class and one of another; the network sees a lunge in all, the last time among other things."""
    monkeypatch.setenv("VIDJAX_CACHE", str(tmp_path / "cache"))
    names = ("Lunges/v_Lunges_g08_c01.avi", "Lunges/v_Lunges_g09_c02.avi", "PushUps/v_PushUps_g01_c01.avi")
    for name in names:
        path = tmp_path / "UCF-101" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(toy_folder / "dark" / "dark0.avi", path)
    (tmp_path / "UCF-101" / "Archery").mkdir()
    asked = []

    class Classifier:
        def __init__(self, network):
            pass

        def __call__(self, video, frames):
            asked.append((video.path, frames))
            if video.refused:
                raise VideoError(video.path, video.refused)
            scores = np.zeros(400)
            scores[CLASSES.index("lunge")] = 0.3
            scores[CLASSES.index("abseiling")] = 0.7 if "PushUps" in video.path else 0.1
            return Scores(scores, frames, 1)

    class Network:
        info = CATALOG["i3d-kinetics400"]

    monkeypatch.setattr(zero_shot, "VideoClassifier", Classifier)
    monkeypatch.setattr(zero_shot.pretrained, "load", lambda name: Network)
    return tmp_path, asked


def test_counts_and_resumes(folder, capsys):
    root, asked = folder
    out = root / "out.json"
    words = ["--root", str(root / "UCF-101"), "--out", str(out), "--frames", "16"]
    assert cli.main(["zero-shot", *words]) == 0
    result = json.loads(out.read_text())
    summary = result["summary"]
    assert (summary["clips"], summary["failed"]) == (3, 0)
    assert summary["all_top1"] == summary["mapped_top1"] == summary["all_top5"] == pytest.approx(2 / 3)
    assert summary["classes"] == ["lunge", "push up"] and summary["mapped_confusion"] == [[2, 0], [1, 0]]
    assert summary["per_class"]["push up"]["predicted"] == {"abseiling": 1}
    assert "66.7%" in capsys.readouterr().out and len(asked) == 3 and asked[0][1] == 16
    del result["clips"]["PushUps/v_PushUps_g01_c01.avi"]
    out.write_text(json.dumps(result))
    assert cli.main(["zero-shot", *words]) == 0 and len(asked) == 4
    again = json.loads(out.read_text())
    assert again["summary"] == summary


def test_errors_are_one_line(folder, capsys):
    root, _ = folder
    (root / "out.json").write_text("{}")
    for words, tokens in (
        (["--root", str(root), "--out", str(root / "x.json")], (root, "BabyCrawling")),
        (["--root", str(root / "UCF-101"), "--out", str(root / "out.json")], ("out.json",)),
        (["--root", str(root), "--out", "x", "--frames", "0"], ("--frames=0", "1")),
    ):
        assert cli.main(["zero-shot", *words]) == 1
        error = capsys.readouterr().err
        assert not unnamed(error, *tokens) and error.count("\n") == 1
    (root / "UCF-101" / "Lunges" / "v_Lunges_g08_c01.avi").write_text("no video")
    assert cli.main(["zero-shot", "--root", str(root / "UCF-101"), "--out", str(root / "new.json")]) == 1
    result = json.loads((root / "new.json").read_text())
    assert (result["summary"]["clips"], result["summary"]["failed"]) == (2, 1)
    assert result["clips"]["Lunges/v_Lunges_g08_c01.avi"]["failed"]

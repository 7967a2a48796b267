import json

import pytest

from tests.refusals import unnamed
from tests.reporting import run_directory
from vidjax import cli
from vidjax.evaluation import metrics
from vidjax.evaluation.predictions import PredictionsFile


@pytest.fixture
def folders(tmp_path):
    """Three runs on the same 64 videos, right on about 60% of them, with errors of their own."""
    made = []
    for seed in range(3):
        folder = run_directory.write(tmp_path / f"run{seed}", samples=False)
        predicted = run_directory.predictions(run_directory.CLASSES, 64, accuracy=0.6, seed=seed)
        predicted.write(folder / "predictions" / "test.json")
        run_directory.result(predicted, seed=seed).write(folder / "result.json")
        made.append(str(folder))
    return made


def test_prints_members_and_ensemble_and_writes_its_files(folders, tmp_path, capsys):
    out = tmp_path / "out"
    assert cli.main(["ensemble", *folders, f"--out={out}"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in ("run0", "run1", "run2", "ensemble of 3"))
    result = json.loads((out / "result.json").read_text())
    scored = PredictionsFile.read(out / "predictions" / "test.json")
    assert metrics.compute_accuracies(scored).video_top1 == result["video_top1"]
    members = [member["video_top1"] for member in result["members"]]
    assert result["video_top1"] > max(members), "errors that are independent cancel"
    assert f"{100 * result['video_top1']:.1f}" in printed
    assert result["command"].startswith("python -m vidjax ensemble ")
    page = (out / "report.html").read_text()
    assert "ensemble of 3 on motion" in page and "seed 0+1+2" in page and ">nan" not in page
    assert cli.main(["ensemble", *folders[:2], "--weights=2,1", f"--out={out}"]) == 0, "an ensemble may be replaced"
    again = json.loads((out / "result.json").read_text())
    assert [member["weight"] for member in again["members"]] == pytest.approx([2 / 3, 1 / 3], abs=1e-6)
    assert again["command"].count("--weights=2,1") == 1


@pytest.mark.parametrize(
    "words, tokens",
    [
        (["--weights=1,x,1"], ("--weights=1,x,1",)),
        (["--weights=1,1"], ("--weights", "2", "3")),
        (["--out={run0}"], ("--out", "run0")),
        (["--config.seed=1"], ("ensemble", "--config.KEY=VALUE")),
    ],
)
def test_errors_are_one_line(folders, tmp_path, capsys, words, tokens):
    words = [word.format(run0=folders[0]) for word in words]
    before = (tmp_path / "run0" / "result.json").read_text()
    assert cli.main(["ensemble", *folders, *words]) == 1
    error = capsys.readouterr().err
    assert not unnamed(error, *tokens) and error.count("\n") == 1
    assert (tmp_path / "run0" / "result.json").read_text() == before

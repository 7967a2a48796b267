import json

import pytest

from tests.experiment.lab import Lab
from tests.refusals import refused
from vidjax.cli import main
from vidjax.errors import DataError
from vidjax.experiment.collecting import collect, matches_config


@pytest.fixture
def lab(tmp_path):
    return Lab(tmp_path)


def test_collect_copies_results_without_the_command(lab, tmp_path):
    lab.run()
    files = collect(lab.workdir, tmp_path / "results" / "fake")
    assert len(files) == 8
    result = json.loads((tmp_path / "results" / "fake" / "low-split2-seed0.json").read_text())
    assert result["per_class_correct"] == [2, 2]
    assert "command" not in result


def test_ensembles_are_collected_like_runs(lab, tmp_path):
    lab.average()
    lab.run()
    written = collect(lab.workdir, tmp_path / "results")
    assert len(written) == 8 + 4
    result = json.loads((tmp_path / "results" / "both-split3-seed1.json").read_text())
    assert (result["video_top1"], result["videos"], len(result["members"])) == (1.0, 16, 2)
    path = lab.workdir / "runs" / "high-split2-seed0" / "predictions" / "test.json"
    path.unlink()
    with refused(DataError, "both-split2-seed0", "high-split2-seed0/predictions/test.json"):
        collect(lab.workdir, tmp_path / "results")


def test_collect_refuses_paths_of_this_machine(lab, tmp_path):
    lab.run()
    path = lab.workdir / "runs" / "low-split2-seed0" / "result.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "root": "/home/someone/UCF-101"}))
    with refused(DataError, "low-split2-seed0/result.json", "/home/someone/UCF-101"):
        collect(lab.workdir, tmp_path / "results")


def test_collect_needs_an_experiment(tmp_path):
    with refused(DataError, tmp_path, "experiment.json", "--workdir"):
        collect(tmp_path)


def test_results_of_the_configs_that_the_experiment_has_now(lab, tmp_path, capsys):
    lab.run()
    folder = tmp_path / "results" / "fake"
    collect(lab.workdir, folder)
    assert matches_config(lab.file, folder=folder) == dict.fromkeys([file.stem for file in folder.iterdir()], True)
    path = folder / "low-split2-seed0.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "config_hash": "of before"}))
    (folder / "high-split2-seed0.json").unlink()
    assert main(["collect", "--check", str(lab.file), "--destination", str(folder)]) == 0
    said = capsys.readouterr().out
    assert "other config  low-split2-seed0" in said and "same          low-split3-seed0" in said
    assert "6 of 7 results" in said
    assert not any(matches_config(lab.file, {"data.root": "elsewhere"}, folder).values())
    with refused(DataError, tmp_path, "fake.py", "--workdir"):
        matches_config(lab.file, folder=tmp_path)

"""Results and predictions: today's files, byte for byte."""

import dataclasses
import json
from pathlib import Path

import pytest

from tests.refusals import refused
from tests.reporting import run_directory
from vidjax.errors import DataError
from vidjax.evaluation.predictions import PredictionsFile
from vidjax.evaluation.result import Baseline, Member, Result
from vidjax.system import files

ROOT = Path(__file__).resolve().parents[2]
COMMITTED = sorted(
    path for path in ROOT.glob("results/*/*.json") if path.parent.name not in ("benchmarks", "pretrained")
)


def test_committed_results_are_written_back_as_they_are():
    assert len(COMMITTED) > 200
    for path in COMMITTED:
        content = json.loads(path.read_text())
        if isinstance(content, list):
            assert [Baseline.from_json(each, path).to_json() for each in content] == content
        else:
            result = Result.from_json(content, path)
            assert files.to_json(result.to_json(), sort_keys=True) == path.read_text(), path
            assert not result.extra, path


def test_the_files_of_the_stored_run_are_written_back_as_they_are(tmp_path):
    for kind, name in ((Result, "result.json"), (PredictionsFile, "predictions/test.json")):
        path = ROOT / "tests" / "golden" / "run" / name
        record = kind.read(path)
        record.write(tmp_path / name)
        assert (tmp_path / name).read_bytes() == path.read_bytes()
        assert not record.extra


def test_the_keys_of_an_ensemble_stand_in_their_own_order():
    run = run_directory.result(run_directory.predictions(["a", "b"], 8))
    member = Member(run="one", model="net", seed=0, weight=1.0, video_top1=0.5)
    keys = list(dataclasses.replace(run, members=[member], config_hash=None).to_json())
    assert keys[:8] == ["model", "dataset", "split", "parameters", "gmacs_per_view", "views", "inputs", "seed"]
    assert keys[-2:] == ["members", "finished"] and "best_step" not in keys


def test_keys_of_a_newer_version_are_kept():
    content = run_directory.result(run_directory.predictions(["a", "b"], 8)).to_json() | {"calibration": [0.1]}
    result = Result.from_json(content, "file")
    assert result.extra == {"calibration": [0.1]} and result.to_json() == content
    predicted = run_directory.predictions(["a", "b"], 2).to_json()
    predicted["videos"][0]["entropy"] = 0.3
    assert PredictionsFile.from_json(predicted, "file").to_json() == predicted


def test_keys_that_older_versions_lack_stay_away():
    content = run_directory.result(run_directory.predictions(["a", "b"], 8)).to_json()
    for key in ("views_detail", "versions", "config_hash", "hardware"):
        del content[key]
    result = Result.from_json(content, "file")
    assert result.hardware is None and result.to_json() == content


@pytest.mark.parametrize(
    "content, tokens",
    [
        ({"model": "net"}, ("'inputs'",)),
        ([1, 2], ("JSON",)),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, content, tokens):
    files.write_json(tmp_path / "result.json", content)
    with refused(DataError, "result.json", *tokens):
        Result.read(tmp_path / "result.json")


def test_a_file_that_is_missing_or_cut_is_none(tmp_path):
    assert Result.read(tmp_path / "result.json") is None
    (tmp_path / "result.json").write_text('{"finished": tr')
    assert Result.read(tmp_path / "result.json") is None

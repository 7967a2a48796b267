"""What must not move while the house is rebuilt: `snapshot` says how a wanted change is made."""

import json
import shutil

import jax.numpy as jnp
import numpy as np
import pytest

from tests.golden import snapshot
from vidjax import evaluate
from vidjax.config import identity
from vidjax.config.stored import load_stored
from vidjax.data.sources import SOURCES, packed
from vidjax.experiment.collecting import collect
from vidjax.system import files
from vidjax.train import train_and_evaluate

FAST = ("early_fusion", "late_fusion")


@pytest.mark.parametrize("part", ["hashes", "fingerprints", "parameters"])
def test_names_and_hashes_stay(part):
    now, before = snapshot.PARTS[part](), snapshot.stored(part)
    for name in before:
        assert now[name] == before[name], f"{part}.json, {name}"
    assert now.keys() == before.keys(), "what is new is added by --write"


@pytest.mark.parametrize("split, fingerprint", [(2, "e88067bef108"), (3, "5a14adc6eb82")])
def test_official_splits_stay(test_data, split, fingerprint):
    """The clips that the tests use, by the official lists."""
    options = {"root": str(test_data / "UCF-101"), "splits": str(test_data / "ucfTrainTestlist"), "allow_missing": True}
    assert SOURCES["ucf101"](split=split, **options).fingerprint() == fingerprint


networks = pytest.mark.parametrize(
    "name", [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in snapshot.SMALL]
)


@networks
def test_float64_losses_stay(name):
    np.testing.assert_allclose(
        snapshot.losses_of(name, jnp.float64), snapshot.stored("losses")["float64"][name], rtol=1e-6
    )


@networks
def test_float32_losses_stay_to_the_bit(name):
    found = [kept for kept in snapshot.stored("losses")["float32"] if kept["machine"] == snapshot.machine()]
    if not found:
        pytest.skip("float32 losses are not kept for this kind of machine and these libraries")
    assert snapshot.losses_of(name, jnp.float32) == found[0]["losses"][name]


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A copy of the stored run, beside the files that it names."""
    monkeypatch.chdir(snapshot.ROOT)
    return shutil.copytree(snapshot.FOLDER / "run", tmp_path / "run")


def test_the_stored_run_is_finished(run, capsys):
    stored = files.read_json(run / "result.json")
    config = load_stored(files.read_json(run / "config.json"))
    assert train_and_evaluate(config, run).to_json() == stored
    assert str(run / "report.html") in capsys.readouterr().out
    assert (run / "report.html").read_text().rstrip().endswith("</html>")


def test_the_stored_run_resumes(run):
    """From its checkpoint in the middle, to the predictions that it ended with."""
    before = json.loads((run / "predictions" / "test.json").read_text())
    shutil.rmtree(run / "checkpoints" / "8")
    first, *lines = (run / "metrics.jsonl").read_text().splitlines()
    marked = json.dumps({**json.loads(first), "loss": 123.0})  # a run that begins anew would not keep it
    (run / "metrics.jsonl").write_text("\n".join([marked, *lines]) + "\n")
    for path in ("result.json", "predictions/test.json"):
        (run / path).unlink()
    config = load_stored(files.read_json(run / "config.json"))
    result = train_and_evaluate(config, run)
    assert result.finished and result.steps == 8
    assert json.loads((run / "metrics.jsonl").read_text().splitlines()[0])["loss"] == 123.0
    after = json.loads((run / "predictions" / "test.json").read_text())
    assert_same_predictions(after, before)


def test_the_stored_run_is_evaluated(run):
    before = json.loads((run / "predictions" / "test.json").read_text())
    config = evaluate.stored_config(run, {"evaluate.batch_size": "3"})  # of no influence
    (run / "predictions" / "test.json").unlink()
    evaluate.evaluate(config, run)
    (file,) = run.rglob("test.json")
    assert_same_predictions(json.loads(file.read_text()), before)


def test_the_stored_run_is_collected(run, tmp_path):
    files.write_json(tmp_path / "experiment.json", {"name": "golden", "runs": ["one"]})
    shutil.copytree(run, tmp_path / "runs" / "one")
    (file,) = collect(tmp_path, tmp_path / "results")
    stored = files.read_json(run / "result.json")
    collected = files.read_json(file)
    assert collected == {key: value for key, value in stored.items() if key not in ("command", "data_notes")}
    config = load_stored(files.read_json(run / "config.json"))
    assert collected["config_hash"] == identity.config_hash(config)


def assert_same_predictions(after, before):
    assert [video["id"] for video in after["videos"]] == [video["id"] for video in before["videos"]]
    for one, other in zip(after["videos"], before["videos"], strict=True):
        assert one["label"] == other["label"]
        np.testing.assert_allclose(one["scores"], other["scores"], atol=1e-3)


def test_nothing_stored_names_a_place_of_the_machine():
    for path in snapshot.FOLDER.rglob("*"):
        if path.is_file() and path.suffix not in (".py", ".pyc"):
            assert str(snapshot.ROOT).encode() not in path.read_bytes(), path


def test_the_packed_set_is_read(monkeypatch):
    monkeypatch.chdir(snapshot.ROOT)
    source = packed.load(root="tests/golden/packed")
    assert (len(source.train), len(source.validation), len(source.test)) == (10, 2, 4)
    assert source.fingerprint() == files.read_json(snapshot.FOLDER / "run" / "data.json")["fingerprint"]

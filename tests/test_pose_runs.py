"""Poses in whole runs, by a detector of one's own: found when a run begins, drawn, and of new videos."""

import json

import numpy as np
import pytest

from tests import toy
from tests.refusals import refused, unnamed
from vidjax import cli
from vidjax.config import loading
from vidjax.config.preparation import prepare
from vidjax.data.pose import blazepose
from vidjax.errors import ConfigError, DataError
from vidjax.train import train_and_evaluate

CONFIG = f"{toy.ROOT}/configs/pose_lstm.py"
DETECTOR = "tests.pose_detectors:Brightest"
KEYS = {"data.frames": 4, "train.steps": 3, "train.epochs": None, "train.batch_size": 8, "parallel": "jit"}


def config(root, **more):
    own = {"data.pose": None, "data.pose_factory": DETECTOR}
    return loading.load(CONFIG, {**KEYS, "data.root": str(root), **own, **more})


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("VIDJAX_CACHE", str(tmp_path / "cache"))


def test_a_run_on_poses_and_its_predictions(toy_folder, tmp_path, cache, capsys):
    workdir = tmp_path / "run"
    result = train_and_evaluate(config(toy_folder), workdir)
    assert result.finished and result.failed_videos == 0 and result.inputs.startswith("pose 4x2")
    assert (workdir / "report.html").exists()
    video = json.loads((workdir / "predictions" / "test.json").read_text())["videos"][0]
    words = ["predict", video["path"], f"--workdir={workdir}"]
    assert cli.main(words) == 1  # code is not imported until it is typed again
    assert unnamed(capsys.readouterr().err, f"data.pose_factory={DETECTOR}") == []
    assert cli.main([*words, f"--config.data.pose_factory={DETECTOR}"]) == 0
    assert unnamed(capsys.readouterr().out, video["predicted_name"]) == []


def test_flips_exchange_sides_and_labels_stay(toy_folder, cache):
    run = prepare(config(toy_folder, **{"data.mirror": "invariant", "preprocessing.flip": True}))
    with run.training_batches(0) as batches:
        batch = next(batches)
    joints, mask = batch.inputs["pose"], batch.inputs["pose_mask"]
    assert joints.shape == (8, 4, 2, 3) and mask.shape == (8, 4, 2)
    seen, _ = run.preprocessing.training(batch, __import__("jax").random.key(0))
    found = np.asarray(seen["pose"])
    both = np.asarray(seen["pose_mask"]).all(-1)
    assert (found[both][:, 0, 0] <= found[both][:, 1, 0]).all()  # the left end stays on the left


def test_the_verb_finds_draws_and_lists(toy_folder, tmp_path, cache, capsys):
    words = ["pose", f"--config={CONFIG}", f"--config.data.root={toy_folder}", "--config.data.pose=None"]
    words += [f"--config.data.pose_factory={DETECTOR}"]
    assert cli.main([*words, f"--draw={tmp_path / 'drawn'}", f"--csv={tmp_path / 'poses.csv'}"]) == 0
    out = capsys.readouterr().out
    assert unnamed(out, "bright", "dark", 24) == []
    assert len(list((tmp_path / "drawn").glob("*.png"))) == 4
    rows = (tmp_path / "poses.csv").read_text().splitlines()
    assert len(rows) == 25 and rows[0] == "video,class,frames,found,most_people"
    for wrong in ("--shard=2/2", "--threads=0"):
        assert cli.main([*words, wrong]) == 1
        assert unnamed(capsys.readouterr().err, wrong) == []


def test_without_packages_one_line_says_what_to_install(toy_folder, cache, monkeypatch):
    monkeypatch.setattr(blazepose.importlib.util, "find_spec", lambda name: None)
    with refused(DataError, "requirements-pose.txt"):
        prepare(config(toy_folder, **{"data.pose": "blazepose", "data.pose_factory": None}))


def test_poses_need_a_video_of_people_and_a_name(toy_folder, cache):
    with refused(ConfigError, "pose", "--config.data.pose=blazepose"):
        prepare(config(toy_folder, **{"data.pose_factory": None}))

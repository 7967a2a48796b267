"""Optical flow in whole runs: computed when a run begins, read again, and refused where it cannot be."""

import json

import numpy as np
import pytest

from tests import toy
from tests.refusals import refused, unnamed
from vidjax import cli, evaluate
from vidjax.config import data, loading, validation
from vidjax.config.preparation import prepare
from vidjax.data.flow import methods
from vidjax.errors import ConfigError, DataError
from vidjax.train import train_and_evaluate

CONFIG = f"{toy.ROOT}/configs/two_stream.py"
FLIPPED = {"data.mirror": "invariant", "preprocessing.flip": True}


def config(root, argument="folder", **more):
    overrides = {**toy.OVERRIDES, "train.steps": 2, "train.epochs": ..., "data.root": str(root), **more}
    given = {key: value for key, value in overrides.items() if value is not ...}
    return loading.load(f"{CONFIG}:{argument}", {**given, "train.epochs": None})


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("VIDJAX_CACHE", str(tmp_path / "cache"))


needs_opencv = pytest.mark.skipif(not methods.is_installed(), reason="needs requirements-flow.txt")


@needs_opencv
def test_a_run_computes_what_is_missing_and_evaluates_without(toy_folder, tmp_path, cache, monkeypatch, capsys):
    given = config(toy_folder, "folder,variant=two_stream", **FLIPPED)
    result = train_and_evaluate(given, tmp_path / "run")
    assert result.finished and result.failed_videos == 0
    assert unnamed(result.inputs, "rgb", "flow") == []
    card = json.loads((tmp_path / "run" / "data.json").read_text())
    assert [each["name"] for each in card["inputs"]] == ["rgb", "flow"]

    def never(*arguments):
        raise AssertionError("computed again")

    monkeypatch.setitem(methods.METHODS, "dis_fast", never)
    evaluate.evaluate(given, tmp_path / "run")


@needs_opencv
def test_the_verb_computes_it_before(toy_folder, cache, capsys):
    words = ["flow", f"--config={CONFIG}:folder", f"--config.data.root={toy_folder}", "--config.data.short_side=40"]
    words += ["--config.data.crop=40", "--config.preprocessing.crop=36"]
    given = config(toy_folder)
    count = sum(len(getattr(data.source(given), part)) for part in ("train", "validation", "test"))
    assert cli.main([*words, "--shard=1/2"]) == 0
    folder = data.flow_settings(given).folder
    assert len(list(folder.glob("*.npy"))) == count // 2
    assert cli.main(words) == 0
    assert len(list(folder.glob("*.npy"))) == count
    assert unnamed(capsys.readouterr().out, count, "dis_fast") == []
    for wrong in ("--shard=2/2", "--shard=x", "--threads=0"):
        assert cli.main([*words, wrong]) == 1
        assert unnamed(capsys.readouterr().err, wrong) == []


@needs_opencv
def test_frames_and_flow_of_a_batch_are_of_the_same_place(toy_folder, cache):
    """What both show after the same crop and mirror image: flow is negated where frames are mirrored."""
    run = prepare(config(toy_folder, "folder,variant=two_stream", **FLIPPED))
    with run.training_batches(0) as batches:
        batch = next(batches)
    assert batch.inputs["rgb"].shape[:4] == batch.inputs["flow"].shape[:4]
    assert batch.inputs["flow"].dtype == np.uint8 and batch.inputs["flow"].shape[-1] == 2


def test_without_opencv_one_line_says_what_to_install(toy_folder, cache, monkeypatch):
    monkeypatch.setattr(methods, "is_installed", lambda: False)
    with refused(DataError, "requirements-flow.txt"):
        prepare(config(toy_folder))


def test_several_processes_compute_nothing(toy_folder, cache):
    given = config(toy_folder)
    with refused(DataError, 24):
        data.with_computed(given, data.source(given), may_compute=False)


def test_a_frame_rate_needs_a_stream_that_states_one(toy_folder, cache):
    given = config(toy_folder, **{"data.fps": 5.0, "data.stride": None})
    source = data.source(given)
    only = type(source)(**{**vars(source), "inputs": source.inputs[1:]})
    with refused(ConfigError, "data.fps=5", "data.stride", "flow"):
        validation.check_data(given, only)


@needs_opencv
def test_predictions_compute_the_flow_of_what_they_are_given(toy_folder, tmp_path, cache, capsys):
    given = config(toy_folder, "folder,variant=two_stream")
    train_and_evaluate(given, tmp_path / "run")
    stored = json.loads((tmp_path / "run" / "predictions" / "test.json").read_text())
    videos = stored["videos"][:2]
    for path in data.flow_settings(given).folder.glob("*.npy"):
        path.unlink()
    (tmp_path / "bad.avi").write_text("no video")
    paths = [*(video["path"] for video in videos), str(tmp_path / "bad.avi")]
    assert cli.main(["predict", *paths, f"--workdir={tmp_path / 'run'}", "--json", f"--strip={tmp_path}"]) == 1
    out, err = capsys.readouterr()
    found = json.loads(out[out.index("[") :])
    assert unnamed(err, "bad.avi") == []
    assert [each["video"] for each in found] == paths[:2]
    for each, video in zip(found, videos, strict=True):
        best = each["predictions"][0] if "predictions" in each else each["top"][0]
        assert best["probability"] == pytest.approx(max(video["scores"]), abs=1e-4)
    assert len(list(data.flow_settings(given).folder.glob("*.npy"))) == 2

    out = tmp_path / "features.npz"
    assert cli.main(["features", *paths[:2], f"--workdir={tmp_path / 'run'}", f"--out={out}"]) == 0
    assert np.load(out)["features"].shape[0] == 2


def test_predictions_of_networks_on_other_pictures_of_the_frames(toy_folder, tmp_path, cache, capsys):
    """Also of two inputs that are made of the same frames."""
    given = config(toy_folder, "folder,variant=two_stream", **{"data.flow": None, "data.inputs": "flow=gradient"})
    train_and_evaluate(given, tmp_path / "run")
    video = json.loads((tmp_path / "run" / "predictions" / "test.json").read_text())["videos"][0]
    assert cli.main(["predict", video["path"], f"--workdir={tmp_path / 'run'}"]) == 0
    assert unnamed(capsys.readouterr().out, video["predicted_name"]) == []
    assert cli.main(["weights", "export", str(tmp_path / "run"), f"--out={tmp_path / 'out'}"]) == 1
    assert unnamed(capsys.readouterr().err, "gradient") == []
    assert cli.main(["explain", video["path"], f"--workdir={tmp_path / 'run'}"]) == 1
    assert unnamed(capsys.readouterr().err, "gradient") == []

"""A file is kept if it computes what the network does, and says of itself what it takes and returns."""

import dataclasses
import json

import numpy as np
import pytest

import vidjax
from tests.golden import snapshot
from tests.refusals import refused
from vidjax.data.clips import ClipSpec
from vidjax.data.pipeline import evaluation_batches
from vidjax.data.views import ViewSpec
from vidjax.errors import ConfigError, ExportError
from vidjax.inference.export import exported_file, onnx_export, stablehlo
from vidjax.inference.export.card import Card
from vidjax.inference.network import load_network
from vidjax.inference.videos import inspected


@pytest.fixture(scope="module")
def network():
    pytest.importorskip("flatbuffers", reason="needs requirements-export.txt")
    return load_network(snapshot.FOLDER / "run")


def test_what_is_written(network, tmp_path):
    written = exported_file.write(network, tmp_path / "new" / "a.stablehlo")
    assert written.difference < 1e-6 and written.size == (tmp_path / "new" / "a.stablehlo").stat().st_size
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["a.stablehlo", "a.stablehlo.json"]
    card = Card.read(tmp_path / "new" / "a.stablehlo.json")
    assert card.to_json() == json.loads(json.dumps(written.card.to_json())) and card.classes == list(network.classes)
    (given,), (returned,) = card.inputs, card.outputs
    assert (given.name, given.dtype, given.shape) == ("rgb", "uint8", ["batch", 4, 24, 24, 3])
    assert (returned.name, returned.shape) == ("probabilities", ["batch", 2])
    assert (card.clip["frames"], card.clip["crop"], card.step) == (4, 24, network.step)
    assert card.platforms == ["cpu", "cuda", "tpu"] and card.opset is None


def test_onnx(network, tmp_path):
    onnx = pytest.importorskip("onnx", reason="needs requirements-export.txt")
    pytest.importorskip("onnxruntime", reason="needs requirements-export.txt")
    written = exported_file.write(network, tmp_path / "a.onnx", is_raw=True)
    assert written.difference < 1e-6 and [path.name for path in tmp_path.iterdir()] == ["a.onnx"]
    (stored,) = onnx.load(tmp_path / "a.onnx").metadata_props
    assert json.loads(stored.value) == json.loads(json.dumps(written.card.to_json()))
    (given,), (returned,) = written.card.inputs, written.card.outputs
    assert (given.dtype, given.shape) == ("float32", ["batch", 4, 20, 20, 3])
    assert (returned.name, returned.shape) == ("logits", ["batch", 1, 2])


@pytest.mark.parametrize(
    "clip, count, words",
    [
        ({}, 10, "10 clips x 1 crop, evenly spaced"),
        ({}, 1, "1 clip x 1 crop, the middle of the video"),
        ({"position": "last"}, 10, "1 clip x 1 crop, the last of the video"),
        ({"frame_number": 7}, 1, "from frame 7 on"),
        ({"sampling": "segments"}, 3, "(v + 1/2) / 3"),
    ],
)
def test_a_reader_of_the_card_can_cut_the_clips(clip, count, words, network, tmp_path):
    clip = ClipSpec(4, crop=24, **clip)
    network = dataclasses.replace(network, clip=clip, views=ViewSpec(count))
    card = exported_file.write(network, tmp_path / "a.stablehlo").card
    assert card.clip["short_side"] == "keep" and words in card.test_clips
    resized = dataclasses.replace(network, clip=dataclasses.replace(clip, short_side=30))
    assert exported_file.write(resized, tmp_path / "a.stablehlo").card.clip["short_side"] == 30


@pytest.mark.parametrize("name", ["a.stablehlo", "a.onnx"])
def test_the_lines_that_are_shown_run(name, network, tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime", reason="needs requirements-export.txt")
    written = exported_file.write(network, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    variables = {"rgb": np.zeros((2, 4, 24, 24, 3), np.uint8)}
    exec(written.snippet, variables)
    assert variables["output"].shape == (2, 2) and variables["classes"] == list(network.classes)
    assert len(written.snippet.splitlines()) == 5


def test_a_file_gives_what_is_predicted_of_a_video(trained_run, toy_folder, tmp_path):
    pytest.importorskip("onnxruntime", reason="needs requirements-export.txt")
    classify = vidjax.load(trained_run)
    network, video = classify.network, str(toy_folder / "dark" / "dark3.avi")
    exported_file.write(network, tmp_path / "a.onnx")
    views = network.views
    with evaluation_batches(inspected([video], network), network.clip, views, batch_size=views.count) as batches:
        (batch,) = batches
    found = onnx_export.load(tmp_path / "a.onnx")(batch.inputs)
    np.testing.assert_allclose(found.mean(axis=0), classify(video)[0].probabilities, atol=1e-6)


@pytest.mark.parametrize("error", [2e-5, np.nan])
def test_a_file_that_disagrees_is_not_kept(error, network, tmp_path, monkeypatch):
    (tmp_path / "a.stablehlo").write_text("an earlier one")
    load = stablehlo.load
    monkeypatch.setattr(stablehlo, "load", lambda path: lambda inputs: load(path)(inputs) + error)
    with refused(ExportError, tmp_path / "a.stablehlo"):
        exported_file.write(network, tmp_path / "a.stablehlo")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a.stablehlo", "an earlier one")]


@pytest.mark.parametrize("name", ["a.pb", "a", "stablehlo"])
def test_the_suffix_names_the_format(name, tmp_path):
    with refused(ConfigError, tmp_path / name):
        exported_file.check_path(tmp_path / name)

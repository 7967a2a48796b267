"""`vidjax.load` and what it returns: the numbers of the evaluation, from files that nobody has labeled."""

import dataclasses
import doctest
import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import vidjax
from tests.refusals import refused
from vidjax.data import Input
from vidjax.data.views import ViewSpec
from vidjax.errors import ConfigError, DataError, VideoError
from vidjax.inference.classifier import Classifier
from vidjax.inference.network import load_network
from vidjax.inference.videos import listed_videos


@pytest.fixture(scope="module")
def classify(trained_run):
    return vidjax.load(trained_run)


def test_the_numbers_of_the_evaluation(classify, trained_run, toy_folder):
    stored = json.loads((trained_run / "predictions" / "test.json").read_text())["videos"]
    found = classify([str(toy_folder / f"{video['id']}.avi") for video in stored])
    assert len(found) == len(stored) == 4
    for prediction, video in zip(found, stored, strict=True):
        np.testing.assert_allclose(prediction.probabilities, video["scores"], rtol=1e-5, atol=1e-7)
        assert prediction.label == video["predicted_name"] and prediction.seen == "2 clips x 1 crop"
        assert prediction.top(2)[0] == (prediction.label, prediction.probability) and prediction.error is None


def test_all_kinds_of_views_give_the_numbers_of_the_evaluation(trained_run, toy_folder):
    """Mirrored views, whose scores are read by the rule, and batches that end within a video."""
    videos = sorted(map(str, toy_folder.glob("*/*.avi")))[:3]
    plain = Classifier(load_network(trained_run, {"evaluate.batch_size": 5}))
    many = vidjax.load(trained_run, {"evaluate.flip": True, "evaluate.crops": "three", "evaluate.batch_size": 5})
    assert len({round(prediction.probability, 6) for prediction in [*plain(videos), *many(videos)]}) > 3
    one_by_one = [many(video)[0].probabilities for video in videos]
    np.testing.assert_allclose([each.probabilities for each in many(videos)], one_by_one, rtol=1e-5)


def test_scores_of_mirror_images_are_those_of_the_classes_that_they_change_to(trained_run, toy_folder):
    """`mirror=(1, 0)` exchanges the two classes of the mirrored view before the mean is taken."""
    video = str(toy_folder / "dark" / "dark0.avi")
    network = load_network(trained_run, {"evaluate.clips": 1, "evaluate.flip": True})
    as_they_are = Classifier(network)(video)[0].probabilities
    views = Classifier(dataclasses.replace(network, views=ViewSpec(1)))(video)[0].probabilities
    mirrored = 2 * as_they_are - views  # the mean of both views is known
    exchanged = Classifier(dataclasses.replace(network, mirror=(1, 0)))(video)[0].probabilities
    np.testing.assert_allclose(exchanged, (views + mirrored[::-1]) / 2, atol=1e-6)
    assert abs(exchanged - as_they_are).max() > 0.01


def test_what_cannot_be_read_has_an_error_and_the_others_are_done(classify, toy_folder, tmp_path):
    good, bad = str(toy_folder / "dark" / "dark0.avi"), tmp_path / "bad.mp4"
    bad.write_text("no video")
    frames = [Image.new("RGB", (50, 90), (9 * number, 0, 0)) for number in range(3)]
    frames[0].save(tmp_path / "portrait.gif", save_all=True, append_images=frames[1:])
    frames[0].save(tmp_path / "one_frame.gif")
    found = classify([bad, good, tmp_path / "missing.avi", tmp_path / "portrait.gif", tmp_path / "one_frame.gif"])
    assert [each.error is None for each in found] == [False, True, False, True, True]
    with pytest.raises(VideoError):
        _ = found[0].label
    tall = Classifier(load_network(classify.network.name, {"evaluate.crop": "60", "evaluate.crops": "three"}))
    (refused_one,) = tall([good])
    assert "60x60" in refused_one.error


def test_folders_and_lists(toy_folder, tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "videos" / "deep").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "images" / "1.png")
    for place in ("videos/b.mp4", "videos/deep/a.avi", "videos/notes.txt"):
        (tmp_path / place).touch()
    plain, named = tmp_path / "plain.csv", tmp_path / "named.csv"
    plain.write_text("videos/b.mp4\n\nx,y.mp4\n/abs.avi\n")
    named.write_text("\ufefflabel,Path\narchery,videos/b.mp4\n,\n", encoding="utf-8")
    names = [str(tmp_path / name) for name in ("images", "videos", "empty", "plain.csv", "named.csv", "missing.mp4")]
    assert [name.removeprefix(str(tmp_path)) for name in listed_videos(names)] == [
        "/images",
        "/videos/b.mp4",
        "/videos/deep/a.avi",
        "/empty",
        "/videos/b.mp4",
        "/x",
        "/abs.avi",
        "/videos/b.mp4",
        "/missing.mp4",
    ]
    named.write_text("path\n")
    for path in (named, tmp_path / "missing.csv"):
        with refused(DataError, path):
            listed_videos([str(path)])


def test_a_network_of_other_inputs_is_refused(classify):
    pose = Input("pose", (3, 2), "float32", space="points")
    network = dataclasses.replace(classify.network, inputs=(*classify.network.inputs, pose))
    with refused(ConfigError, "rgb, pose"):
        Classifier(network)(["a.mp4"])


def test_the_example_of_load(trained_run, toy_folder):
    names = {"vidjax": vidjax, "run": trained_run, "video": toy_folder / "bright" / "bright0.avi"}
    (example,) = doctest.DocTestFinder(recurse=False).find(vidjax.load, "load", globs=names)
    assert len(example.examples) == 5 and doctest.DocTestRunner().run(example).failed == 0


def test_importing_vidjax_is_light():
    code = "import vidjax, sys; assert not {'jax', 'numpy', 'av'} & sys.modules.keys(); assert callable(vidjax.load)"
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError):
        _ = vidjax.laod

"""Evaluation end to end with a model of constant scores: the accuracy is known without computing anything."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest
from PIL import Image

from tests import toy
from tests.refusals import unnamed
from vidjax import evaluate
from vidjax.config.preparation import prepare
from vidjax.data import Input, Source, Stream, Video
from vidjax.data.views import ViewSpec
from vidjax.evaluation import metrics, samples
from vidjax.reporting import pictures


@pytest.fixture(scope="module")
def damaged_folder(toy_folder, tmp_path_factory):
    """The toy videos by parts; of the test part 3 are dark, 5 bright, and one more bright one is damaged."""
    root = tmp_path_factory.mktemp("damaged")
    counts = {"train": {"dark": (0, 4), "bright": (0, 4)}, "test": {"dark": (4, 7), "bright": (4, 9)}}
    for part, classes in counts.items():
        for name, (first, last) in classes.items():
            (root / part / name).mkdir(parents=True)
            for number in range(first, last):
                shutil.copy(toy_folder / name / f"{name}{number}.avi", root / part / name)
    (root / "test" / "bright" / "damaged.avi").write_bytes(b"RIFF" + bytes(500))
    return root


@pytest.mark.parametrize("parallel", ["jit", "pmap", "sharded"])
@pytest.mark.parametrize("views", [ViewSpec(clips=3), ViewSpec(clips=1, crops="three", flip=True)])
def test_constant_scores_give_the_exact_accuracy(damaged_folder, parallel, views):
    run = prepare(toy.config(damaged_folder, **toy.CONSTANT, parallel=parallel))
    state = run.strategy.put_state(run.new_state())
    scored, loss = evaluate.predict(run, state, run.eval_step(), "test", views)
    summary = metrics.compute_accuracies(scored)
    # Classes are in alphabetical order, so class 0 is "bright": 5 of the 8 videos that can be read.
    assert (summary.videos, summary.failed_videos) == (8, 1)
    assert summary.video_top1 == summary.clip_top1 == 5 / 8
    assert summary.mean_class_accuracy == 0.5
    assert [failure.id for failure in scored.failed] == ["bright/damaged"]
    assert loss == pytest.approx(
        float(
            (
                5 * -jax.nn.log_softmax(jax.numpy.array([1.0, 0.0]))[0]
                + 3 * -jax.nn.log_softmax(jax.numpy.array([1.0, 0.0]))[1]
            )
            / 8
        ),
        rel=1e-5,
    )


def test_pictures_of_a_run_show_the_first_image_input(tmp_path):
    flow, pose = Input("flow", (2,), "uint8"), Input("pose", (2, 2), "float32", space="points")
    streams = {
        "pose": Stream("pose", frames=np.zeros((9, 2, 2), np.float32)),
        "flow": Stream("flow", frames=np.full((9, 20, 30, 2), (10, 20), np.uint8)),
    }
    videos = [Video("v", 0, "v", streams), Video("w", 1, "w", {**streams, "flow": Stream("gone.npy")})]
    source = Source("walks", "1", ("a", "b"), (), (), (), inputs=(pose, flow))
    ((video, images),) = samples.read_samples(videos, source.image, 4)
    frames = pictures.to_displayable(images)
    assert (
        video.id == "v"
        and frames.shape == (4, 20, 30, 3)
        and np.unique(frames.reshape(-1, 3), axis=0).tolist() == [[10, 20, 128]]
    )
    poses = dataclasses.replace(source, inputs=(pose,))
    nothing = samples.read_samples(videos, poses.image, 4)
    assert nothing == []
    pictures.write_samples(tmp_path / "samples", nothing, nothing)
    assert json.loads((tmp_path / "samples" / "index.json").read_text())["contact"] == []


@pytest.mark.parametrize("model, captions", [("Drawing", ["2 of bright, dark"]), ("Untrained", [])])
def test_a_run_shows_what_its_model_draws_of_test_examples(damaged_folder, tmp_path, model, captions):
    constant = toy.CONSTANT | {"model.factory": f"tests.evaluation.constant_model:{model}"}
    run = prepare(toy.config(damaged_folder, **constant, evaluate__samples=0))
    state = run.strategy.put_state(run.new_state())
    scored, _ = evaluate.predict(run, state, run.eval_step(), "test", ViewSpec())
    videos = dataclasses.replace(
        scored, videos=tuple(v for v in scored.videos if v.id in ("bright/bright4", "dark/dark4"))
    )
    evaluate.write_samples(run, state, videos, tmp_path / "samples")
    shown = json.loads((tmp_path / "samples" / "index.json").read_text())["drawings"]
    assert [each["label"] for each in shown] == captions
    for each in shown:
        assert Image.open(tmp_path / "samples" / each["file"]).size == (2 * 36 + 2 * 36 + 2, 2 * 36)


def test_the_most_confident_mistakes_are_explained(damaged_folder, tmp_path, capsys):
    """Of a network with feature maps; one without has its samples nevertheless, and says why."""
    for number, more in enumerate(({"evaluate__explanations": 2}, {"evaluate__explanations": 2, **toy.CONSTANT})):
        run = prepare(toy.config(damaged_folder, evaluate__samples=1, **more))
        state = run.strategy.put_state(run.new_state())
        scored, _ = evaluate.predict(run, state, run.eval_step(), "test", ViewSpec())
        folder = tmp_path / str(number)
        evaluate.write_samples(run, state, scored, folder)
        index = json.loads((folder / "index.json").read_text())
        assert len(index["clips"]) == 1
        if number:
            assert index["explanations"] == [] and not unnamed(capsys.readouterr().out, "2x2")
            continue
        wrong = sorted((video for video in scored.videos if not video.is_correct), key=lambda v: -max(v.scores))[:2]
        assert [entry["label"].rpartition(": ")[2] for entry in index["explanations"]] == [video.id for video in wrong]
        with Image.open(folder / index["explanations"][0]["file"]) as animation:
            assert animation.size == (36 + 2 + 36, 36)

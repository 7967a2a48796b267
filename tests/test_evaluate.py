"""Evaluation end to end with a model of constant scores: the accuracy is known without computing anything."""

import shutil

import jax
import pytest

from tests import toy
from vidjax import evaluate
from vidjax.data.pipeline import Views
from vidjax.evaluation import metrics
from vidjax.run import prepare


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
@pytest.mark.parametrize("views", [Views(clips=3), Views(clips=1, crops="three", flip=True)])
def test_constant_scores_give_the_exact_accuracy(damaged_folder, parallel, views):
    run = prepare(toy.config(damaged_folder, **toy.CONSTANT, parallel=parallel))
    state = run.form.put_state(run.new_state())
    scored, loss = evaluate.predict(run, state, run.eval_step(), "test", views)
    summary = metrics.summarise(scored)
    # Classes are in alphabetical order, so class 0 is "bright": 5 of the 8 videos that can be read.
    assert (summary["videos"], summary["failed_videos"]) == (8, 1)
    assert summary["video_top1"] == summary["clip_top1"] == 5 / 8
    assert summary["mean_class_accuracy"] == 0.5
    assert [failure["id"] for failure in scored["failed"]] == ["bright/damaged"]
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

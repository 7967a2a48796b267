"""The main job on a toy folder: it learns, resumes after a kill at the same numbers, and says what is wrong."""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from tests import toy
from tests.refusals import refused, unnamed
from vidjax import evaluate, train
from vidjax.config import flat
from vidjax.config.data import source
from vidjax.config.preparation import prepare
from vidjax.data.packed.packing import pack
from vidjax.data.pipeline import training_batches
from vidjax.errors import (
    ConfigError,
    DataError,
    DifferentRunError,
    DivergedError,
    InUseError,
    UnknownKeyError,
    VidjaxError,
)
from vidjax.training.metrics_line import STEP_METRICS
from vidjax.training.metrics_log import MetricsLog

RUN = {
    "train.steps": 12,
    "train.log_every": 5,
    "train.validate_every": 6,
    "checkpoint.every": 4,
    "evaluate.clips": 2,
    "evaluate.samples": 2,
}


def toy_config(root, **more):
    return toy.config(root, **{**RUN, **more})


@pytest.fixture(scope="module")
def finished(toy_folder, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run") / "toy"
    return workdir, train.train_and_evaluate(toy_config(toy_folder), workdir)


def comparable(workdir):
    """All that must be the same for two equal runs."""
    result = json.loads((workdir / "result.json").read_text())
    for key in ("seconds", "command", "date", "commit"):
        del result[key]
    return result, (workdir / "metrics.jsonl").read_text(), (workdir / "predictions" / "test.json").read_text()


def test_writes_the_run_directory(finished, toy_folder):
    workdir, result = finished
    assert result.finished and result.steps == 12
    asked = [
        "model",
        "inputs",
        "dataset",
        "split",
        "seed",
        "parameters",
        "gmacs_per_view",
        "views",
        "videos",
        "failed_videos",
        "clip_top1",
        "video_top1",
        "video_top5",
        "mean_class_accuracy",
        "seconds",
    ]
    assert set(asked) <= set(result.keys())
    assert json.loads((workdir / "result.json").read_text()) == result.to_json()
    assert (result.model, result.dataset, result.views) == ("early_fusion", toy_folder.name, 2)
    assert (workdir / "report.html").stat().st_size > 10_000
    assert any((workdir / "tensorboard").iterdir())
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    logged = [(line["step"], line["split"]) for line in lines]
    assert [step for step, split in logged if split == "train"] == [4, 5, 8, 10, 12]
    assert [step for step, split in logged if split == "validation"] == [6, 12]
    assert set(lines[0]) == {"step", "split", *STEP_METRICS, "learning_rate"}


def test_two_equal_runs_write_equal_files(finished, toy_folder, tmp_path):
    train.train_and_evaluate(toy_config(toy_folder, data__threads=0, data__cache="none"), tmp_path)
    assert comparable(finished[0]) == comparable(tmp_path)


def test_a_finished_run_is_reported_and_not_trained_again(finished, toy_folder, capsys):
    workdir, result = finished
    before = (workdir / "result.json").stat().st_mtime_ns
    assert train.train_and_evaluate(toy_config(toy_folder), workdir) == result
    printed = capsys.readouterr().out
    assert not unnamed(printed, workdir, workdir / "report.html")
    assert (workdir / "result.json").stat().st_mtime_ns == before
    page = (workdir / "report.html").read_bytes()
    (workdir / "report.html").write_bytes(page[: len(page) // 2])  # a kill while an older version wrote it
    train.train_and_evaluate(toy_config(toy_folder), workdir)
    assert (workdir / "report.html").read_bytes() == page


def test_a_directory_with_another_config_is_refused(finished, toy_folder):
    with refused(DifferentRunError, finished[0], "seed", "0 -> 1", "--workdir"):
        train.train_and_evaluate(toy_config(toy_folder, seed=1), finished[0])


@pytest.mark.parametrize(
    "more, tokens",
    [
        ({"train__epochs": 2}, ("train.steps", "train.epochs")),
        ({"optimizer__base_batch_size": 8}, ("optimizer.base_batch_size", "optimizer.scale_with_batch")),
        ({"preprocessing__crop": 8}, ("'early_fusion'", "(2, 8, 8, 3)")),
    ],
)
def test_a_contradiction_is_told_before_another_config_and_before_the_data(finished, tmp_path, more, tokens):
    config = toy_config(tmp_path / "nowhere", seed=1, **more)
    for workdir in (finished[0], tmp_path / "new"):
        with refused(ConfigError, *tokens):
            train.train_and_evaluate(config, workdir)
        assert not (tmp_path / "new").exists()


OWN_MODEL = """
import flax.linen as nn
from vidjax.models import Output

class Net(nn.Module):
    num_classes: int
    hidden: int = 4

    @nn.compact
    def __call__(self, rgb, train=False):
        x = nn.relu(nn.Dense(self.hidden, name="hidden")(rgb.mean(axis=(1, 2, 3))))
        return Output(nn.Dense(self.num_classes)(x)[:, None])
"""


def test_a_model_of_ones_own_is_trained_and_evaluated_with_its_options(toy_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path] + [str(toy.ROOT)])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_model_with_options.py").write_text(OWN_MODEL)
    factory, workdir = "own_model_with_options:Net", tmp_path / "run"
    keys = {"model.factory": factory, "model.width_multiplier": ..., "model.hidden": 7}
    result = train.train_and_evaluate(toy_config(toy_folder, **keys, **{"train.steps": 2}), workdir)
    assert json.loads((workdir / "config.json").read_text())["model"]["hidden"] == 7
    with refused(ConfigError, f"model.factory={factory}", f"--config.model.factory={factory}"):
        evaluate.stored_config(workdir, {})
    config = evaluate.stored_config(workdir, {"model.factory": factory})
    assert evaluate.evaluate(config, workdir).video_top1 == result.video_top1
    assert result.parameters == 3 * 7 + 7 + 7 * 2 + 2


def test_an_evaluation_tells_a_contradiction_first(finished, tmp_path):
    for workdir in (finished[0], tmp_path / "new"):
        with refused(ConfigError, "evaluate.average='mean'", "probabilities, logits, lengths"):
            evaluate.evaluate(toy_config(tmp_path / "nowhere", seed=1, evaluate__average="mean"), workdir)
    config = evaluate.stored_config(finished[0], {"train.epochs": "3"})
    with refused(DifferentRunError, finished[0], "train.epochs", "null -> 3.0", "train.steps", "12 -> null"):
        evaluate.evaluate(config, finished[0])


def test_data_that_moved_or_were_packed_are_the_same(finished, toy_folder, tmp_path):
    workdir, result = finished
    shutil.copytree(toy_folder, tmp_path / "moved")
    moved = toy_config(tmp_path / "moved")
    assert train.train_and_evaluate(moved, workdir) == result
    assert evaluate.evaluate(moved, workdir).video_top1 == result.video_top1
    pack(source(moved), tmp_path / "packed")
    packed = toy_config(tmp_path / "packed", data__name="packed")
    assert train.train_and_evaluate(packed, workdir) == result
    assert evaluate.evaluate(packed, workdir).video_top1 == result.video_top1


def test_other_data_of_the_same_names_are_refused(finished, toy_folder, tmp_path):
    workdir, _ = finished
    other = toy_config(shutil.copytree(toy_folder, tmp_path / "other"))
    with (tmp_path / "other" / "dark" / "dark0.avi").open("ab") as file:
        file.write(b"more")
    for go_on in (train.train_and_evaluate, evaluate.evaluate):
        with refused(DataError, "data.root", "1", "dark/dark0", "--workdir"):
            go_on(other, workdir)
    (tmp_path / "other" / "dark" / "dark0.avi").unlink()
    with refused(DataError, workdir, "18 -> 17", "2 -> 2", "4 -> 4"):
        train.train_and_evaluate(other, workdir)
    shutil.copytree(workdir, tmp_path / "run")
    (tmp_path / "run" / "data.json").unlink()
    with refused(DataError, tmp_path / "run", "data.root", "--workdir"):
        train.train_and_evaluate(other, tmp_path / "run")


def test_eval_mode_gives_the_same_accuracies(finished, toy_folder):
    workdir, result = finished
    again = evaluate.evaluate(toy_config(toy_folder), workdir)
    for key in ("video_top1", "clip_top1", "steps", "per_class_correct"):
        assert getattr(again, key) == getattr(result, key)


def test_eval_mode_without_a_checkpoint_says_so(toy_folder, tmp_path):
    with refused(VidjaxError, tmp_path, "--workdir"):
        evaluate.evaluate(toy_config(toy_folder), tmp_path)


@pytest.mark.parametrize(
    "more, tokens",
    [
        ({"preprocessing__crop": 44}, ("preprocessing.crop=44", "data.crop=40")),
        ({"preprocessing__crop": 8}, ("'early_fusion'", "(2, 8, 8, 3)")),
        ({"model__normalization": "layer"}, ("model.normalization='layer'", "lrn, batch, none")),
        ({"optimizer__momentum": 0.9}, ("'adamw'", "'momentum'")),
        ({"evaluate__average": "mean"}, ("evaluate.average='mean'", "probabilities, logits, lengths")),
        ({"loss__name": "margin"}, ("loss.name=margin", "evaluate.average=probabilities")),
        ({"loss__name": "margin", "loss__reconstruction": -1.0}, ("loss.reconstruction=-1.0", "0")),
        ({"loss__margin_fraction": 0.5}, ("'cross_entropy'", "'margin_fraction'", "spread")),
        ({"model__streams": "half"}, ("model.streams='half'", "full, both, fovea, context")),
        (
            {"loss__name": "spread", "evaluate__average": "lengths"},
            ("spread", "0.2", "0.9", "loss.margin_steps"),
        ),
        ({"evaluate__average": "lengths"}, ("loss.name=cross_entropy", "evaluate.average=lengths")),
        ({"train__batch_size": 0}, ("train.batch_size=0", "1")),
        ({"train__steps": 0}, ("train.steps=0", "1")),
        ({"loss__label_smoothing": 1.5}, ("loss.label_smoothing=1.5", "0", "1")),
        ({"model__dropout": -0.1}, ("model.dropout=-0.1", "0", "1")),
        ({"preprocessing__brightness": 2.0}, ("preprocessing.brightness=2.0", "0", "1")),
        ({"evaluate__samples": -1}, ("evaluate.samples=-1", "0")),
        ({"model__name": "erly_fusion"}, ("'erly_fusion'", "'early_fusion'")),
    ],
)
def test_what_does_not_fit_is_refused_before_there_are_data(tmp_path, more, tokens):
    with refused(ConfigError, *tokens):
        train.train_and_evaluate(toy_config(tmp_path / "nowhere", **more), tmp_path / "run")


@pytest.mark.parametrize(
    "more, tokens",
    [
        ({"preprocessing__flip": True}, ("preprocessing.flip=True", "data.mirror=invariant")),
        ({"evaluate__flip": True}, ("evaluate.flip=True", "data.mirror=invariant")),
        (
            {"loss__name": "margin", "loss__reconstruction": 0.1, "evaluate__average": "lengths"},
            ("loss.reconstruction=0.1",),
        ),
    ],
)
def test_what_does_not_fit_the_data_is_refused_before_training(toy_folder, tmp_path, more, tokens):
    with refused(VidjaxError, *tokens):
        train.train_and_evaluate(toy_config(toy_folder, **more), tmp_path / "run")


def test_a_refused_config_leaves_the_directory_free(toy_folder, tmp_path):
    with refused(UnknownKeyError, "'adamw'", "'momentum'"):
        train.train_and_evaluate(toy_config(toy_folder, optimizer__momentum=0.9), tmp_path)
    assert not (tmp_path / "config.json").exists()
    with refused(UnknownKeyError, "'adamw'", "'momentum'"):
        train.train_and_evaluate(toy_config(toy_folder, optimizer__momentum=0.9), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_an_attempt_that_trained_nothing_leaves_the_directory_free(toy_folder, tmp_path):
    (tmp_path / "config.json").write_text(flat.to_json(toy_config(toy_folder, seed=1)))
    assert train.train_and_evaluate(toy_config(toy_folder), tmp_path).seed == 0


def test_a_result_that_was_cut_short_is_made_again(finished, toy_folder, tmp_path):
    shutil.copytree(finished[0], tmp_path / "run")
    (tmp_path / "run" / "result.json").write_text('{"finished": tr')
    (tmp_path / "run" / "report.html").unlink()
    train.train_and_evaluate(toy_config(toy_folder), tmp_path / "run")
    assert comparable(tmp_path / "run") == comparable(finished[0])
    assert (tmp_path / "run" / "report.html").exists()


def test_a_second_process_in_the_same_directory_is_refused(toy_folder, tmp_path):
    with (tmp_path / ".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with refused(InUseError, tmp_path):
            train.train_and_evaluate(toy_config(toy_folder), tmp_path)


def test_eval_mode_refuses_other_data_and_keeps_other_views_apart(finished, toy_folder):
    workdir, _ = finished
    with refused(DifferentRunError, workdir, "data.seed", "null -> 1"):
        evaluate.evaluate(toy_config(toy_folder, data__seed=1), workdir)
    other = evaluate.evaluate(toy_config(toy_folder, evaluate__clips=3), workdir)
    assert other.views == 3
    assert json.loads((workdir / "result.json").read_text())["views"] == 2


def test_eval_mode_takes_the_config_of_the_run_and_leaves_its_result_alone(finished, toy_folder):
    workdir, result = finished
    before = (workdir / "result.json").read_bytes()
    config = evaluate.stored_config(workdir, {"evaluate.clips": "1", "evaluate.batch_size": "16"})
    assert evaluate.evaluate(config, workdir).views == 1
    assert evaluate.evaluate(evaluate.stored_config(workdir, {}), workdir).video_top1 == result.video_top1
    assert (workdir / "result.json").read_bytes() == before
    assert all((folder / "report.html").exists() for folder in (workdir / "evaluations").iterdir())
    with refused(UnknownKeyError, "'evaluate.clip'", "'evaluate.clips'"):
        evaluate.stored_config(workdir, {"evaluate.clip": "1"})


def test_a_run_is_not_continued_on_other_data(finished, toy_folder, tmp_path):
    workdir, _ = finished
    data = shutil.copytree(toy_folder, tmp_path / toy_folder.name)
    shutil.copytree(workdir, tmp_path / "run")
    config = evaluate.stored_config(tmp_path / "run", {})
    config.data.root = str(data)
    (tmp_path / "run" / "config.json").write_text(flat.to_json(config))
    assert evaluate.evaluate(config, tmp_path / "run").videos > 0
    (data / "dark" / "dark3.avi").unlink()
    with refused(DataError, tmp_path / "run", "18 -> 17", "2 -> 2", "4 -> 4"):
        evaluate.evaluate(config, tmp_path / "run")


RECIPE = {
    "schedule__name": "plateau",
    "schedule__factor": 0.5,
    "schedule__patience": 1,
    "optimizer__freeze": "features/conv1",
    "optimizer__multipliers": "classifier=2",
    "train__validate_every": 2,
    "train__grad_accum_steps": 2,
    "train__ema_decay": 0.9,
    "train__monitor": "loss",
    "evaluate__weights": "best",
}


@pytest.mark.slow
def test_best_and_averaged_weights_and_the_plateau_survive_an_interruption(toy_folder, tmp_path, monkeypatch):
    config = toy_config(toy_folder, **RECIPE)
    whole = train.train_and_evaluate(config, tmp_path / "whole")
    lines = [json.loads(line) for line in (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()]
    losses = {line["step"]: line["loss"] for line in lines if line["split"] == "validation"}
    assert whole.weights == "best" and whole.best_step == min(losses, key=losses.get)

    write = MetricsLog.write

    def interrupted(self, line):
        if line.step == 10:
            raise KeyboardInterrupt
        write(self, line)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(MetricsLog, "write", interrupted)
        train.train_and_evaluate(config, tmp_path / "parts")
    train.train_and_evaluate(config, tmp_path / "parts")
    assert comparable(tmp_path / "parts") == comparable(tmp_path / "whole")


@pytest.mark.slow
def test_training_stops_when_validation_no_longer_improves(toy_folder, tmp_path):
    options = {"train__early_stopping_patience": 2, "train__validate_every": 1, "train__monitor": "loss"}
    result = train.train_and_evaluate(toy_config(toy_folder, optimizer__learning_rate=0.0, **options), tmp_path)
    assert result.stopped_early and result.finished and result.steps < 12
    assert train.train_and_evaluate(toy_config(toy_folder, optimizer__learning_rate=0.0, **options), tmp_path) == result


@pytest.mark.slow
def test_frozen_parameters_and_their_statistics_do_not_move(toy_folder):
    run = prepare(toy_config(toy_folder, optimizer__freeze="features/.*1", optimizer__weight_decay=0.1))
    before = jax.device_get(run.new_state())
    state, step = run.strategy.put_state(run.new_state()), run.train_step()
    with training_batches(run.source.train, run.clip, batch_size=8, seed=0, cache=run.cache) as batches:
        for _ in range(2):
            state, _ = step(state, run.strategy.put_batch(next(batches)))
    for old, new in ((before.params, state.params), (before.model_state, state.model_state)):
        for (path, was), now in zip(jax.tree_util.tree_leaves_with_path(old), jax.tree.leaves(new)):
            name = jax.tree_util.keystr(path)
            assert np.array_equal(was, now) == ("conv1" in name or "norm1" in name), name


@pytest.mark.slow
def test_pmap_over_two_devices_trains_as_one(finished, toy_folder, tmp_path, monkeypatch):
    two_devices = jax.devices()[:2]
    monkeypatch.setattr(jax, "devices", lambda: two_devices)
    result = train.train_and_evaluate(toy_config(toy_folder, parallel="pmap"), tmp_path)
    assert result.parallel == "pmap" and result.videos == finished[1].videos
    one, two = ((folder / "metrics.jsonl").read_text().splitlines() for folder in (finished[0], tmp_path))
    losses = [[json.loads(line)["loss"] for line in lines] for lines in (one, two)]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-2)


def test_divergence_ends_the_run_with_advice(toy_folder, tmp_path):
    with refused(DivergedError, "optimizer.learning_rate", "optimizer.clip_norm"):
        train.train_and_evaluate(toy_config(toy_folder, **toy.NET, optimizer__learning_rate=1e30), tmp_path)


def command(root, workdir, *more):
    overrides = [f"--config.{key}={value}" for key, value in toy.overrides(root, **RUN).items()]
    return [
        sys.executable,
        "launch.py",
        "--config=configs/early_fusion.py:folder",
        *overrides,
        f"--workdir={workdir}",
        *more,
    ]


def test_kill_and_the_same_command_again_ends_at_the_same_numbers(finished, toy_folder, tmp_path):
    workdir = tmp_path / "killed"
    process = subprocess.Popen(
        command(toy_folder, workdir), cwd=toy.ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    # As soon as a first checkpoint is whole, in the middle of training.
    while not (workdir / "checkpoints" / "4").is_dir() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (workdir / "result.json").exists()
    again = subprocess.run(command(toy_folder, workdir), cwd=toy.ROOT, capture_output=True, text=True, timeout=300)
    assert again.returncode == 0, again.stderr
    assert "resuming" in again.stdout
    assert comparable(workdir) == comparable(finished[0])


def test_launcher_says_what_is_wrong_in_one_line(toy_folder, tmp_path):
    wrong = subprocess.run(
        command(toy_folder, tmp_path, "--config.train.batchsize=3"),
        cwd=toy.ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert wrong.returncode == 1
    assert wrong.stderr.startswith("launch.py: ") and wrong.stderr.count("\n") == 1
    assert not unnamed(wrong.stderr, "'train.batchsize'", "'train.batch_size'")


@pytest.mark.slow
@pytest.mark.parametrize("check", [True, False])
def test_training_goes_on_without_a_damaged_video_and_says_so(toy_folder, tmp_path, capsys, check):
    """Whether the damage is known beforehand or found on the way; as long as it is not too much."""
    root = tmp_path / "toy"
    for part, numbers in {"train": range(8), "val": (8, 9), "test": (10, 11)}.items():
        for name in ("dark", "bright"):
            (root / part / name).mkdir(parents=True)
            for number in numbers:
                shutil.copy(toy_folder / name / f"{name}{number}.avi", root / part / name)
    (root / "train" / "dark" / "dark3.avi").write_bytes(b"RIFF" + bytes(500))
    config = toy_config(root, data__check=check)
    result = train.train_and_evaluate(config, tmp_path / "run")
    assert result.replaced_train_videos == 1 and result.finished and result.failed_videos == 0
    assert not unnamed(capsys.readouterr().out, "dark/dark3")
    strict = toy_config(root, data__check=check, data__max_bad_fraction=0)
    with refused(DataError, "1", "16", "--config.data.max_bad_fraction=0.063"):
        train.train_and_evaluate(strict, tmp_path / "strict")


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_file_where_the_run_directory_should_be(toy_folder, tmp_path, place):
    (tmp_path / "file").write_text("x")
    with refused(VidjaxError, f"--workdir={tmp_path / place}"):
        train.train_and_evaluate(toy_config(toy_folder), tmp_path / place)


@pytest.mark.slow
def test_interrupted_while_it_starts_it_ends_at_once_and_says_so(toy_folder, tmp_path):
    """While XLA compiles, too, where an orderly shutdown of the interpreter crashes."""
    endless = toy.overrides(toy_folder, **{**RUN, "train.steps": 10**6})
    arguments = [f"--config.{key}={value}" for key, value in endless.items()]
    for number, wait in enumerate((0.3, 1.5, 3.0)):
        process = subprocess.Popen(
            [
                *(sys.executable, "launch.py", "--config=configs/early_fusion.py:folder"),
                *(*arguments, f"--workdir={tmp_path / str(number)}"),
            ],
            cwd=toy.ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # What a shell starts in the background ignores interruptions, and so would what it starts in turn.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        next(line for line in process.stdout if "config" in line)  # it has come as far as preparing the run
        time.sleep(wait)
        process.send_signal(signal.SIGINT)
        try:
            _, errors = process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            pytest.fail("it goes on")
        assert process.returncode == 130, errors
        assert errors.splitlines()[-1].startswith("launch.py: ") and "Traceback" not in errors

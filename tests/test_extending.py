"""docs/extending.md is run as it stands: its files in a folder of their own, then its commands."""

import ast
import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from tests.refusals import unnamed
from vidjax.models import Output
from vidjax.system import files
from vidjax.training.losses import cross_entropy

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "docs" / "extending.md").read_text()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What the text calls `NAME.py` and shows behind that."""
    place = tmp_path_factory.mktemp("own")
    for name, code in re.findall(r"`(\w+\.py)`[^\n]*(?:\n[^`\n]+)*?\n\n```python\n(.*?)```", TEXT, re.S):
        (place / name).write_text(code)
    # A config is named by its path: those of vidjax lie in the checkout, where a user stands.
    (place / "configs").symlink_to(ROOT / "configs")
    return place


def run(folder, *words):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment = {**kept, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run([sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True)


# Each command of a list as launch.py would run it, in one process: importing JAX takes longer than what most do.
# It prints what each wrote, and the message of its error or "".
SEVERAL = """
import contextlib, io, json, sys
import grain  # whose flags would be forgotten if a command imported it
from absl.testing import flagsaver
from vidjax.cli.train import launch
found = []
for words in json.loads(sys.argv[1]):
    sys.argv, out = ["launch.py", *words], io.StringIO()
    with contextlib.redirect_stdout(out), flagsaver.flagsaver():
        try:
            launch(argv=words)
        except SystemExit as end:
            found.append((out.getvalue(), str(end.code or "")))
print(json.dumps(found))
"""


def launched(folder, *commands):
    """What each command wrote, and the message of its error or ""."""
    done = run(folder, "-P", "-c", SEVERAL, json.dumps(commands))
    assert not done.returncode, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_every_block_of_code_is_python():
    blocks = re.findall(r"```python\n(.*?)```", TEXT, re.S)
    assert len(blocks) >= 6
    for code in blocks:
        ast.parse(code)


def test_the_files_are_those_that_the_text_names(folder):
    found = sorted(path.name for path in folder.glob("*.py"))
    assert found == [
        *("by_person.py", "focal_loss.py", "frame_lstm.py", "frame_lstm_config.py", "frame_lstm_table.py"),
        *("my_models.py", "reciprocal_rank.py", "test_frame_lstm.py", "with_pose.py", "worst_class_table.py"),
    ]


def test_a_network_outside_of_vidjax_is_trained_and_evaluated(folder, toy_folder):
    launch = str(ROOT / "launch.py")
    config = ["--config=frame_lstm_config.py:folder", f"--config.data.root={toy_folder}"]
    small = [
        *("--config.model.hidden=8", "--config.train.steps=3", "--config.parallel=jit", "--config.train.batch_size=8"),
        *("--config.data.short_side=40", "--config.data.crop=40", "--config.preprocessing.crop=36"),
        *("--config.evaluate.batch_size=8", "--config.evaluate.clips=1", "--config.evaluate.samples=0"),
    ]
    done = run(folder, launch, *config, *small)
    assert not done.returncode, done.stdout + done.stderr
    workdir = "runs/frame_lstm-folder"
    stored = files.read_json(folder / workdir / "config.json")["model"]
    assert stored == {"name": "early_fusion", "factory": "frame_lstm:FrameLSTM", "features": None, "hidden": 8}
    result = files.read_json(folder / workdir / "result.json")
    assert result["model"] == "frame_lstm:FrameLSTM" and result["inputs"].startswith("rgb 10x36x36")

    evaluation = [f"--workdir={workdir}", "--mode=eval", "--config.evaluate.clips=2"]
    again = "--config.model.factory=frame_lstm:FrameLSTM"
    (_, refusal), (_, failure) = launched(folder, evaluation, [*evaluation, again])
    assert again in refusal and not failure, failure
    assert len(list((folder / workdir / "evaluations").iterdir())) == 1


def test_its_options_are_explained_and_checked(folder):
    config = "--config=frame_lstm_config.py"
    commands = [config, "--help"], [config, "--config.model.hidden=0"], [config, "--config.model.hiden=3"]
    (shown, failure), (_, low), (_, unknown) = launched(folder, *commands)
    assert not failure and "--config.model.hidden=None (64)" in shown and "units of the LSTM" in shown
    assert not unnamed(low, "model.hidden=0", "1") and "hidden" in unknown


def test_its_own_test_passes(folder):
    done = run(folder, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_frame_lstm.py")
    assert not done.returncode and "1 passed" in done.stdout, done.stdout


def test_it_is_a_row_of_a_table(folder):
    ((listed, failure),) = launched(folder, ["--experiment=frame_lstm_table.py", "--list"])
    assert not failure and listed.count("LSTM_over_frame_features-seed") == 3


def test_a_model_with_an_option(folder):
    section = TEXT.partition("## A model with an option\n")[2].partition("\n## ")[0]
    (command,) = re.findall(r"```bash\npython (.*?)\n```", section, re.S)
    (line,) = re.findall(r"`(--config\.model\.hidden=None.*?)`", section)
    program, *words = [word for word in command.split() if word != "\\"]
    assert program == "launch.py"
    wrong = [*(word for word in words if "hidden" not in word), "--config.model.hidden=0"]
    (shown, failure), (_, refusal) = launched(folder, [*words, "--help"], wrong)
    assert not failure and f"  {line}\n      units of the hidden layer\n" in shown, shown
    assert not unnamed(refusal, "model.hidden=0", "1")


def test_key_points_beside_the_pictures(folder, toy_folder, tmp_path):
    for number, path in enumerate(sorted(toy_folder.rglob("*.avi"))):
        place = tmp_path / path.parent.name
        place.mkdir(exist_ok=True)
        (place / path.name).write_bytes(path.read_bytes())
        points = np.random.default_rng(number).random((14, 17, 3), np.float32)
        points[:, 3] = np.nan  # never found
        np.save(place / f"{path.stem}.pose.npy", points)
    section = TEXT.partition("## Other inputs than RGB\n")[2].partition("\n## ")[0]
    (command,) = re.findall(r"```bash\npython launch.py (.*?)\n```", section, re.S)
    words = command.replace("data.root=videos", f"data.root={tmp_path}").replace("\\\n", " ").split()
    small = [
        *("--config.data.frames=2", "--config.data.short_side=40", "--config.data.crop=40", "--config.train.epochs=2"),
        *("--config.preprocessing.crop=36", "--config.train.batch_size=8", "--config.parallel=jit"),
        *("--config.evaluate.clips=1", "--config.evaluate.samples=0", "--workdir=runs/with_pose"),
    ]
    done = run(folder, str(ROOT / "launch.py"), *words, *small)
    assert not done.returncode, done.stdout + done.stderr
    result = files.read_json(folder / "runs/with_pose/result.json")
    assert result["inputs"].startswith("rgb 2x36x36") and "pose" in result["inputs"] and result["videos"] == 5
    (flow,) = [
        code for code in re.findall(r"```python\n(.*?)```", section, re.S) if code.startswith("from vidjax.data")
    ]
    exec(flow, found := {})
    assert found["FLOW"].shape == (2,) and found["FLOW"].vectors


@pytest.fixture(scope="module")
def recordings(toy_folder, tmp_path_factory):
    """The toy videos, as recordings of four people."""
    place = tmp_path_factory.mktemp("recordings")
    for number, path in enumerate(sorted(toy_folder.rglob("*.avi"))):
        person = ("anna", "ben", "chris", "dora")[number % 4]
        (place / f"{person}_{path.parent.name}_{number}.avi").write_bytes(path.read_bytes())
    return place


@pytest.fixture(scope="module")
def own_run(folder, recordings):
    """One run of the experiment of the text, with its source, its loss and its metric."""
    done = run(
        folder,
        *(str(ROOT / "launch.py"), "--experiment=worst_class_table.py", "--workdir=table", "--only=focal-seed0"),
        *("--config.data.factory=by_person:load", f"--config.data.root={recordings}"),
        *("--config.data.test_people=anna", "--config.data.validation_people=ben", "--config.data.frames=2"),
        *("--config.data.short_side=40", "--config.data.crop=40", "--config.preprocessing.crop=36"),
        *("--config.model.width_multiplier=0.05", "--config.train.steps=2", "--config.train.batch_size=8"),
        *("--config.parallel=jit", "--config.evaluate.clips=1", "--config.evaluate.samples=0"),
    )
    assert "focal-seed0" in done.stdout, done.stdout + done.stderr
    assert (folder / "table/runs/focal-seed0/result.json").is_file(), done.stdout + done.stderr
    return folder / "table/runs/focal-seed0"


def test_a_source_tests_on_people_that_training_has_not_seen(own_run):
    card, predictions = (files.read_json(own_run / name) for name in ("data.json", "predictions/test.json"))
    assert (card["name"], card["train"], card["validation"], card["test"]) == ("by_person", 12, 6, 6)
    assert {video["group"] for video in predictions["videos"]} == {"anna"}
    assert predictions["classes"] == ["bright", "dark"]


def test_a_loss_is_trained_with_and_gives_less_than_the_cross_entropy(own_run, folder, monkeypatch):
    loss = files.read_json(own_run / "config.json")["loss"]
    assert (loss["factory"], loss["gamma"]) == ("focal_loss:focal", 1.5)
    monkeypatch.syspath_prepend(folder)
    focal = importlib.import_module("focal_loss").focal
    given = Output(jnp.array([[[2.0, 0.0]], [[0.0, 2.0]]])), jnp.array([0, 0])
    plain = cross_entropy(*given)
    assert abs(focal(*given, gamma=0.0) - plain).max() < 1e-6
    assert (focal(*given) < plain).all()


def test_a_metric_is_a_column_and_another_reads_the_scores(own_run, folder):
    table = (folder / "table" / "table.md").read_text().splitlines()
    result = files.read_json(own_run / "result.json")
    worst = min(right / videos for right, videos in zip(result["per_class_correct"], result["per_class_videos"]))
    rows = [[cell.strip() for cell in line.split("|")] for line in table if line.startswith("|")]
    cells = dict(zip(rows[0], rows[-1]))
    assert cells["worst class %"] == f"{100 * worst:.1f}" and cells["loss"] == "focal", table
    done = run(folder, "reciprocal_rank.py", str(own_run))
    assert not done.returncode and "over 6 videos" in done.stdout, done.stderr
    expected = result["video_top1"] + (1 - result["video_top1"]) / 2  # of two classes the other one is second
    assert f"rank {expected:.3f} " in done.stdout

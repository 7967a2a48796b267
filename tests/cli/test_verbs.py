import argparse
import errno
import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.refusals import unnamed
from vidjax import cli
from vidjax.config import data, loading
from vidjax.config.overrides import config_overrides
from vidjax.data import Source, Video
from vidjax.errors import ConfigError, DataError
from vidjax.evaluation.result import Baseline

ROW = {
    "baseline": "majority class",
    "dataset": "tones",
    "split": "1",
    "videos": 4,
    "failed_videos": 0,
    "video_top1": 0.25,
    "mean_class_accuracy": 0.5,
    "correct": 1,
    "per_class_correct": [1, 0],
    "per_class_videos": [1, 3],
}


@pytest.fixture
def calls(monkeypatch):
    """Replaces the config and the decoding; records what reached them."""
    seen = {}
    video = Video.of("a", "a.avi", 0, "a")
    source = Source("tones", "1", ("x", "y"), (video,), (), (video,))
    monkeypatch.setattr(loading, "load", lambda argument, overrides: seen.update(load=(argument, overrides)))
    monkeypatch.setattr(data, "source", lambda config: source)
    monkeypatch.setattr(
        "vidjax.cli.baselines.baseline_rows",
        lambda source, progress: seen.update(source=source) or [Baseline.from_json(ROW, "row")],
    )
    return seen


def test_baselines_prints_a_table_and_writes_json(calls, tmp_path, capsys):
    out = tmp_path / "new" / "rows.json"
    words = [
        "baselines",
        "--config=c.py:small",
        "--config.data.split=2",
        "--config.data.root",
        "clips",
        f"--json={out}",
    ]
    assert cli.main(words) == 0
    assert calls["load"] == ("c.py:small", {"data.split": "2", "data.root": "clips"})
    assert json.loads(out.read_text()) == [ROW]
    printed = capsys.readouterr().out
    assert "majority class" in printed and "1 / 4" in printed and "25.0%" in printed and "50.0%" in printed


def test_errors_are_one_line_and_status_1(calls, monkeypatch, capsys):
    def fail(config):
        raise DataError("clip.avi")

    monkeypatch.setattr(data, "source", fail)
    assert cli.main(["baselines", "--config=c.py"]) == 1
    assert capsys.readouterr().err == "error: clip.avi\n"
    assert cli.main(["baselines", "--config=c.py", "--jsn=x"]) == 1
    assert not unnamed(capsys.readouterr().err, "'--jsn=x'")


def test_config_overrides():
    assert config_overrides(["--config.a=b=c", "--config.d.e", "1"]) == {"a": "b=c", "d.e": "1"}
    for words in (["--config.a"], ["x"], ["--config.=1"], ["--configs.a=1"]):
        with pytest.raises(ConfigError):
            config_overrides(words)


def test_help_lists_every_verb_and_each_verb_explains_itself(capsys):
    for words in (["--help"], *([verb, "--help"] for verb in cli.VERBS)):
        with pytest.raises(SystemExit) as stop:
            cli.main(words)
        assert stop.value.code == 0
    printed = capsys.readouterr().out
    assert all(verb in printed for verb in cli.VERBS) and "--json" in printed and "Example:" in printed


@pytest.mark.parametrize(
    "verb, words",
    [
        ("baselines", ["--config=c.py", "--json=~/x"]),
        ("benchmark", ["--config=c.py", "--profile=~/x"]),
        ("check-data", ["~/x", "--out=~/x"]),
        ("collect", ["~/x", "--destination=~/x"]),
        ("ensemble", ["~/x", "~/x", "--out=~/x"]),
        ("explain", ["~/x", "--workdir=~/x", "--out=~/x"]),
        ("export", ["--workdir=~/x", "--out=~/x"]),
        ("features", ["~/x", "--workdir=~/x", "--out=~/x"]),
        ("pack", ["~/x", "--config=c.py"]),
        ("predict", ["~/x", "--workdir=~/x", "--every=1s", "--plot=~/x", "--csv=~/x", "--strip=~/x"]),
        ("readme", ["--root=~/x"]),
        ("zero-shot", ["--root=~/x", "--out=~/x"]),
    ],
)
def test_a_tilde_is_the_home_directory(verb, words, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    parser = argparse.ArgumentParser()
    importlib.import_module(f"vidjax.cli.{verb.replace('-', '_')}").add_arguments(parser)
    values = [value for value in vars(parser.parse_args(words)).values() if "x" in str(value)]
    paths = [str(path) for value in values for path in (value if isinstance(value, list) else [value])]
    assert paths == ["/home/me/x"] * sum("~" in word for word in words)


def test_every_verb_knows_the_home_directory():
    """A path that is read by `Path` alone does not."""
    for verb in cli.VERBS.keys() - {"train"}:
        parser = argparse.ArgumentParser()
        importlib.import_module(f"vidjax.cli.{verb.replace('-', '_')}").add_arguments(parser)
        assert not [action.dest for action in parser._actions if action.type is Path]


@pytest.mark.parametrize("words", [["train", "--config=c.py"], ["--config=c.py", "train"]])
def test_train_parses_its_own_flags_wherever_it_stands(words, monkeypatch):
    launched = []
    monkeypatch.setattr("vidjax.cli.train.launch", lambda *given: launched.append(given) or sys.exit(0))
    with pytest.raises(SystemExit):
        cli.main(words)
    assert launched == [("-m vidjax train", ["--config=c.py"])]


def test_python_m_vidjax_runs():
    done = subprocess.run([sys.executable, "-m", "vidjax", "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and "baselines" in done.stdout


@pytest.mark.parametrize(
    "words, named",
    [
        (["predict", "a.avi", "--workdir=none", "--csv=file/a.csv"], "--csv=file/a.csv"),
        (["predict", "a.avi", "--workdir=none", "--csv=folder"], "--csv=folder"),
        (["predict", "a.avi", "--workdir=none", "--strip=file/in"], "--strip=file/in"),
        (["predict", "a.avi", "--workdir=none", "--every=1s", "--plot=folder"], "--plot=folder"),
        (["explain", "a.avi", "--workdir=none", "--out=file"], "--out=file"),
        (["features", "a.avi", "--workdir=none", "--out=file/a.npz"], "--out=file/a.npz"),
        (["export", "--workdir=none", "--out=file/a.stablehlo"], "--out=file/a.stablehlo"),
        (["weights", "export", "none", "--out=file/in"], "--out=file/in"),
        (["baselines", "--config=none.py", "--json=file/a.json"], "--json=file/a.json"),
        (["zero-shot", "--root=none", "--out=file/a.json"], "--out=file/a.json"),
        (["ensemble", "none", "none", "--out=file/in"], "--out=file/in"),
    ],
)
def test_a_place_that_cannot_be_written_is_named_before_the_work(words, named, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    Path("folder").mkdir()
    assert cli.main(words) == 1
    printed = capsys.readouterr().err
    assert len(printed.splitlines()) == 1 and not unnamed(printed, named)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "folder"]


def test_what_the_system_refuses_is_one_line(monkeypatch, capsys):
    def refused(*_):
        raise PermissionError(errno.EACCES, "Permission denied", "clips/a")

    monkeypatch.setattr("vidjax.cli.doctor.run", refused)
    assert cli.main(["doctor"]) == 1
    assert capsys.readouterr().err == "error: clips/a: Permission denied\n"

    def broken(*_):
        raise OSError(errno.EIO, "Input/output error", "clips/a")

    monkeypatch.setattr("vidjax.cli.doctor.run", broken)
    with pytest.raises(OSError, match="clips/a"):
        cli.main(["doctor"])

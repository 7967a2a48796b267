"""`launch.py` and `python -m vidjax train`: what their flags mean together, before anything of a run begins."""

import logging

import pytest
from absl import flags
from absl.testing import flagsaver

from tests.refusals import refused, unnamed
from vidjax import train
from vidjax.cli import train as launcher
from vidjax.config import renamed
from vidjax.errors import ConfigError, VidjaxError
from vidjax.experiment import plan
from vidjax.system import memory


def call(*words, **values):
    """Runs `launcher.main` as if these flags had been given; `words` is what is left of the command line."""
    flags.FLAGS.mark_as_parsed()
    with flagsaver.flagsaver(**values):
        return launcher.main(["launch.py", *words])


def test_a_tilde_is_the_home_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    with refused(VidjaxError, tmp_path / "runs/a", "config.json", "--workdir"):
        call(mode="eval", workdir="~/runs/a")
    (tmp_path / "mine.py").write_text("")
    with refused(ConfigError, tmp_path / "mine.py", "get_experiment()"):
        call(experiment="~/mine.py")
    with refused(ConfigError, tmp_path / "mine.py", "get_experiment()"):
        plan.load("~/mine.py")


@pytest.mark.parametrize(
    "words, flags_given, tokens",
    [
        (
            ["--config.train.steps=600"],
            {},
            ("--config.train.steps=600", "--config=FILE"),
        ),
        (["--config.evaluate.clips=2"], {"mode": "eval"}, ("--config.evaluate.clips=2", "--workdir=DIR")),
        (["configs/c3d.py:ucf101"], {}, ("'configs/c3d.py:ucf101'", "--config=configs/c3d.py:ucf101")),
        (["experiments/motion.py"], {}, ("--experiment=experiments/motion.py",)),
        (["train.steps=5"], {}, ("'train.steps=5'", "--config.KEY=VALUE")),
        ([], {}, ("--config", "--experiment")),
        ([], {"mode": "eval"}, ("--workdir",)),
        ([], {"mode": "eval", "experiment": "experiments/motion.py"}, ("--experiment", "--config", "--mode")),
        ([], {"only": "x"}, ("--list", "--only", "--experiment")),
    ],
)
def test_what_flags_do_not_say_together(words, flags_given, tokens):
    with refused(ConfigError, *tokens):
        call(*words, **flags_given)


def test_a_run_directory_alone_says_what_is_missing(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with refused(ConfigError, f"--workdir={tmp_path}", "--config", "--mode=eval"):
        call(workdir=str(tmp_path))


def test_what_is_typed_of_the_config_arrives(monkeypatch, tmp_path):
    trained = []
    monkeypatch.setattr(train, "train_and_evaluate", lambda config, workdir: trained.append((config, workdir)))
    monkeypatch.setattr(memory, "retain_freed_memory", lambda: None)
    values = {"config": "configs/early_fusion.py:folder", "workdir": None}
    assert call("--config.train.steps=5", "--config.optimizer.b1=0.8", **values) == 0
    ((config, workdir),) = trained
    assert (config.train.steps, config.train.epochs, config.optimizer.b1) == (5, None, 0.8)
    assert str(workdir) == "runs/early_fusion-folder"
    with refused(ConfigError, "'more'", "--KEY=VALUE"):
        call("more", "--config.train.steps=5", **values)


def test_an_earlier_name_of_a_key_is_told_in_the_terminal(monkeypatch, capsys):
    logger = logging.getLogger("vidjax")
    monkeypatch.setattr(logger, "handlers", [])  # as in a new process
    monkeypatch.setattr(logger, "propagate", True)
    monkeypatch.setattr(renamed, "_announced", set())
    monkeypatch.setattr(train, "train_and_evaluate", lambda config, workdir: None)
    monkeypatch.setattr(memory, "retain_freed_memory", lambda: None)
    assert call("--config.train.ema=0.5", config="configs/early_fusion.py") == 0
    assert not unnamed(capsys.readouterr().out, "warning:", "train.ema", "train.ema_decay")

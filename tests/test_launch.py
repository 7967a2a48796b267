"""The launcher's own part: what its flags mean together, before anything of a run begins."""

import pytest
from absl import flags
from absl.testing import flagsaver

import launch
from vidjax import train
from vidjax.errors import ConfigError, VidjaxError
from vidjax.experiment import plan
from vidjax.system import memory


def call(*words, **values):
    """Runs `launch.main` as if these flags had been given; `words` is what is left of the command line."""
    flags.FLAGS.mark_as_parsed()
    with flagsaver.flagsaver(**values):
        return launch.main(["launch.py", *words])


def test_a_tilde_is_the_home_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(VidjaxError, match=f"^{tmp_path}/runs/a: no config.json"):
        call(mode="eval", workdir="~/runs/a")
    (tmp_path / "mine.py").write_text("")
    with pytest.raises(ConfigError, match=f"^{tmp_path}/mine.py defines no get_experiment"):
        call(experiment="~/mine.py")
    with pytest.raises(ConfigError, match="defines no get_experiment"):
        plan.load("~/mine.py")


@pytest.mark.parametrize(
    "words, flags_given, message",
    [
        (
            ["--config.train.steps=600"],
            {},
            "changes a config, and none is given: add --config=FILE",
        ),
        (["--config.evaluate.clips=2"], {"mode": "eval"}, "none is given: add --workdir=DIR of a run"),
        (["configs/c3d.py:ucf101"], {}, "unexpected 'configs/c3d.py:ucf101': write --config=configs/c3d.py:ucf101$"),
        (["experiments/motion.py"], {}, "write --experiment=experiments/motion.py$"),
        (["train.steps=5"], {}, "unexpected 'train.steps=5': keys of the config are written --config.KEY=VALUE$"),
        ([], {}, "^give --config or --experiment$"),
        ([], {"mode": "eval"}, "^give the --workdir of a run$"),
        ([], {"mode": "eval", "experiment": "experiments/motion.py"}, "leave out --config and --mode"),
        ([], {"only": "x"}, "belong to --experiment"),
    ],
)
def test_what_flags_do_not_say_together(words, flags_given, message):
    with pytest.raises(ConfigError, match=message):
        call(*words, **flags_given)


def test_a_run_directory_alone_says_what_is_missing(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match="holds a run: give its --config again to go on with it, or --mode=eval"):
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
    with pytest.raises(ConfigError, match="unexpected 'more': write --KEY=VALUE"):
        call("more", "--config.train.steps=5", **values)

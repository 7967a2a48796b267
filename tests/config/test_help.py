"""`--help` is made of what is declared."""

from pathlib import Path

from vidjax.config import declarations, help


def test_help_is_that_of_the_file():
    assert help.describe_files(["launch.py", "--help"]) == ""
    for flag in ("--config=configs/c3d.py:ucf101", "--experiment=experiments/slowfast.py"):
        path = flag.partition("=")[2].partition(":")[0]
        assert help.describe_files(["launch.py", flag, "--help"]).splitlines()[0] in Path(path).read_text()


def test_help_documents_every_key():
    shown = help.describe_keys(["launch.py", "--help"])
    assert all(f"--config.{key}=" in shown for key in declarations.known_keys())
    assert "  --config.dtype=float32  [str: float32 | bfloat16]\n" in shown
    assert "  --config.preprocessing.mean=117.0  [float or tuple]\n" in shown
    assert "  --config.model.alpha=None  [int: at least 1]\n      slowfast_r50_4x16, slowfast_r50_8x8, slow" in shown


def test_help_on_a_config_shows_its_values_and_the_options_of_what_it_chooses():
    shown = help.describe_keys(["launch.py", "--config=configs/c3d.py:ucf101", "--help"])
    assert "  --config.model.dropout=None (0.5)  [float: from 0 to below 1]\n      probability of dropping" in shown
    assert "  --config.optimizer.momentum=0.9  [float: from 0 to below 1]\n" in shown
    assert "config.model.alpha" not in shown and "config.optimizer.b1" not in shown
    other = help.describe_keys(["launch.py", "--config=configs/c3d.py", "--config.optimizer.name=adam"])
    assert "--config.optimizer.b1=None (0.9)" in other

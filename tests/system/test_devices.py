"""What is said where JAX has no device of the kind that is asked for; each in a process, since JAX starts once."""

import os
import subprocess
import sys

import pytest

from tests.refusals import refused, unnamed
from vidjax.cli import main
from vidjax.errors import ConfigError
from vidjax.experiment import runner
from vidjax.system import devices
from vidjax.train import train_and_evaluate

MISSING = "nonsense"  # asked for by JAX_PLATFORMS: not there on any machine


@pytest.mark.parametrize(
    "error, platforms, tokens",
    [
        # A GPU that JAX does not even look for.
        (
            AssertionError(),
            "cuda",
            ("JAX_PLATFORMS=cuda", "GPU", "cpu", "requirements-cuda.txt"),
        ),
        (
            RuntimeError(
                "Unable to initialize backend 'rocm': Backend 'rocm' is not in the list of known backends: ['cpu']."
                " (set JAX_PLATFORMS='' to automatically choose an available backend)"
            ),
            "gpu",
            ("JAX_PLATFORMS=gpu", "cpu", "requirements-cuda.txt"),
        ),
        (
            RuntimeError("Unable to initialize backend 'tpu': INTERNAL: no libtpu.so\nmore (set JAX_PLATFORMS=''...)"),
            "tpu",
            ("JAX_PLATFORMS=tpu", "libtpu.so", "cpu", "requirements-tpu.txt"),
        ),
        (RuntimeError("it_is_broken (you may need to uninstall)"), None, ("JAX", "it_is_broken")),
    ],
)
def test_a_device_that_is_not_there_is_one_line(monkeypatch, error, platforms, tokens):
    def fail():
        raise error

    monkeypatch.setattr(devices.jax, "devices", fail)
    monkeypatch.setattr(devices, "_others", lambda: ["cpu"])
    before = devices.jax.config.values["jax_platforms"]
    devices.jax.config.update("jax_platforms", platforms)
    try:
        with refused(ConfigError, *tokens):
            devices.available()
    finally:
        devices.jax.config.update("jax_platforms", before)


def test_what_is_there_is_named_and_not_taken():
    program = """
import jax
from vidjax.system import devices
for attempt in range(2):
    try:
        print(devices.available())
    except Exception as error:
        print(type(error).__name__, error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "JAX_PLATFORMS": MISSING},
        cwd=runner.ROOT,
        capture_output=True,
        text=True,
    )
    lines = done.stdout.splitlines()
    assert len(lines) == 2 and lines[0] == lines[1], "the second attempt is not made on what was not asked for"
    assert lines[0].startswith(f"ConfigError JAX_PLATFORMS={MISSING} ") and not unnamed(lines[0], "cpu")


def _fail():
    raise ConfigError("no_device")


def test_an_experiment_asks_before_it_makes_anything(tmp_path, monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", MISSING)
    with refused(ConfigError, f"JAX_PLATFORMS={MISSING}"):
        runner.run("experiments/motion.py", tmp_path / "work")
    assert not (tmp_path / "work").exists()


def test_a_run_that_has_no_device_leaves_no_folder(tmp_path, monkeypatch):
    from vidjax.config import loading
    from vidjax.training import parallel

    monkeypatch.setattr(parallel, "available", _fail)
    with refused(ConfigError, "no_device"):
        train_and_evaluate(loading.load("configs/early_fusion.py"), tmp_path / "runs" / "a")
    assert not (tmp_path / "runs").exists()


def test_what_crashes_before_it_writes_leaves_no_folder(tmp_path, monkeypatch):
    from vidjax import train
    from vidjax.config import loading

    monkeypatch.setattr(train, "prepare", lambda config, given: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train_and_evaluate(loading.load("configs/early_fusion.py"), tmp_path / "runs" / "a")
    assert not (tmp_path / "runs").exists()


def test_verbs_ask_for_it(tmp_path, monkeypatch, capsys):
    from vidjax.training import parallel

    monkeypatch.setattr(devices, "available", _fail)
    monkeypatch.setattr(parallel, "available", _fail)
    assert main(["predict", "clip.mp4", "--pretrained=i3d-kinetics400"]) == 1
    assert main(["benchmark", "--config=configs/early_fusion.py", f"--profile={tmp_path / 'profile' / 'a'}"]) == 1
    assert capsys.readouterr().err == "error: no_device\n" * 2
    assert not (tmp_path / "profile").exists()

"""The package as `pip install .` leaves it, used outside of the checkout."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from tests import toy
from tests.conftest import ROOT

pytestmark = pytest.mark.slow


def run(*command, cwd):
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(list(map(str, command)), cwd=cwd, env=kept, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy, since setuptools leaves what it builds beside the code."""
    source = tmp_path_factory.mktemp("source")
    for name in ("vidjax", "configs", "experiments", "tests"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "requirements.txt", "README.md", "LICENSE", "launch.py"):
        shutil.copy(ROOT / name, source)
    run(sys.executable, "-m", "pip", "wheel", ".", "--no-deps", "--quiet", "--wheel-dir=dist", cwd=source)
    (built,) = (source / "dist").glob("vidjax-*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory):
    """The interpreter of a fresh environment with the wheel and, by a path, the packages of this one."""
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder)
    python = folder / "bin" / "python"
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip())
    (site / "packages.pth").write_text("\n".join({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}))
    run(sys.executable, "-m", "pip", f"--python={python}", "install", "--no-deps", "--no-index", wheel, cwd=folder)
    return python


def test_the_wheel_has_every_file_of_the_package_and_nothing_beside_it(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    tracked = run("git", "ls-files", "vidjax", cwd=ROOT).split()
    assert names == {name for name in tracked if not name.endswith(".md")}
    assert {"vidjax/reporting/templates/report.html", "vidjax/pretrained/kinetics400.txt"} <= names


def test_it_works_outside_of_the_checkout(python, tmp_path):
    assert "benchmark" in run(python, "-m", "vidjax", "--help", cwd=tmp_path)
    assert "benchmark" in run(python.parent / "vidjax", "--help", cwd=tmp_path)
    shutil.copy(ROOT / "configs" / "multires.py", tmp_path)
    program = """
import importlib.util, jax, vidjax
from vidjax import models
from vidjax.config import loading
from vidjax.system import provenance
assert importlib.util.find_spec("configs") is None
assert provenance.commit() is None
model = models.create("early_fusion", 7)
clips = jax.numpy.zeros((1, 10, 64, 64, 3))
print(jax.eval_shape(lambda: model.apply(model.init(jax.random.key(0), clips), clips)).logits.shape)
print(loading.load("multires.py:base=late_fusion").data.stride, vidjax.__file__)
"""
    shape, stride, file = run(python, "-c", program, cwd=tmp_path).replace(", ", ",").split()
    assert (shape, stride) == ("(1,1,7)", "15") and Path(file).is_relative_to(python.parent.parent)


def test_an_experiment_trains_and_says_how_each_run_was_started(python, tmp_path, toy_folder):
    """A run's process is `-m vidjax train`, since there is no launch.py."""
    shutil.copy(ROOT / "configs" / "early_fusion.py", tmp_path)
    overrides = toy.overrides(toy_folder, **{"train.steps": 2, "data.cache": "none"})
    (tmp_path / "table.py").write_text(f"""
from vidjax.experiment.plan import Experiment, Setting

def get_experiment():
    axes = {{"model": {{"early": Setting("early_fusion.py:folder")}}}}
    return Experiment("tiny", "Tiny", axes, overrides={overrides!r})
""")
    run(python, "-m", "vidjax", "train", "--experiment=table.py", "--workdir=work", cwd=tmp_path)
    folder = tmp_path / "work" / "runs" / "early-seed0"
    result = json.loads((folder / "result.json").read_text())
    assert result["finished"] and result["commit"] is None
    assert result["command"].startswith("python -m vidjax train --config=early_fusion.py:folder ")
    assert (folder / "report.html").is_file()

import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.refusals import refused, unnamed
from vidjax import cli, doctor
from vidjax.doctor import OK, PROBLEM, WARNING
from vidjax.errors import DataError

ROOT = Path(__file__).parent.parent.parent
SECONDS = 120.0


@pytest.fixture
def modules(tmp_path, monkeypatch):
    """Makes modules and what pip notes of packages, {name: source} and {name: metadata}, to be found first."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))

    def make(sources=(), packages=()):
        for name, source in dict(sources).items():
            (tmp_path / f"{name}.py").write_text(source)
        for name, (version, *requires) in dict(packages).items():
            folder = tmp_path / f"{name.replace('-', '_')}-{version}.dist-info"
            folder.mkdir()
            lines = [f"Name: {name}", f"Version: {version}", *(f"Requires-Dist: {line}" for line in requires)]
            (folder / "METADATA").write_text("Metadata-Version: 2.1\n" + "\n".join(lines) + "\n")

    return make


def require(monkeypatch, *lines):
    monkeypatch.setattr(doctor, "_requirements", lambda: list(lines))


def by_name(findings):
    return {finding.name: finding for finding in findings}


def test_all_is_well_here(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("VIDJAX_CACHE", str(tmp_path / "cache"))
    status = cli.main(["doctor", "--json"])
    report = json.loads(capsys.readouterr().out)
    assert status == 0 and report["ok"]
    found = {(each["section"], each["name"]): each for each in report["findings"]}
    assert found["python", "Python"]["version"] == ".".join(map(str, sys.version_info[:3]))
    assert {name for section, name in found if section == "packages"} >= {"absl-py", "av", "jax", "orbax-checkpoint"}
    assert found["packages", "jax"]["tested"] == "<0.13,>=0.10.2"
    assert "8 x cpu" in found["devices", "JAX"]["text"] and "JAX_PLATFORMS=cpu" in found["devices", "JAX"]["text"]
    assert found["caches", str(tmp_path / "cache")]["status"] == OK and not (tmp_path / "cache").exists()
    assert "libavcodec" in found["decoders", "PyAV"]["text"] and "AV1" in found["decoders", "PyAV"]["text"]
    assert found["decoders", "decord"]["status"] == OK


def test_without_any_package_it_names_them_all():
    command = [sys.executable, "-S", "-m", "vidjax", "doctor"]  # -S: no site-packages
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": ""})
    assert result.returncode == 1 and not result.stderr
    for name in ("absl-py", "av", "jax", "numpy", "packaging", "rich"):
        assert f" {name}," in result.stdout
    assert "requirements.txt" in " ".join(result.stdout.split())


def test_versions_against_what_was_tested(modules, monkeypatch):
    names = ("fitting", "outdated", "untried", "broken")
    modules({name: "raise ValueError('no luck')" if name == "broken" else "" for name in names})
    modules(packages={"fitting": ["1.5"], "outdated": ["0.9"], "untried": ["2.0"], "broken": ["1.0"]})
    require(monkeypatch, *(f"{name}>=1,<2" for name in names), "absent>=1", 'elsewhere>=1; sys_platform == "none"')
    found = by_name(doctor._packages(SECONDS))
    assert set(found) == {*names, "absent"}
    statuses = {name: finding.status for name, finding in found.items()}
    assert statuses == {"fitting": OK, "outdated": WARNING, "untried": WARNING, "broken": PROBLEM, "absent": PROBLEM}
    assert "0.9 is older" in found["outdated"].text and "2.0 is newer" in found["untried"].text
    assert "ValueError: no luck" in found["broken"].text and "pip install" in found["absent"].text


def test_what_is_installed_may_still_not_fit_vidjax(modules, monkeypatch):
    modules({"fine": ""}, {"fine": ["1.0"]})
    require(monkeypatch, "fine>=1")
    monkeypatch.setattr(doctor, "_import_errors", lambda names, seconds: {"fine": None, "vidjax.train": "no attribute"})
    found = by_name(doctor._packages(SECONDS))
    assert found["fine"].status == OK
    assert found["vidjax"].status == PROBLEM and "no attribute" in found["vidjax"].text


def test_decord_or_its_fork(monkeypatch):
    monkeypatch.setattr(doctor, "_version", {"decord2": "3.4"}.get)
    require(monkeypatch, "decord>=0.6")
    (found,) = doctor._packages(SECONDS)
    assert found.status == OK and "decord2" in found.text


def test_a_module_that_kills_or_hangs_its_process_is_named(modules):
    sources = {
        "quiet": "",
        "talking": "print('hello'); print('{}')",
        "crashing": "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
        "leaving": "raise SystemExit(3)",
        "hanging": "import time; time.sleep(60)",
        "last": "",
    }
    modules(sources)
    errors = doctor._import_errors(list(sources), 2.5)
    assert errors["quiet"] is errors["talking"] is errors["last"] is None
    assert "signal 11" in errors["crashing"] and "status 3" in errors["leaving"]
    assert not unnamed(errors["hanging"], 5)


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """Pretends a machine: what nvidia-smi prints, and what JAX finds."""

    def make(smi, found, failure=None, plugins=()):
        program = tmp_path / "nvidia-smi"
        program.write_text(f"#!/bin/sh\necho '{smi}'\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
        monkeypatch.delenv("JAX_PLATFORMS", raising=False)
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        monkeypatch.setattr(doctor, "_in_child", lambda *_: ([found] if found else [], failure))
        versions = {"jax": "0.12.0.1", "jaxlib": "0.12.0.1", **dict.fromkeys(plugins, "0.12.0.1")}
        monkeypatch.setattr(doctor, "_version", versions.get)
        return list(doctor._devices(SECONDS))

    return make


ON_CPU = {"backend": "cpu", "kinds": ["cpu"], "complaints": []}


@pytest.mark.parametrize(
    "driver, plugins, advice",
    [
        ("580.65.06", (), "pip install -r requirements-cuda.txt"),
        ("535.104.05", (), "pip install -r requirements-cuda12.txt (driver 535 is too old for CUDA 13)"),
        ("535.104.05", ("jax-cuda13-plugin",), "jax-cuda13-plugin cannot be used"),
    ],
)
def test_a_gpu_that_jax_does_not_see(machine, driver, plugins, advice):
    jax, gpu = machine(f"NVIDIA H100 80GB HBM3, {driver}", ON_CPU, plugins=plugins)
    assert jax.status == OK and gpu.status == WARNING
    assert "1 x NVIDIA H100 80GB HBM3" in gpu.text and advice in gpu.text


def test_a_gpu_that_jax_sees(machine):
    found = {"backend": "gpu", "kinds": ["NVIDIA H100 80GB HBM3"] * 2, "complaints": ["slow"]}
    jax, complaint = machine("NVIDIA H100 80GB HBM3, 580.65.06", found)
    assert jax.status == OK and jax.text.startswith("gpu: 2 x NVIDIA H100 80GB HBM3;")
    assert complaint.status == WARNING and "slow" in complaint.text


def test_a_back_end_that_hangs(machine):
    (jax,) = machine("NVIDIA H100 80GB HBM3, 580.65.06", None, "no answer within 120 s")
    assert jax.status == PROBLEM and "no answer within 120 s" in jax.text


def test_a_platform_that_is_asked_for_and_not_there(monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "no_such_platform")
    found = list(doctor._devices(SECONDS))
    assert found[0].status == PROBLEM and "JAX_PLATFORMS=no_such_platform" in found[0].text


def test_a_cache_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("VIDJAX_CACHE", str(tmp_path / "file" / "cache"))
    (found,) = doctor._caches()
    assert found.status == PROBLEM and "VIDJAX_CACHE=FOLDER" in found.text


def test_what_the_caches_hold(tmp_path, monkeypatch):
    monkeypatch.setenv("VIDJAX_CACHE", str(tmp_path))
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")  # the tests' own
    (tmp_path / "motion" / "set").mkdir(parents=True)
    (tmp_path / "motion" / "set" / "clip.avi").write_bytes(b"x" * 2500)
    (found,) = doctor._caches()
    assert found.status == OK and "motion 2.5 kB" in found.text and "compiled" not in found.text


def test_decoders_are_tried_on_a_video(tmp_path, monkeypatch):
    path = str(tmp_path / "greys.avi")
    monkeypatch.setitem(doctor._DECODERS, "H.269", ("h269",))
    (found,) = doctor.try_pyav(path)
    assert found["missing"] == ["H.269"]
    assert list(doctor.try_decord(path)) == [True]
    monkeypatch.setattr(doctor, "_GRAY_LEVELS", (40, 120, 90))
    with refused(DataError, "40, 120, 90") as caught:
        list(doctor.try_decord(path))
    assert re.search(r"\d+, \d+, (199|200|201)\b", str(caught.value))


def test_packages_that_do_not_fit_together(modules):
    modules(
        packages={
            "opencv-python": ["4.14"],
            "opencv-python-headless": ["4.14"],
            "jax-cuda12-plugin": ["0.1.2"],
            "old-exporter": ["1.0", "jax<0.4", "absent<1", 'flax<0.1; extra == "all"'],
        }
    )
    found = by_name(doctor._combinations())
    assert set(found) == {"opencv-python", "jax-cuda12-plugin", "jax"}
    assert all(finding.status == WARNING for finding in found.values())
    assert not unnamed(found["opencv-python"].text, "opencv-python", "opencv-python-headless")
    assert not unnamed(found["jax"].text, "old-exporter", "1.0", "jax<0.4")


def test_the_screen(monkeypatch, capsys):
    findings = [
        doctor.Finding("python", "Python", OK, "CPython", "3.13.0", "3.11 to 3.13"),
        doctor.Finding("packages", "av", OK, "19.0.2", "19.0.2", ">=18,<20"),
        doctor.Finding("packages", "jax", OK, "0.12.0.1", "0.12.0.1", ">=0.10.2"),
        doctor.Finding("packages", "rich", PROBLEM, "missing: get it"),
        doctor.Finding("packages", "numpy", PROBLEM, "missing: get it"),
        doctor.Finding("packages", "flax", WARNING, "0.20 is newer"),
        doctor.Finding("devices", "JAX", OK, "cpu: 1 x cpu", "0.12.0.1"),
    ]
    monkeypatch.setattr(doctor, "examine", lambda seconds: iter(findings))
    assert cli.main(["doctor"]) == 1
    assert capsys.readouterr().out == textwrap.dedent("""\
        python          Python 3.13.0, CPython (tested: 3.11 to 3.13)
        packages        av 19.0.2, jax 0.12.0.1: as tested
                      x rich, numpy: missing: get it
                      ! flax: 0.20 is newer
        devices         JAX 0.12.0.1: cpu: 1 x cpu
        combinations    nothing that is known not to fit together

        2 problems, marked x.
        """)


def test_arguments_that_make_no_sense_are_named(capsys):
    assert cli.main(["doctor", "--timeout=0"]) == 1
    assert not unnamed(capsys.readouterr().err, "--timeout=0", 0)
    assert cli.main(["doctor", "--config.data.split=2"]) == 1
    assert not unnamed(capsys.readouterr().err, "doctor", "--config.KEY=VALUE")

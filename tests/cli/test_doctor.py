import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

from vidjax import cli
from vidjax.doctor import examination
from vidjax.doctor.findings import OK, PROBLEM, WARNING, Finding

ROOT = Path(__file__).parent.parent.parent


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
    assert "missing: pip install -r requirements.txt" in " ".join(result.stdout.split())


def test_the_screen(monkeypatch, capsys):
    findings = [
        Finding("python", "Python", OK, "CPython", "3.13.0", "3.11 to 3.13"),
        Finding("packages", "av", OK, "19.0.2", "19.0.2", ">=18,<20"),
        Finding("packages", "jax", OK, "0.12.0.1", "0.12.0.1", ">=0.10.2"),
        Finding("packages", "rich", PROBLEM, "missing: get it"),
        Finding("packages", "numpy", PROBLEM, "missing: get it"),
        Finding("packages", "flax", WARNING, "0.20 is newer"),
        Finding("devices", "JAX", OK, "cpu: 1 x cpu", "0.12.0.1"),
    ]
    monkeypatch.setattr(examination, "examine", lambda seconds: iter(findings))
    assert cli.main(["doctor"]) == 1
    assert capsys.readouterr().out == textwrap.dedent("""\
        python          Python 3.13.0, CPython (tested: 3.11 to 3.13)
        packages        av 19.0.2, jax 0.12.0.1: as tested
                      x rich, numpy: missing: get it
                      ! flax: 0.20 is newer
        devices         JAX 0.12.0.1: cpu: 1 x cpu
        combinations    no known conflicts

        2 problems, marked x.
        """)


def test_arguments_that_make_no_sense_are_named(capsys):
    assert cli.main(["doctor", "--timeout=0"]) == 1
    assert "--timeout=0: give seconds above 0" in capsys.readouterr().err
    assert cli.main(["doctor", "--config.data.split=2"]) == 1
    assert "doctor takes no --config" in capsys.readouterr().err

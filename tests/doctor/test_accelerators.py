import os

import pytest

from vidjax.doctor import accelerators, packages
from vidjax.doctor.findings import OK, PROBLEM, WARNING

SECONDS = 120.0


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
        monkeypatch.setattr(accelerators, "run_in_child", lambda *_: ([found] if found else [], failure))
        versions = {"jax": "0.12.0.1", "jaxlib": "0.12.0.1", **dict.fromkeys(plugins, "0.12.0.1")}
        monkeypatch.setattr(packages, "installed_version", versions.get)
        return list(accelerators.check_devices(SECONDS))

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
    found = list(accelerators.check_devices(SECONDS))
    assert found[0].status == PROBLEM and "JAX_PLATFORMS=no_such_platform" in found[0].text

import subprocess
import sys

import pytest

from vidjax.config import identity, presets
from vidjax.system import memory

_STEP = """
import resource
from vidjax.system import memory
kept = {keep} and memory.retain_freed_memory()
import numpy as np
def faults():
    np.ones(1 << 24)  # 128 MB
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(3):
        np.ones(1 << 24)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(kept, faults())
"""


@pytest.fixture
def plain(monkeypatch):
    """An environment that says nothing about memory, on a machine without an accelerator."""
    for name in ("LD_PRELOAD", "GLIBC_TUNABLES", "MALLOC_ARENA_MAX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")


def step(keep):
    command = [sys.executable, "-c", _STEP.format(keep=keep)]
    kept, faults = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return kept == "True", int(faults)


@pytest.mark.skipif(memory.platform.libc_ver()[0] != "glibc", reason="another C library than glibc")
def test_a_large_buffer_is_not_faulted_in_anew(plain):
    kept, faults = step(True)
    assert kept and faults < 100
    kept, faults = step(False)
    assert not kept and faults > 100


@pytest.mark.parametrize(
    "name, value",
    [
        ("LD_PRELOAD", "/usr/lib/libjemalloc.so.2"),
        ("MALLOC_ARENA_MAX", "2"),
        ("GLIBC_TUNABLES", "glibc.malloc.trim_threshold=1"),
        ("JAX_PLATFORMS", "cuda"),
    ],
)
def test_what_the_user_has_set_holds(plain, monkeypatch, name, value):
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda _: pytest.fail("memory was set"))
    monkeypatch.setenv(name, value)
    assert memory.retain_freed_memory() is False


def test_an_accelerator_that_may_be_used_has_the_buffers(plain, monkeypatch):
    monkeypatch.delenv("JAX_PLATFORMS")
    monkeypatch.setattr(memory.importlib.util, "find_spec", lambda name: object() if name == "jax_plugins" else None)
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda _: pytest.fail("memory was set"))
    assert memory.retain_freed_memory() is False


def test_it_is_no_part_of_what_a_run_is():
    on, off = presets.get_config(), presets.get_config()
    off.keep_memory = False
    assert identity.config_hash(on) == identity.config_hash(off)

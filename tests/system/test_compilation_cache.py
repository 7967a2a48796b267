import os
import subprocess
import sys
import time
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache as jax_cache

from vidjax.system import compilation_cache

OPTIONS = (
    "jax_compilation_cache_dir",
    "jax_compilation_cache_max_size",
    "jax_persistent_cache_min_compile_time_secs",
)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Nothing is set by the user; returns the folder that `enable` is going to take."""
    before = {name: getattr(jax.config, name) for name in OPTIONS}
    for name in OPTIONS:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    monkeypatch.setenv("VIDJAX_CACHE", str(tmp_path))
    jax.config.update("jax_compilation_cache_dir", None)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax_cache.reset_cache()
    with warnings.catch_warnings():  # gives `showwarning` back
        yield tmp_path / "compiled" / compilation_cache.folder_name()
    for name, value in before.items():
        jax.config.update(name, value)
    jax_cache.reset_cache()


@pytest.fixture
def hits():
    """Counts programs that were loaded."""
    found = []

    def note(event, **_):
        if event == "/jax/compilation_cache/cache_hits":
            found.append(event)

    jax.monitoring.register_event_listener(note)
    yield found
    jax.monitoring.unregister_event_listener(note)


def compute():
    """What a new process computes: nothing that is compiled is in memory."""

    def program(x):
        return jnp.tanh(x @ x).sum(axis=0)

    x = np.arange(64, dtype=np.float32).reshape(8, 8) / 64
    return np.asarray(jax.jit(program)(x))


def entries(folder):
    return sorted(path.name for path in folder.glob("jit_program-*-cache"))


def test_a_program_is_compiled_once_and_gives_the_same_numbers(cache, hits):
    without = compute()
    assert compilation_cache.enable() == cache
    assert jax.config.jax_compilation_cache_max_size == compilation_cache.MAX_BYTES
    first = compute()
    assert len(entries(cache)) == 1 and not hits
    second = compute()
    assert len(hits) == 1
    assert without.tobytes() == first.tobytes() == second.tobytes()
    assert cache.stat().st_mode & 0o777 == 0o700


def test_a_damaged_entry_is_written_anew_in_silence(cache, hits, caplog, capsys):
    compilation_cache.enable()
    compute()
    (name,) = entries(cache)
    whole = (cache / name).read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", whole[:-9] + b"x" + whole[-8:]):
        (cache / name).write_bytes(damaged)
        compute()
        assert not hits and entries(cache) == [name]
        assert len((cache / name).read_bytes()) > len(whole) // 2
    compute()
    assert len(hits) == 1
    assert not caplog.records and capsys.readouterr() == ("", "")


def test_what_a_kill_left_half_written_goes_and_the_rest_stays(cache):
    cache.mkdir(parents=True)
    for name in ("jit_a-1-cache", "jit_a-1-atime", "jit_b-2-cache", "jit_c-3-atime", "other"):
        (cache / name).write_bytes(b"")
    compilation_cache.enable()
    assert {path.name for path in cache.iterdir()} - {".lockfile"} == {"jit_a-1-cache", "jit_a-1-atime", "other"}


def test_jax_writes_the_two_files_that_are_expected(cache):
    compilation_cache.enable()
    compute()
    (name,) = entries(cache)
    assert (cache / (name.removesuffix("-cache") + "-atime")).exists() and (cache / ".lockfile").exists()


def test_the_folder_stays_within_its_bound(cache, monkeypatch):
    monkeypatch.setattr(compilation_cache, "MAX_BYTES", 8_000)  # a program takes about 3
    compilation_cache.enable()
    for size in range(5):
        jax.jit(lambda x: jnp.tanh(x).sum() + jnp.cos(x).prod())(np.ones(3 + size, np.float32))
    kept = [path.stat().st_size for path in cache.glob("*-cache")]
    assert kept and sum(kept) <= 8_000


def test_a_folder_that_cannot_be_used_is_told_once_and_stops_nothing(cache, caplog):
    cache.parent.write_text("a file in its place")
    assert compilation_cache.enable() is None
    assert np.isfinite(compute()).all()
    (record,) = caplog.records
    assert str(cache) in record.getMessage() and "JAX_ENABLE_COMPILATION_CACHE=false" in record.getMessage()


def test_what_fails_later_is_told_once(cache, caplog, monkeypatch):
    compilation_cache.enable()
    compute()

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.read_bytes", refuse)
    monkeypatch.setattr("jax._src.path.Path.read_bytes", refuse, raising=False)
    for _ in range(3):
        compute()
    assert len(caplog.records) == 1 and "Permission denied" in caplog.text
    assert len(entries(cache)) == 1


def test_another_users_folder_is_not_trusted(cache, caplog, monkeypatch):
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    assert compilation_cache.enable() is None
    assert "another user" in caplog.text


def test_what_the_user_has_set_holds(cache, tmp_path, monkeypatch):
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "mine"))
    assert compilation_cache.enable() is None
    assert jax.config.jax_compilation_cache_dir == str(tmp_path / "mine")
    jax.config.update("jax_compilation_cache_dir", None)
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "")
    assert compilation_cache.enable() is None
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    jax.config.update("jax_enable_compilation_cache", False)
    try:
        assert compilation_cache.enable() is None
    finally:
        jax.config.update("jax_enable_compilation_cache", True)
    assert not cache.parent.exists()
    monkeypatch.setenv("JAX_COMPILATION_CACHE_MAX_SIZE", "5000")
    jax.config.update("jax_compilation_cache_max_size", 5000)
    assert compilation_cache.enable() == cache
    assert jax.config.jax_compilation_cache_max_size == 5000


def test_machines_have_folders_of_their_own_and_old_ones_go(cache, monkeypatch):
    other, old = cache.parent / "other", cache.parent / "old"
    for folder in (other, old):
        folder.mkdir(parents=True)
    long_ago = time.time() - 100 * 86400
    os.utime(old, (long_ago, long_ago))
    compilation_cache.enable()
    assert other.exists() and not old.exists()
    name = compilation_cache.cpu_fingerprint()
    monkeypatch.setenv("NPROC", "1")  # of XLA's threads
    assert compilation_cache.cpu_fingerprint() != name
    monkeypatch.delenv("NPROC")
    if hasattr(os, "sched_getaffinity"):
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid: range(77))
        assert "-77-cores-" in compilation_cache.cpu_fingerprint()


def test_the_second_process_says_nothing_on_stderr(tmp_path):
    program = (
        "import jax, jax.numpy as jnp; from vidjax.system import compilation_cache; compilation_cache.enable();"
        "print(jax.jit(lambda x: jnp.tanh(x @ x).sum())(jnp.ones((40, 40))))"
    )
    environment = {key: value for key, value in os.environ.items() if not key.startswith("JAX_COMPILATION_CACHE")}
    environment |= {"VIDJAX_CACHE": str(tmp_path), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    words = [sys.executable, "-c", program]
    done = [subprocess.run(words, capture_output=True, text=True, env=environment) for _ in range(2)]
    assert [each.stderr for each in done] == ["", ""] and done[0].stdout == done[1].stdout != ""
    assert list(tmp_path.glob("compiled/*/jit_*-cache"))

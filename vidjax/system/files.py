"""Atomic writes of files, which a kill never leaves half written, and whether a place can be written at all."""

import contextlib
import fcntl
import json
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from vidjax.errors import ConfigError


def write_text(path: Path, text: str) -> None:
    """Writes a file in UTF-8, whole or not at all; makes its folder."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file whole or not at all, also where another process writes it; makes its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if _is_device(path):
        path.write_bytes(content)
        return
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error  # the other name says nothing to a user
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def check_folder(folder: Path, argument: str) -> None:
    """Refuses a folder that cannot be written or made; makes nothing, since what it is for may be refused, too.

    Args:
      folder: that files are going to be written to.
      argument: what names it, such as "--out=FOLDER".

    Raises:
      ConfigError: naming the argument.
    """
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if os.path.lexists(path))
    if not there.is_dir():
        raise ConfigError(f"{argument} cannot be written: {there} is not a folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ConfigError(f"{argument} cannot be written: no permission to write in {there}")


def check_file(path: Path, argument: str) -> None:
    """Refuses a file that cannot be written or replaced; see `check_folder`."""
    if path.is_dir():
        raise ConfigError(f"{argument} cannot be written: it is a folder")
    if not _is_device(path):
        check_folder(path.parent, argument)


def _is_device(path: Path) -> bool:
    """Whether it is something like a pipe or a terminal, which is written to and not replaced."""
    return path.exists() and not path.is_file() and not path.is_dir()


def missing_folders(folder: Path) -> list[Path]:
    """The folders that making this one would make, the innermost first."""
    # Unlike Path.exists, this raises nothing where a name is too long or may not be looked at.
    return [path for path in (folder, *folder.parents) if not os.path.lexists(path)]


def remove_empty(folders: Iterable[Path]) -> None:
    """Removes folders, the innermost first, as far as nothing is in them."""
    with contextlib.suppress(OSError):
        for folder in folders:
            folder.rmdir()


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Waits until no other process is in this context; the system releases it when a process ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def to_json(content: Any, *, sort_keys: bool = False) -> str:
    """JSON as it is read and compared: a key on each line, lists of numbers on one."""
    text = json.dumps(content, indent=1, sort_keys=sort_keys)
    # A line break inside of a string is escaped, so one after a bracket is always that of a list.
    return re.sub(r'\[\n[^\[\]{}"]*\]', lambda numbers: "[" + " ".join(numbers[0][1:-1].split()) + "]", text) + "\n"


def write_json(path: Path, content: Any) -> None:
    """Writes a JSON file whole or not at all."""
    write_text(path, to_json(content))


def read_json(path: Path) -> Any:
    """Content of a JSON file; None if it is missing or not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None

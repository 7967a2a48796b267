"""Atomic writes of files, which a kill never leaves half written."""

import contextlib
import fcntl
import json
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any


def write_text(path: Path, text: str) -> None:
    """Writes a file in UTF-8, whole or not at all; makes its folder."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file whole or not at all, also where another process writes it; makes its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


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

"""Provenance: which code produced a result."""

import subprocess
from pathlib import Path

from vidjax.system.paths import checkout


def commit() -> str | None:
    """Returns the commit of the code that runs, with "+" appended where tracked or new Python files differ from it.

    None if the package is installed, or its checkout is not a repository by itself: another one may contain it.
    """
    root = checkout()
    if root is None:
        return None

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True).stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != root:
            return None
        return git("rev-parse", "--short=12", "HEAD") + ("+" if git("status", "--porcelain", "--", ":/*.py") else "")
    except (OSError, subprocess.CalledProcessError):
        return None

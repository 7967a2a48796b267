"""Paths given by users, the checkout, and the cache folder."""

import os
from pathlib import Path


def typed_path(text: str) -> Path:
    """Returns the path of a flag or an argument; a leading ~, which shells keep after a =, is the home directory.

    The ~ of an unknown user is left as it is.
    """
    return Path(os.path.expanduser(text))


def checkout() -> Path | None:
    """Returns the repository in which this code was checked out; None where the package is installed."""
    root = Path(__file__).resolve().parents[2]
    # Beside installed packages there may be any file by one of these names.
    return root if (root / "pyproject.toml").is_file() and (root / "launch.py").is_file() else None


def cache_dir() -> Path:
    """Returns `$VIDJAX_CACHE`, or `vidjax` in the user's cache folder (`$XDG_CACHE_HOME`, `~/.cache`)."""
    chosen = os.environ.get("VIDJAX_CACHE")
    if chosen:
        return typed_path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vidjax"

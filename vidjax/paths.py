"""Where vidjax keeps what it made once and can make again."""

import os
from pathlib import Path


def cache_dir() -> Path:
    """Returns `$VIDJAX_CACHE`, or `vidjax` in the user's cache folder (`$XDG_CACHE_HOME`, `~/.cache`)."""
    chosen = os.environ.get("VIDJAX_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vidjax"

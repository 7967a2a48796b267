"""Ending a program that is told to stop."""

import contextlib
import signal
import sys
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def terminate_as_exit() -> Iterator[None]:
    """A terminated program leaves through its `finally` clauses, which stop or remove what is unfinished."""

    def leave(signum: int, frame: Any) -> None:
        sys.exit(128 + signum)

    try:
        before = signal.signal(signal.SIGTERM, leave)
    except ValueError:  # not the main thread: whoever owns the process decides
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)

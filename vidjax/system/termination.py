"""Ending a program that is told to stop."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def sigterm_to_system_exit() -> Iterator[None]:
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


def recover_lost_interrupts() -> None:
    """From now on, an interruption that Python would lose comes again.

    One that falls into a callback of the garbage collector (JAX has one) or a finalizer is reported and forgotten
    there, and the program would go on.
    """
    report = sys.unraisablehook

    def hook(lost: "sys.UnraisableHookArgs") -> None:
        if isinstance(lost.exc_value, KeyboardInterrupt):
            # A little later: at once it would fall into this function, and be lost as well.
            again = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT))
            again.daemon = True
            again.start()
        else:
            report(lost)

    sys.unraisablehook = hook

"""Termination: SIGTERM, and interrupts that Python would lose."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def sigterm_to_system_exit() -> Iterator[None]:
    """Makes SIGTERM raise SystemExit, so that `finally` clauses stop or remove unfinished work."""

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
    """From now on, repeats an interrupt that Python would otherwise lose.

    An interrupt that arrives in a callback of the garbage collector (JAX has one) or in a finalizer is reported and
    then ignored, and the program would continue.
    """
    report = sys.unraisablehook

    def hook(lost: "sys.UnraisableHookArgs") -> None:
        if isinstance(lost.exc_value, KeyboardInterrupt):
            # With a delay: at once it would arrive in this function and be lost as well.
            again = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT))
            again.daemon = True
            again.start()
        else:
            report(lost)

    sys.unraisablehook = hook

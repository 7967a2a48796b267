"""`python -m vidjax VERB`: see `vidjax.cli`."""

import contextlib
import sys

from vidjax.cli import main
from vidjax.system.termination import recover_lost_interrupts


def run() -> int:
    """Runs the verb on the command line of this process; returns its exit status."""
    recover_lost_interrupts()
    with contextlib.suppress(ImportError):  # `doctor` says what is missing
        from vidjax.system import terminal

        terminal.show_warnings(stderr=True)  # what a verb prints may be JSON
    return main()


if __name__ == "__main__":
    sys.exit(run())

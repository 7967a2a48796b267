"""`python -m vidjax VERB`: see `vidjax.cli`."""

import contextlib
import sys

from vidjax.cli import main
from vidjax.termination import keep_interrupts

if __name__ == "__main__":
    keep_interrupts()
    with contextlib.suppress(ImportError):  # `doctor` says what is missing
        from vidjax.reporting import terminal

        terminal.show_warnings()
    sys.exit(main())

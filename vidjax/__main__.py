"""`python -m vidjax VERB`: see `vidjax.cli`."""

import contextlib
import sys

from vidjax.cli import main
from vidjax.system.termination import recover_lost_interrupts

if __name__ == "__main__":
    recover_lost_interrupts()
    with contextlib.suppress(ImportError):  # `doctor` says what is missing
        from vidjax.system import terminal

        terminal.show_warnings()
    sys.exit(main())

"""`python -m vidjax VERB`: see `vidjax.cli`."""

import sys

from vidjax.cli import main
from vidjax.reporting import terminal
from vidjax.termination import keep_interrupts

if __name__ == "__main__":
    keep_interrupts()
    terminal.show_warnings()
    sys.exit(main())

"""`python -m vidjax VERB`: see `vidjax.cli`."""

import sys

from vidjax.cli import main
from vidjax.reporting import terminal

if __name__ == "__main__":
    terminal.show_warnings()
    sys.exit(main())

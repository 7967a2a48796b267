"""`python -m vidjax VERB`: see `vidjax.cli`."""

import sys

from vidjax.cli import main

if __name__ == "__main__":
    sys.exit(main())

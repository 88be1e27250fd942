"""``python -m roicy``: the command line, see `roicy._cli`."""

import sys

from roicy._cli import main

if __name__ == "__main__":
    sys.exit(main())

"""`python -m orchestrion` is the command `orchestrion`."""

import sys

from orchestrion.cli.main import main

if __name__ == "__main__":
    sys.exit(main())

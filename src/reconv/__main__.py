"""`python -m reconv` is the command line; launchers such as `torchrun -m reconv` start it this way."""

import sys

from reconv.cli.app import main

if __name__ == "__main__":
    sys.exit(main())

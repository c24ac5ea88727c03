"""`python -m reconv` is the command line; launchers such as `torchrun -m reconv` start it this way."""

import sys

from reconv.cli.app import main
from reconv.training.processes import leave, process_count

if __name__ == "__main__":
    code = main()
    if process_count() > 1:
        leave(code)
    sys.exit(code)

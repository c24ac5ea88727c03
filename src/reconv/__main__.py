"""`python -m reconv` is the command line; launchers such as `torchrun -m reconv` start it this way."""

import os
import sys

from reconv.cli.app import main

if __name__ == "__main__":
    code = main()
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        from reconv.training.processes import leave  # loads torch, which `--help` and `--version` do not need

        leave(code)
    sys.exit(code)

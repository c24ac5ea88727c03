"""Kill small runs, trainings, studies, saves and exports at random moments, and let them find the disk full.

Each has to give the same bits when it is done again (with --resume where there is one), or say what to do in one line.
Children are forked from one process in which everything is imported, so that hundreds of kills take minutes.

    python benchmarks/robustness/kills.py --kills 200 --full 50 --out benchmarks/results/robustness/kills.json
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "robustness"))

from about import about
from interruptions import Bench, Report, fill, kill, small_disk
from tasks import TASKS, warm_up

from reconv.files import read_json, write_json

_SHARES = {"run": 0.15, "finetune": 0.25, "study": 0.2, "save": 0.25, "export": 0.15}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200, help="how many SIGKILLs, at least, of all tasks")
    parser.add_argument("--full", type=int, default=50, help="at how many moments the disk is full, at least")
    parser.add_argument("--tasks", nargs="+", choices=list(_SHARES), default=list(_SHARES), help="only these")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/robustness/kills.json"))
    options = parser.parse_args()
    parts = read_json(options.out) if options.out.is_file() else {}
    faults = 0
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        warm_up(scratch)
        for task in TASKS:
            if task.name in options.tasks:
                place = scratch / task.name
                place.mkdir()
                share = _SHARES[task.name]
                parts[task.name] = _attack(
                    Bench(task, place), share * options.kills, share * options.full, options.seed
                )
                faults += len(parts[task.name]["faults"])
                print(task.name, json.dumps(parts[task.name], indent=1), flush=True)
                write_json(options.out, parts)
    return 1 if faults else 0


def _attack(bench: Bench, kills: float, moments: float, seed: int) -> dict[str, object]:
    """Kill the task, and let it find the disk full: half of the times a real small disk, where one can be mounted."""
    rng, start = random.Random(seed), time.perf_counter()
    killed, filled = Report(), Report()
    while sum(killed.attacks.values()) < kills:
        kill(bench, rng, killed)
    injected = math.ceil(moments / 2)
    for _ in range(injected):
        fill(bench, rng, filled)
    with small_disk(bench.scratch / "attacked") as disk:
        is_real = disk is not None
        for _ in range(math.ceil(moments) - injected):
            fill(bench, rng, filled, disk)
    return {
        "kills": sum(killed.attacks.values()),
        "after kills": dict(killed.outcomes),
        "full disks": sum(filled.attacks.values()),
        "of which real": (math.ceil(moments) - injected) * is_real,
        "after full disks": dict(filled.outcomes),
        "said": dict(killed.lines + filled.lines),
        "faults": killed.faults + filled.faults,
        "seed": seed,
        **about(start),
    }


if __name__ == "__main__":
    sys.exit(main())

"""Prune random networks and compare each with an oracle that knows nothing of reconv's engine.

python benchmarks/robustness/random_networks.py --count 2000 --seed 0

Networks are drawn from the grammar of tests/robustness/network_grammar.py. Prints every failure, and at the end what
became of them all; writes the counts as JSON.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import random
import sys
import time
import warnings
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "robustness")]

from network_grammar import Program, build, draw_program  # noqa: E402
from network_oracle import judge, smaller  # noqa: E402

import reconv  # noqa: E402


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0, help="of the first network; the others follow")
    parser.add_argument("--workers", type=int, default=1, help="processes")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/robustness/random-networks.json")
    parser.add_argument("--shrink", action="store_true", help="leave out the steps that a failure does not need")
    return parser.parse_args()


def examine(seed: int, shrink: bool) -> dict[str, Any]:
    """One network: what became of it, and, where that is a fault, all that reproduces it."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    draw = random.Random(seed)
    program, scheme, share = draw_program(seed), draw.choice(("uniform", "global")), draw.choice((0.3, 0.5, 0.7))
    verdict = judge(program, scheme, share)
    found = {"kind": verdict.kind, "pruned": verdict.pruned, "steps": _names(program), "fault": None}
    if not verdict.fault:
        return found
    if shrink:
        program = smaller(program, lambda less: judge(less, scheme, share).kind == verdict.kind)
        verdict = judge(program, scheme, share)
    network = " ".join(str(build(program)[0]).split())
    fault = {"seed": seed, "kind": verdict.kind, "why": verdict.why[:500], "scheme": scheme, "share": share}
    return found | {"fault": fault | {"program": str(program), "network": network}}


def _names(program: Program) -> list[str]:
    modules = (m for m in build(program)[0].modules() if not isinstance(m, torch.nn.Sequential))
    return sorted({getattr(m, "name", None) or type(m).__name__ for m in modules})


def summary(given: argparse.Namespace, found: list[dict[str, Any]], seconds: float) -> dict[str, Any]:
    """What became of the networks so far."""
    removed, channels = (sum(result["pruned"][i] for result in found) for i in (0, 1))
    return {
        "networks": len(found),
        "asked for": given.count,
        "seed": given.seed,
        "counts": dict(Counter(result["kind"] for result in found).most_common()),
        "channels": {"all": channels, "removed": removed},
        "steps": dict(Counter(name for result in found for name in result["steps"]).most_common()),
        "faults": sorted((result["fault"] for result in found if result["fault"]), key=lambda fault: fault["seed"]),
        "seconds": round(seconds),
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "reconv": reconv.__version__},
        "machine": platform.machine(),
    }


def main() -> int:
    given, start = arguments(), time.perf_counter()
    given.out.parent.mkdir(parents=True, exist_ok=True)
    seeds = range(given.seed, given.seed + given.count)
    found: list[dict[str, Any]] = []
    with multiprocessing.get_context("spawn").Pool(given.workers) as pool:
        for result in pool.imap_unordered(partial(examine, shrink=given.shrink), seeds):
            found.append(result)
            if result["fault"]:
                print(json.dumps(result["fault"]), flush=True)
            if len(found) % 50 == 0 or len(found) == given.count:
                so_far = summary(given, found, time.perf_counter() - start)
                given.out.write_text(json.dumps(so_far, indent=2) + "\n")
                print(f"{len(found)} networks: {so_far['counts']}, {so_far['seconds']} s", flush=True)
    removed, channels = so_far["channels"]["removed"], so_far["channels"]["all"]
    print(f"{removed:,} of {channels:,} channels removed; written to {given.out}")
    return 1 if so_far["faults"] else 0


if __name__ == "__main__":
    sys.exit(main())

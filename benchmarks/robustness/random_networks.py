"""Prune random networks and compare each with an oracle that knows nothing of reconv's engine.

python benchmarks/robustness/random_networks.py --count 2000 --seed 0

Networks are drawn from the grammar of tests/robustness/network_grammar.py. Prints what became of them, and for every
kind of failure the smallest networks that show it; writes the counts as JSON.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import sys
import time
import warnings
from collections import Counter
from pathlib import Path

import torch

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "robustness"))

from network_grammar import build, draw_program  # noqa: E402
from network_oracle import judge, smaller  # noqa: E402

import reconv  # noqa: E402


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0, help="of the first network; the others follow")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "random-networks.json")
    parser.add_argument("--shrink", action="store_true", help="make failing networks smaller, and print them")
    return parser.parse_args()


def main() -> int:
    given = arguments()
    warnings.simplefilter("ignore")
    counts: Counter[str] = Counter()
    steps: Counter[str] = Counter()
    faults, gone, whole, start = [], 0, 0, time.perf_counter()
    for seed in range(given.seed, given.seed + given.count):
        draw = random.Random(seed)
        program, scheme, share = draw_program(seed), draw.choice(("uniform", "global")), draw.choice((0.3, 0.5, 0.7))
        verdict = judge(program, scheme, share)
        counts[verdict.kind] += 1
        gone, whole = gone + verdict.pruned[0], whole + verdict.pruned[1]
        steps.update(_names(program))
        if verdict.fault:
            if given.shrink:
                kind = verdict.kind
                program = smaller(program, lambda p, kind=kind, s=scheme, n=share: judge(p, s, n).kind == kind)
                verdict = judge(program, scheme, share)
            network = " ".join(str(build(program)[0]).split())
            fault = {"seed": seed, "kind": verdict.kind, "why": verdict.why[:500], "scheme": scheme, "share": share}
            faults.append(fault | {"program": str(program), "network": network})
            print(json.dumps(faults[-1]), flush=True)
        done = seed - given.seed + 1
        if done % 100 == 0:
            print(f"{done}: {dict(counts)}, {time.perf_counter() - start:.0f} s", flush=True)
    result = {
        "networks": given.count,
        "seed": given.seed,
        "counts": dict(counts),
        "channels": {"all": whole, "removed": gone},
        "steps": dict(steps.most_common()),
        "faults": faults,
        "seconds": round(time.perf_counter() - start),
        "machine": {"python": platform.python_version(), "torch": torch.__version__, "reconv": reconv.__version__,
                    "processor": platform.machine()},
    }  # fmt: skip
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(result, indent=2) + "\n")
    print(f"{given.count} networks: {dict(counts)}; {gone:,} of {whole:,} channels removed; written to {given.out}")
    return 1 if faults else 0


def _names(program: object) -> set[str]:
    model, _ = build(program)  # type: ignore[arg-type]
    return {
        getattr(m, "name", None) or type(m).__name__ for m in model.modules() if not isinstance(m, torch.nn.Sequential)
    }


if __name__ == "__main__":
    sys.exit(main())

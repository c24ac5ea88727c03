"""How many residual branches may be removed, of networks with random weights, and why others stay.

    python benchmarks/coverage/branches.py                            # the networks of docs/coverage.md
    python benchmarks/coverage/branches.py torchvision:resnet50 --prove

`--prove` removes every second branch and compares with the network that adds nothing of them, in float64.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter

import numpy as np
import torch
from sweep import NAMED, built, input_size, randomized, size_for

from reconv.graph import trace
from reconv.graph.branches import with_branches
from reconv.plan import plan_keeping
from reconv.surgery import prune, verify


def row(name: str, size: int | None, prove: bool) -> str:
    torch.manual_seed(0)
    model = randomized(built(name)).eval()
    shape = input_size(model)
    graph = trace(model, torch.zeros(1, shape[0], *((size, size) if size else shape[1:])))
    start = time.process_time()
    graph = with_branches(graph)
    seconds = time.process_time() - start
    branches = graph.branches or ()
    able = [branch for branch in branches if not branch.reason]
    stay = Counter(branch.reason.partition(" (")[0] for branch in branches if branch.reason)
    macs = {layer.name: layer.macs() for layer in graph.layers}
    share = sum(macs[n] for n in {n for branch in able for n in branch.layers}) / max(sum(macs.values()), 1)
    proof = ""
    if prove and able:
        keep = np.ones(graph.classes, dtype=np.bool_)
        for branch in able[::2]:
            keep[branch.classes] = False
        plan = plan_keeping(graph, keep)
        proof = f"{float(verify(model, prune(model, plan), plan)):.0e}"
    reasons = "; ".join(f"{count}: {reason}" for reason, count in stay.most_common())
    cells = (
        name.replace(":", ": "),
        f"{len(able)} of {len(branches)}",
        f"{share:.0%}",
        proof,
        f"{seconds:.1f}",
        reasons,
    )
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*")
    parser.add_argument("--prove", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    print("| network | removable | MACs in them | proof | seconds | why others stay |\n|---|---|---|---|---|---|")
    for name, size in ({n: size_for(n) for n in given.networks} or NAMED).items():
        try:
            print(row(name, size, given.prove), flush=True)
        except Exception as error:  # a network that does not build or trace here
            print(f"| {name} | {type(error).__name__}: {error} |", flush=True)


if __name__ == "__main__":
    main()

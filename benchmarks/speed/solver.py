"""How long the solver takes to find widths, and how far they may be from the best ones.

    python benchmarks/speed/solver.py                      # a table for docs/measured.md
    python benchmarks/speed/solver.py --models resnet50 --runs 5

`choose` with the scheme "knapsack" on L2 scores, residual streams cut too, on torchvision's networks with random
weights at 224 x 224. Seconds are of the processor, one thread, the median of the runs; tracing and scoring are not in
them. The gap is what the plan says: of the score that could go, no plan within the budget keeps so much more.
"""

from __future__ import annotations

import argparse
import re
import statistics
import time

import torch
import torchvision

from reconv.graph import trace
from reconv.plan import Budget, Limits, choose
from reconv.saliency import score

MODELS = ("resnet18", "resnet50", "mobilenet_v2", "densenet121")
ASKED = {
    "macs=0.5": (Budget(macs=0.5), Limits()),
    "macs=0.5, params=0.5": (Budget(macs=0.5, params=0.5), Limits()),
    "both, multiples of 8": (Budget(macs=0.5, params=0.5), Limits(multiple=8)),
}


def row(name: str, runs: int) -> str:
    torch.manual_seed(0)
    model = torchvision.models.get_model(name, weights=None).eval()
    graph = trace(model, torch.randn(1, 3, 224, 224))
    scores = score(graph, "l2")
    cells = []
    for budget, limits in ASKED.values():
        seconds = []
        for _ in range(runs):
            start = time.process_time()
            plan = choose(graph, scores, budget, scheme="knapsack", coupled=True, limits=limits)
            seconds.append(time.process_time() - start)
        gap = re.findall(r"gap <= ([0-9.]+%)", plan.notes[0])[0]
        cells.append(f"{statistics.median(seconds):.2f} s, {gap}")
    groups = sum(not group.reason for group in graph.groups)
    return f"| {name} | {groups} | {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="*", default=MODELS)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"| network | groups | {' | '.join(ASKED)} |\n|{'---|' * (len(ASKED) + 2)}")
    for name in options.models:
        print(row(name, options.runs), flush=True)


if __name__ == "__main__":
    main()

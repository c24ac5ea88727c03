"""Predicted against measured latency of networks that were cut to a budget of time.

    python benchmarks/speed/latency.py [--share 0.6] [--network resnet18 ...]

For each network: the layers are timed once, a plan is chosen for the share of its latency, and the cut network is
measured interleaved with the whole one. "first" is the prediction before any correction; "error" is its distance from
what was measured. Run it on a quiet machine, on one core, with one thread: OMP_NUM_THREADS=1 taskset -c 0.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch

from reconv import load_model, prune, score, trace
from reconv.cost.timing import random_like, time_pair
from reconv.errors import BudgetError
from reconv.machine import versions
from reconv.plan import Budget, choose, measure_layers

NETWORKS = {"resnet18": 224, "mobilenet_v2": 224, "resnet56": 32, "vgg16_bn": 32, "densenet121": 224}


def measured(name: str, share: float) -> dict[str, object]:
    """One row: times in milliseconds."""
    graph = trace(load_model(name), torch.zeros(1, 3, NETWORKS[name], NETWORKS[name]))
    scores = score(graph, "l2")
    start = time.perf_counter()
    table = measure_layers(graph)
    seconds = time.perf_counter() - start
    # A timer that finds what is asked for leaves the plan as predicted.
    plan = choose(graph, scores, Budget(latency=share), coupled=True, latency=table, timer=lambda *_: (1.0, share))
    before, after = time_pair(graph.model, prune(graph.model, plan), random_like(graph.inputs))
    first = table.microseconds(plan.keep) / table.microseconds(table.whole)
    row: dict[str, object] = {
        "network": name,
        "requested": share,
        "table, s": round(seconds, 1),
        "before, ms": round(before / 1000, 2),
        "first, predicted": round(first, 3),
        "first, measured": round(after / before, 3),
        "error": round(first - after / before, 3),
    }
    try:
        plan = choose(graph, scores, Budget(latency=share), coupled=True, latency=table)
    except BudgetError as error:
        return {**row, "final": str(error)}
    assert plan.latency is not None
    final = plan.latency[1] / plan.latency[0]
    return {**row, "final": round(final, 3), "MACs left": round(plan.macs[1] / plan.macs[0], 3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", type=float, default=0.6)
    parser.add_argument("--network", action="append", choices=list(NETWORKS))
    parser.add_argument("--out", type=Path, default=None, help="write the rows as JSON")
    args = parser.parse_args()
    print(json.dumps({**versions(), "threads": torch.get_num_threads()}))
    rows = []
    for name in args.network or NETWORKS:
        rows.append(measured(name, args.share))
        print(json.dumps(rows[-1]), flush=True)
    if args.out:
        args.out.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()

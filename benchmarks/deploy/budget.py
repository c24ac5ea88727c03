"""Whether `latency=0.5` gives half of the latency in the runtime where the network will run.

    python benchmarks/deploy/budget.py [--runtime onnxruntime] [--share 0.5] [--network resnet18 ...] [--out FILE]

For each network: the plan for the share, residual streams too, random weights; then both networks are exported anew, as
`reconv export` writes them, and the two files are timed interleaved, apart from the measurements that the plan was made
by. Times of one thread are its CPU time, so that other work on the machine stretches them little.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

import reconv
from reconv.cost.timing import random_like
from reconv.deploy import TimedNetwork, latencies_in, runtime_timer
from reconv.errors import ReconvError
from reconv.machine import versions

NETWORKS = {"resnet18": 224, "mobilenet_v2": 224, "resnet56": 32, "vgg16_bn": 32, "densenet121": 224}
SECONDS = 10.0  # spent on timing the two files


def measured(name: str, share: float, runtime: str, threads: int, scheme: str) -> dict[str, Any]:
    """One row."""
    start = time.perf_counter()
    model = reconv.load_model(name).eval()
    graph = reconv.trace(model, torch.zeros(1, 3, NETWORKS[name], NETWORKS[name]))
    row: dict[str, Any] = {"network": name, "runtime": runtime, "scheme": scheme, "requested": share}
    timer = runtime_timer(runtime, threads=threads)
    try:
        budget = reconv.Budget(latency=share)
        plan = reconv.choose(graph, reconv.score(graph, "l2"), budget, scheme=scheme, coupled=True, timer=timer)
    except ReconvError as error:
        return {**row, "error": str(error)}
    assert plan.latency is not None
    small = reconv.prune(model, plan).eval()
    row["measured for the plan"] = round(plan.latency[1] / plan.latency[0], 3)
    row["attempts"] = next(note for note in plan.notes if "attempt" in note).rpartition(" ")[2]
    row["seconds"] = round(time.perf_counter() - start, 1)
    example = random_like(graph.inputs)
    with tempfile.TemporaryDirectory() as folder:
        networks = []
        for label, net in (("before", model), ("after", small)):
            written = reconv.export(net, Path(folder) / f"{label}.onnx", example=example)
            networks.append(TimedNetwork(net, example, threads, file=written.path.read_bytes()))
        before, after = latencies_in(runtime, networks, seconds=SECONDS)
    row |= {
        "before, ms": round(1000 * before.median, 3),
        "after, ms": round(1000 * after.median, 3),
        "measured anew, of the exported files": round(after.median / before.median, 3),
        "the same by lower quartiles": round(after.low / before.low, 3),
        "spread": [round(before.spread, 2), round(after.spread, 2)],
        "MACs left": round(plan.macs[1] / plan.macs[0], 3),
    }
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runtime", default="onnxruntime")
    parser.add_argument("--share", type=float, default=0.5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--scheme", default="uniform")
    parser.add_argument("--network", action="append", choices=list(NETWORKS))
    parser.add_argument("--out", type=Path, default=None, help="write the rows as JSON")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(json.dumps(versions()))
    rows = []
    for name in args.network or NETWORKS:
        rows.append(measured(name, args.share, args.runtime, args.threads, args.scheme))
        print(json.dumps(rows[-1]), flush=True)
    if args.out:
        args.out.write_text(json.dumps({"versions": versions(), "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()

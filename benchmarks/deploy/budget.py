"""Whether `latency=0.5` gives half of the latency in the runtime where the network will run.

    python benchmarks/deploy/budget.py --folder DIR [--runtime onnxruntime] [--share 0.5] [--network resnet18 ...]
    python benchmarks/deploy/budget.py --folder DIR --again [--network resnet18 ...]

For each network: the plan for the share, residual streams too, random weights; then both networks are exported anew, as
`reconv export` writes them, and the two files are timed interleaved, apart from the measurements that the plan was made
by. `--again` times the files of an earlier call once more, such as on an idle machine. Times of one thread are its CPU
time, so that other work on the machine stretches them little; what is compared are lower quartiles, as for a budget:
what disturbs a pass makes it longer.
"""

from __future__ import annotations

import argparse
import json
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


def planned(name: str, share: float, runtime: str, threads: int, scheme: str, folder: Path) -> dict[str, Any]:
    """A network's plan, and both networks as files in a folder."""
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
    row["MACs left"] = round(plan.macs[1] / plan.macs[0], 3)
    for label, net in (("before", model), ("after", small)):
        reconv.export(net, folder / f"{name}-{label}.onnx", example=random_like(graph.inputs))
    return row


def timed(name: str, runtime: str, threads: int, folder: Path) -> dict[str, Any]:
    """The two files of a network, timed interleaved."""
    example = random_like(torch.zeros(1, 3, NETWORKS[name], NETWORKS[name]))
    files = [(folder / f"{name}-{label}.onnx").read_bytes() for label in ("before", "after")]
    networks = [TimedNetwork(torch.nn.Identity(), example, threads, file=file) for file in files]
    before, after = latencies_in(runtime, networks, seconds=SECONDS)
    return {
        "before, ms": round(1000 * before.low, 3),
        "after, ms": round(1000 * after.low, 3),
        "measured anew, of the exported files": round(after.low / before.low, 3),
        "the same by medians": round(after.median / before.median, 3),
        "spread": [round(before.spread, 2), round(after.spread, 2)],
        "passes": before.runs,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runtime", default="onnxruntime")
    parser.add_argument("--share", type=float, default=0.5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--scheme", default="uniform")
    parser.add_argument("--network", action="append", choices=list(NETWORKS))
    parser.add_argument("--folder", type=Path, required=True, help="of the exported files and the rows, budget.json")
    parser.add_argument("--again", action="store_true", help="only time the files that are there")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(json.dumps(versions()))
    args.folder.mkdir(parents=True, exist_ok=True)
    written = args.folder / "budget.json"
    rows = json.loads(written.read_text())["rows"] if written.exists() else {}
    for name in args.network or NETWORKS:
        if not args.again:
            rows[name] = planned(name, args.share, args.runtime, args.threads, args.scheme, args.folder)
        if "error" not in rows[name]:
            rows[name] |= timed(name, args.runtime, args.threads, args.folder)
        print(json.dumps(rows[name]), flush=True)
        written.write_text(json.dumps({"versions": versions(), "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()

"""Latency in ONNX Runtime of original and pruned networks, each in float32 and in int8, and accuracy.

    python benchmarks/deploy/latency.py --weights DIR --data DIR [--case resnet56 ...] [--out FILE]

Cases: resnet56 on CIFAR-10 (trained weights; repaired without training; batch 64), vgg16_bn at 32 px (batch 64) and
resnet18 at 224 px (batch 1) at half of the MACs with random weights, mobilenet_v2 at 224 px (batch 1) at a latency
of 0.7.
The files are those that `reconv export` writes; the four of a case are timed interleaved with one thread, as CPU time
of that thread, so that other work on the machine stretches them little. What a user compares with is the last column:
the pruned network in int8 against the original one in int8.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import reconv
from reconv.cost.timing import random_like
from reconv.data import DataSet, calibration_images, load_data
from reconv.deploy import TimedNetwork, batched, export, latencies_in, quantize, runtime_timer
from reconv.machine import versions
from reconv.provenance import provenance_of
from reconv.results.deployed import FileNetwork
from reconv.significance import Replicates
from reconv.training.predictions import predict

SECONDS = 20.0  # spent on timing the four files of a case


@dataclass(frozen=True)
class Case:
    """One network, and what is asked of it.

    Args:
        size: pixels per side. batch: images per pass. budget: of the pruned network, by name.
        options: of `choose`. weights: file in the folder of weights; "": random ones.
    """

    network: str
    size: int
    batch: int
    budget: Mapping[str, float]
    options: Mapping[str, Any]
    weights: str = ""


CASES = {
    "resnet56": Case("resnet56", 32, 64, {"latency": 0.65}, {"multiple": 8}, "cifar10-resnet56.safetensors"),
    "vgg16_bn": Case("vgg16_bn", 32, 64, {"macs": 0.5}, {"multiple": 16}),
    "resnet18": Case("resnet18", 224, 1, {"macs": 0.5}, {"multiple": 16, "coupled": True}),
    "mobilenet_v2": Case("mobilenet_v2", 224, 1, {"latency": 0.7}, {"multiple": 8, "coupled": True}),
}


def pruned(case: Case, model: nn.Module, images: Tensor | None) -> tuple[nn.Module, Any]:
    """The smaller network, repaired where there are images, and its plan."""
    graph = reconv.trace(model, torch.zeros(1, 3, case.size, case.size))
    options = dict(case.options)
    limits = reconv.Limits(multiple=options.pop("multiple"))
    timer = runtime_timer("onnxruntime", threads=1, batch=case.batch) if "latency" in case.budget else None
    scores: Any = reconv.score(graph, "l2")
    if images is not None:
        moments = reconv.gather_moments(graph, images)
        scores = reconv.error_curves(graph, moments)
    plan = reconv.choose(graph, scores, reconv.Budget(**case.budget), limits=limits, timer=timer, **options)
    small = reconv.prune(model, plan)
    if images is not None:
        small = reconv.repair(small, plan=plan, reference=model, images=images)
    return small.eval(), plan


def measured(case: Case, folder: Path, weights: Path | None, data: DataSet | None, number: int) -> dict[str, Any]:
    """One row; `number` images serve for error curves, repair and int8."""
    start = time.perf_counter()
    has_images = bool(case.weights) and weights is not None and data is not None
    model = reconv.load_model(
        case.network, weights=str(weights / case.weights) if has_images and weights else None
    ).eval()
    images = (
        calibration_images(data, number, 0, normalization=provenance_of(model).normalization) if has_images else None
    )  # type: ignore[arg-type]
    small, plan = pruned(case, model, images)
    example = torch.zeros(1, 3, case.size, case.size)
    calibration = images if images is not None else torch.randn(32, 3, case.size, case.size)
    files: dict[str, Path] = {}
    row: dict[str, Any] = {
        "network": case.network,
        "budget": dict(case.budget),
        "batch": case.batch,
        "weights": case.weights,
    }
    row["options"] = {key: str(value) for key, value in case.options.items()}
    row["macs"] = round(plan.macs[1] / plan.macs[0], 4)
    for label, net in (("before", model), ("after", small)):
        files[label], files[f"{label}, int8"] = folder / f"{label}.onnx", folder / f"{label}.int8.onnx"
        parity = export(net, files[label], example=example, images=calibration[:64])
        written = quantize(net, files[f"{label}, int8"], example=example, images=calibration[:512])
        row[f"{label}: parity"] = {"float32": parity.error, "int8 agreement": written.agreement}
    inputs = random_like(batched(example, case.batch))
    networks = [TimedNetwork(model, inputs, 1, file=path.read_bytes()) for path in files.values()]
    latencies = dict(zip(files, latencies_in("onnxruntime", networks, seconds=SECONDS), strict=True))
    row["milliseconds"] = {label: round(1000 * one.median, 3) for label, one in latencies.items()}
    row["quartiles"] = {
        label: [round(1000 * one.low, 3), round(1000 * one.high, 3)] for label, one in latencies.items()
    }
    row["images"] = 0 if images is None else number
    row["passes"] = next(iter(latencies.values())).runs
    first = latencies["before"].median
    row["after / before"] = {label: round(one.median / first, 3) for label, one in latencies.items()}
    row["pruned int8 / original int8"] = round(latencies["after, int8"].median / latencies["before, int8"].median, 3)
    if has_images and data is not None:
        row["accuracy"] = accuracies({"before": model, "after": small}, files, data)
    row["seconds"] = round(time.perf_counter() - start)
    return row


def accuracies(models: Mapping[str, nn.Module], files: Mapping[str, Path], data: DataSet) -> dict[str, list[float]]:
    """Accuracy on the test images and its 95 % interval, in percent; of the files."""
    like = models["before"]
    correct = {label: predict(FileNetwork(path, like), data, "test").correct.numpy() for label, path in files.items()}
    replicates = Replicates(correct)
    intervals = {label: replicates.accuracy([label]) for label in correct}
    return {label: [round(100 * x, 2) for x in (one.value, one.low, one.high)] for label, one in intervals.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, help="folder with cifar10-resnet56.safetensors")
    parser.add_argument("--data", help="folder that holds cifar-10-batches-bin")
    parser.add_argument("--case", action="append", choices=list(CASES))
    parser.add_argument("--budget", help="in place of a case's own, such as macs=0.4")
    parser.add_argument("--images", type=int, default=1000, help="for error curves, repair and int8")
    parser.add_argument("--test-images", type=int, help="the first so many, in place of all")
    parser.add_argument("--out", type=Path, default=None, help="write the rows as JSON")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    data = load_data("CIFAR10", args.data) if args.data else None
    if data is not None and args.test_images:
        data = replace(data, test=data.test.subset(torch.arange(args.test_images)))
    print(json.dumps(versions()))
    rows = []
    for name in args.case or CASES:
        case = CASES[name]
        if args.budget:
            kind, _, share = args.budget.partition("=")
            case = replace(case, budget={kind: float(share)})
        with tempfile.TemporaryDirectory() as folder:
            rows.append(measured(case, Path(folder), args.weights, data, args.images))
        print(json.dumps(rows[-1]), flush=True)
    if args.out:
        args.out.write_text(json.dumps({"versions": versions(), "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()

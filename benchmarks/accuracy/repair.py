"""Accuracy of networks that were cut and repaired without training, on the CIFAR-10 test images.

    python benchmarks/accuracy/repair.py figures --weights DIR --data-root DIR
    python benchmarks/accuracy/repair.py figures --source leaves --images 2000 --weights DIR --data-root DIR
    python benchmarks/accuracy/repair.py table --model resnet20 --weights DIR --data-root DIR

`figures`: widths and channels from error curves, repaired; mean and spread over several draws of calibration images.
`table`: criteria x (uniform, allocated) x (as cut, BatchNorm recalibrated, repaired).
Every draw is printed. Seconds are of the processor (all threads) and of the clock. Labels serve the accuracy only.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from reconv.data import calibration_images, load_data
from reconv.data.augment import normalize
from reconv.data.dataset import DataSet
from reconv.graph import ChannelGraph, trace
from reconv.plan import Budget, Plan, choose, unit_scores
from reconv.provenance import provenance_of
from reconv.refit import (
    Curve,
    Settings,
    choose_by_curves,
    dead_leaves,
    error_curves,
    gather_moments,
    repair,
)
from reconv.saliency import score
from reconv.surgery import prune
from reconv.training.recalibrate import recalibrate
from reconv.zoo import load_model

CRITERIA = ("spectral", "nuclear", "frobenius", "l1", "l2", "fpgm", "random")


@torch.no_grad()
def accuracy(model: nn.Module, data: DataSet, limit: int) -> float:
    """Percent of the first `limit` test images that are classified correctly."""
    right = 0
    labels = data.test.labels[:limit]
    parts = torch.arange(len(labels)).split(200)
    for part, pixels in zip(parts, data.test.stream(parts, torch.device("cpu")), strict=True):
        right += int((model(normalize(pixels, data.normalization)).argmax(1) == labels[part]).sum())
    return 100 * right / len(labels)


def drawn(options: argparse.Namespace, data: DataSet, seed: int) -> Tensor:
    """Calibration images: of the training split, or from nothing."""
    if options.source == "noise":
        return torch.randn(options.images, *data.input_size, generator=torch.Generator().manual_seed(seed))
    if options.source == "leaves":
        return dead_leaves(options.images, data.input_size[1:], normalization=data.normalization, seed=seed)
    return calibration_images(data, options.images, seed=seed)


def settings(options: argparse.Namespace, seed: int) -> Settings:
    return Settings(points=options.points, joint=options.joint, joint_rows=options.joint_rows, seed=seed)


def figures(options: argparse.Namespace, graph: ChannelGraph, data: DataSet) -> None:
    found: dict[float, list[float]] = {keep: [] for keep in options.keep}
    for seed in range(options.draws):
        cpu, clock = time.process_time(), time.perf_counter()
        images = drawn(options, data, seed)
        curves = error_curves(graph, gather_moments(graph, images, settings(options, seed)))
        once = time.process_time() - cpu, time.perf_counter() - clock
        for keep in options.keep:
            cpu, clock = time.process_time(), time.perf_counter()
            plan = choose_by_curves(graph, curves, Budget(macs=keep))
            small = prune(graph.model, plan)
            small = repair(small, plan=plan, reference=graph.model, images=images, settings=settings(options, seed))
            seconds = once[0] + time.process_time() - cpu, once[1] + time.perf_counter() - clock
            found[keep].append(accuracy(small, data, options.test))
            print(
                f"  draw {seed}: -{1 - plan.macs[1] / plan.macs[0]:.1%} MACs, {found[keep][-1]:.2f} %, "
                f"{seconds[0]:.1f} s of the processor, {seconds[1]:.1f} s by the clock",
                flush=True,
            )
    print(f"\n| {options.model}, {options.images} {options.source} | mean % | spread | draws |\n|---|---|---|---|")
    for keep, values in found.items():
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        print(f"| -{1 - keep:.0%} MACs | {statistics.mean(values):.2f} | {spread:.2f} | {len(values)} |")


def by_criterion(graph: ChannelGraph, name: str, seed: int, moments: dict, budget: Budget) -> dict[str, Plan]:
    """Plans of one criterion: the same share everywhere, and widths from the error curves of its order."""
    if name == "reconstruction":
        curves = error_curves(graph, moments)
        return {"allocated": choose_by_curves(graph, curves, budget)}
    scores = score(graph, name, seed=seed)
    orders = {group: values.argsort(kind="stable") for group, values in unit_scores(graph, scores).items()}
    curves: dict[str, Curve] = error_curves(graph, moments, orders=orders)
    return {"uniform": choose(graph, scores, budget), "allocated": choose_by_curves(graph, curves, budget)}


def table(options: argparse.Namespace, graph: ChannelGraph, data: DataSet) -> None:
    images = drawn(options, data, 0)
    moments = gather_moments(graph, images, settings(options, 0))
    print("| criterion | widths | MACs | as cut | recalibrated | repaired |\n|---|---|---|---|---|---|")
    for keep in options.keep:
        for name in (*CRITERIA, "reconstruction"):
            for widths, plan in by_criterion(graph, name, 0, moments, Budget(macs=keep)).items():
                cut = prune(graph.model, plan)
                made = repair(cut, plan=plan, reference=graph.model, images=images, settings=settings(options, 0))
                row = [accuracy(m, data, options.test) for m in (cut, recalibrate(cut, images), made)]
                removed = f"-{1 - plan.macs[1] / plan.macs[0]:.1%}"
                print(f"| {name} | {widths} | {removed} | " + " | ".join(f"{v:.2f}" for v in row) + " |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("figures", "table"))
    parser.add_argument("--model", default="resnet56", help="resnet20 or resnet56")
    parser.add_argument("--weights", type=Path, required=True, help="folder of cifar10-MODEL.safetensors")
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--keep", type=float, nargs="+", default=[0.7, 0.5, 0.35], help="shares of the MACs")
    parser.add_argument("--source", choices=("photographs", "leaves", "noise"), default="photographs")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--points", type=int, default=Settings.points)
    parser.add_argument("--joint", type=int, default=Settings.joint)
    parser.add_argument("--joint-rows", type=int, default=Settings.joint_rows)
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--test", type=int, default=10_000, help="test images")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model = load_model(options.model, weights=options.weights / f"cifar10-{options.model}.safetensors").eval()
    data = load_data("cifar10", options.data_root).with_normalization(provenance_of(model).normalization)
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {options.threads} threads; "
        f"Python {platform.python_version()}, PyTorch {torch.__version__}; seeds 0 to {options.draws - 1}\n"
        f"{options.model}, {options.images} images ({options.source}), {options.points} positions an image, "
        f"{options.joint} joint iterations on {options.joint_rows} positions; {options.test} test images",
        flush=True,
    )
    print(f"original: {accuracy(model, data, options.test):.2f} %", flush=True)
    graph = trace(model, data.example())
    {"figures": figures, "table": table}[options.what](options, graph, data)


if __name__ == "__main__":
    main()

"""Accuracy against time with and without the removal of residual blocks: cut, repaired, not trained, on CIFAR-10.

    python benchmarks/accuracy/depth.py --model resnet56 --budget latency=0.5 latency=0.35 --weights DIR --data-root DIR
    python benchmarks/accuracy/depth.py --model resnet20 --budget latency=0.6 --weights DIR --data-root DIR

Widths and depth are allocated by predicted error from calibration images without labels, for a forward pass of one
batch; then the network is repaired. At the end all networks of a draw are timed interleaved, by processor time, as
shares of the original. Every cell is kept in `--out` as it is measured.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import replace
from pathlib import Path

import torch
from cells import Cell, Cells, about_this_run, weights_of
from torch import Tensor, nn

from reconv.budget import Budget
from reconv.data import DataSet, calibration_images, load_data
from reconv.graph import trace
from reconv.plan import Plan, choose, measure_layers
from reconv.provenance import provenance_of
from reconv.refit import Settings, error_curves, gather_moments, repair
from reconv.surgery import prune, verify
from reconv.training.evaluation import evaluate
from reconv.zoo import load_model


def main() -> None:
    options = parse()
    torch.set_num_threads(1)
    model = load_model(options.model, weights=weights_of(options.model, options.weights)).eval()
    data = load_data("cifar10", options.data_root).with_normalization(provenance_of(model).normalization)
    graph = trace(model, torch.zeros(options.batch, *data.input_size))
    settings = {"model": options.model, "batch": options.batch, "test images": options.test, "images": options.images}
    cells = Cells(options.out / f"{options.model}.json", about_this_run(1), settings)
    print(f"original: {accuracy(model, data, options.test)}", flush=True)
    table = measure_layers(graph) if any(Budget.parse([b]).measured for b in options.budget) else None
    for draw in range(options.draws):
        images = calibration_images(data, options.images, seed=draw)
        start = time.perf_counter()
        curves = error_curves(graph, gather_moments(graph, images, Settings(seed=draw)))
        print(f"draw {draw}: statistics and curves in {time.perf_counter() - start:.0f} s", flush=True)
        networks: dict[str, nn.Module] = {}
        found: dict[str, Cell] = {}
        for text in options.budget:
            for depth in options.depth:
                name = f"{text}, {'depth and width' if depth else 'width'}, draw {draw}"
                start = time.perf_counter()
                plan = choose(graph, curves, Budget.parse([text]), depth=depth, latency=table)
                small = prune(model, plan)
                found[name] = cell_of(plan, verify(model, small, plan))
                found[name]["seconds to choose"] = round(time.perf_counter() - start, 1)
                small = repair(small, plan=plan, reference=model, images=images, settings=Settings(seed=draw))
                found[name]["accuracy"] = accuracy(small, data, options.test)
                print(f"  {name}: {found[name]}", flush=True)
                networks[name] = small
        shares = time_interleaved(model, networks, options)
        for name, cell in found.items():
            timed = {**cell, **shares[name]}
            cells.get(name, lambda timed=timed: timed)
    show(cells)


def cell_of(plan: Plan, error: float) -> Cell:
    names = {group.name: group for group in plan.groups}
    widths = [len(names[group.name].kept) for group in plan.graph.groups if not group.stream]
    return {
        "macs": round(plan.macs[1] / plan.macs[0], 4),
        "removed": list(plan.removed),
        "widths": widths,
        "proof": float(error),
        "latency when chosen": None if plan.latency is None else round(plan.latency[1] / plan.latency[0], 4),
        "notes": list(plan.notes),
    }


def accuracy(model: nn.Module, data: DataSet, test: int) -> float:
    """Percent of the first test images that are classified correctly."""
    first = torch.arange(min(test, len(data.test)))
    return round(100 * evaluate(model, replace(data, test=data.test.subset(first))).top1, 2)


def time_interleaved(model: nn.Module, networks: dict[str, nn.Module], options: argparse.Namespace) -> dict[str, Cell]:
    """Processor time of a pass as a share of the original's: median, and the quartiles of single passes."""
    images: Tensor = torch.randn(options.batch, *options.shape)
    times: dict[str, list[float]] = {name: [] for name in networks}
    with torch.inference_mode():
        for turn in range(options.passes + 2):
            own: dict[str, float] = {}
            for name, network in {"": model, **networks}.items():
                start = time.process_time()
                network(images)
                own[name] = time.process_time() - start
            if turn >= 2:
                for name in networks:
                    times[name].append(own[name] / own[""])
    return {
        name: {
            "eager": round(statistics.median(passes), 4),
            "eager, quartiles": [round(q, 4) for q in statistics.quantiles(passes, n=4)[::2]],
            "passes": options.passes,
        }
        for name, passes in times.items()
    }


def show(cells: Cells) -> None:
    """Means over the draws."""
    rows: dict[str, list[Cell]] = {}
    for name, cell in cells.cells.items():
        rows.setdefault(name.rpartition(", draw")[0], []).append(cell)
    for name, own in rows.items():
        means = {key: statistics.mean(cell[key] for cell in own) for key in ("accuracy", "eager", "macs")}
        removed = [len(cell["removed"]) for cell in own]
        print(f"{name}: {means} removed {removed} over {len(own)} draws")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resnet56")
    parser.add_argument("--budget", nargs="+", default=["latency=0.5"])
    parser.add_argument("--depth", nargs="+", type=lambda text: text == "yes", default=[False, True], help="yes, no")
    parser.add_argument("--draws", type=int, default=2)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--test", type=int, default=10_000)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--passes", type=int, default=41)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/depth"))
    options = parser.parse_args()
    options.shape = (3, 32, 32)
    return options


if __name__ == "__main__":
    main()

"""Accuracy of networks that were cut and repaired without training, on the CIFAR-10 test images.

    python benchmarks/accuracy/repair.py --weights DIR --data-root DIR
    python benchmarks/accuracy/repair.py --source leaves --weights DIR --data-root DIR
    python benchmarks/accuracy/repair.py --model vgg16_bn --prune-cfg 1 --criterion nuclear --keep ...

Repaired at each budget, widths allocated, or in the paper's configuration; mean and spread over draws of calibration
images. Criteria are compared under repair, and fine-tuned after it, by the study `benchmarks/studies/cifar10.toml`.

Every cell is kept in `--out` as it is measured, and one that is there is not measured again. Seconds are of the
processor (all threads) and of the clock. Labels serve the accuracy only.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from cells import Cell, Cells, Clock, about_this_run, weights_of
from torch import Tensor, nn

from reconv.data import DataSet, calibration_images, load_data
from reconv.data.splits import TensorSplit
from reconv.graph import trace
from reconv.memory_pool import keep_freed_memory
from reconv.plan import Budget, Plan, choose, choose_widths
from reconv.provenance import provenance_of
from reconv.refit import (
    Settings,
    curves_of,
    dead_leaves,
    gather_moments,
    repair,
)
from reconv.saliency import Moments, Saliency, criterion_named, score
from reconv.surgery import prune
from reconv.training.evaluation import evaluate
from reconv.zoo import load_model, load_recipe


class Bench:
    """A network with its data, and what the studies do with them."""

    def __init__(self, options: argparse.Namespace):
        self.options = options
        self.model = load_model(options.model, weights=weights_of(options.model, options.weights)).eval()
        data = load_data("cifar10", options.data_root)
        self.data = data.with_normalization(provenance_of(self.model).normalization)
        self.graph = trace(self.model, self.data.example())

    def settings(self, seed: int) -> Settings:
        given = self.options
        return Settings(points=given.points, joint=given.joint, joint_rows=given.joint_rows, seed=seed)

    def images(self, seed: int) -> Tensor:
        """Calibration images: of the training split, of other data, or from nothing."""
        return drawn(self.options, self.data, seed)

    def moments(self, images: Tensor, seed: int) -> dict[str, Moments]:
        seen = images[:-100] if self.options.trials else images
        return gather_moments(self.graph, seen, self.settings(seed))

    def repaired(self, plan: Plan, images: Tensor, seed: int) -> nn.Module:
        return repair(
            prune(self.model, plan), plan=plan, reference=self.model, images=images, settings=self.settings(seed)
        )

    def accuracy(self, model: nn.Module) -> float:
        """Percent of the first test images that are classified correctly."""
        first = torch.arange(min(self.options.test, len(self.data.test)))
        return round(100 * evaluate(model, replace(self.data, test=self.data.test.subset(first))).top1, 2)

    def saliency(self, criterion: str, seed: int, moments: dict[str, Moments]) -> Saliency:
        return score(self.graph, criterion, seed=seed, moments=moments)

    def plans(
        self, criterion: str, seed: int, moments: dict[str, Moments], images: Tensor
    ) -> Iterator[tuple[str, Callable[[], Plan]]]:
        """The plans of one criterion, by name."""
        saliency = self.saliency(criterion, seed, moments)
        held_out = images[-100:] if self.options.trials else None
        curves = curves_of(self.graph, saliency, moments, held_out=held_out) if self.options.keep else {}
        for keep in self.options.keep:
            budget = Budget(macs=keep)
            yield f"allocated {keep:g}", lambda budget=budget: choose(self.graph, curves, budget)
        channels = {layer.name: layer.out_channels for layer in self.graph.layers if layer.kind == "conv"}
        for number in self.options.prune_cfg:
            widths = load_recipe(self.options.model, number).widths(channels)
            yield f"cfg{number}", lambda widths=widths: choose_widths(self.graph, saliency, widths)


def drawn(options: argparse.Namespace, data: DataSet, seed: int) -> Tensor:
    if options.source == "noise":
        return torch.randn(options.images, *data.input_size, generator=torch.Generator().manual_seed(seed))
    if options.source == "leaves":
        return dead_leaves(options.images, data.input_size[1:], normalization=data.normalization, seed=seed)
    if options.source == "digits":
        return calibration_images(other_images(digits(), data), options.images, seed=seed)
    if options.source == "fashion":
        return calibration_images(other_images(fashion(options.fashion), data), options.images, seed=seed)
    return calibration_images(data, options.images, seed=seed)


def digits() -> Tensor:
    return load_data("digits").train.images  # type: ignore[attr-defined]


def fashion(file: Path) -> Tensor:
    """uint8 [60000, 1, 28, 28], from Debian's package dataset-fashion-mnist."""
    import gzip

    raw = gzip.decompress(file.read_bytes())
    return torch.frombuffer(bytearray(raw[16:]), dtype=torch.uint8).view(-1, 1, 28, 28)


def other_images(pixels: Tensor, like: DataSet) -> DataSet:
    """Gray images, resized to those of a data set, in their place."""
    size = like.input_size[1:]
    resized = nn.functional.interpolate(pixels.float(), size, mode="bilinear").round().to(torch.uint8)
    resized = resized.expand(-1, like.input_size[0], -1, -1)
    return replace(like, train=TensorSplit(resized, torch.zeros(len(resized), dtype=torch.long)))


def figures(options: argparse.Namespace) -> None:
    bench = Bench(options)
    cells = cells_of(options)
    print(f"original: {cells.get('original', lambda: {'accuracy': bench.accuracy(bench.model)})}")
    wanted = [f"allocated {keep:g}" for keep in options.keep] + [f"cfg{n}" for n in options.prune_cfg]
    for seed in range(options.draws):
        names = {plan: f"{plan}, {options.criterion}, draw {seed}" for plan in wanted}
        if all(name in cells.cells for name in names.values()):
            continue
        images = bench.images(seed)
        clock = Clock()
        look = options.keep or "moments" in criterion_named(options.criterion).needs
        moments = bench.moments(images, seed) if look else {}
        plans = dict(bench.plans(options.criterion, seed, moments, images))
        once = clock.read()
        for plan, name in names.items():
            cells.get(name, partial(repaired, bench, plans[plan], images, seed, once))
    print(
        f"\n| {options.model}, {options.images} {options.source} | mean % | spread | draws | s | peak MiB |\n"
        + "|---" * 6
        + "|"
    )
    for plan in wanted:
        rows = [cells.cells[f"{plan}, {options.criterion}, draw {seed}"] for seed in range(options.draws)]
        values = [row["accuracy"] for row in rows]
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        seconds = statistics.mean(row["cpu s"] for row in rows), statistics.mean(row["clock s"] for row in rows)
        print(
            f"| {plan}: -{rows[0]['removed']:.1f} % MACs | {statistics.mean(values):.2f} | {spread:.2f} "
            f"| {len(values)} | {seconds[0]:.1f} cpu, {seconds[1]:.1f} clock | {max(r['peak MiB'] for r in rows):.0f} |"
        )


def repaired(bench: Bench, plan_of: Callable[[], Plan], images: Tensor, seed: int, once: tuple[float, float]) -> Cell:
    """One repair: accuracy, seconds, and the most memory that the process has used."""
    clock = Clock()
    plan = plan_of()
    small = bench.repaired(plan, images, seed)
    cpu, wall = (a + b for a, b in zip(once, clock.read(), strict=True))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "accuracy": bench.accuracy(small),
        "removed": round(100 * (1 - plan.macs[1] / plan.macs[0]), 2),  # percent of the MACs
        "cpu s": round(cpu, 1),
        "clock s": round(wall, 1),
        "peak MiB": round(peak),
    }


def cells_of(options: argparse.Namespace) -> Cells:
    settings = {
        "images": f"{options.images} {options.source}",
        "settings": f"{options.points} points, {options.joint} joint iterations, {options.joint_rows} joint rows",
        "test images": options.test,
    }
    if options.trials:
        settings["trials"] = "each group, on a hundred images"
    name = f"figures-{options.model}-{options.source}-{options.images}-{options.joint_rows}"
    return Cells(options.out / f"{name}.json", about_this_run(options.threads), settings)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resnet56", help="resnet20, resnet56 or vgg16_bn")
    parser.add_argument("--weights", type=Path, required=True, help="folder of (cifar10-)MODEL.safetensors")
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--keep", type=float, nargs="*", default=[0.7, 0.5, 0.35], help="shares of the MACs")
    parser.add_argument("--prune-cfg", type=int, nargs="*", default=[], help="the paper's configurations")
    parser.add_argument("--criterion", default="reconstruction", help="by whose order channels go")
    sources = ("photographs", "leaves", "noise", "fashion", "digits")
    parser.add_argument("--trials", action="store_true", help="curves times measured sensitivities, as in a run")
    parser.add_argument("--source", choices=sources, default="photographs")
    parser.add_argument(
        "--fashion", type=Path, default=Path("/usr/share/datasets/fashion-mnist/train-images-idx3-ubyte.gz")
    )
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--points", type=int, default=Settings.points)
    parser.add_argument("--joint", type=int, default=Settings.joint)
    parser.add_argument("--joint-rows", type=int, default=Settings.joint_rows)
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--test", type=int, default=10_000, help="test images")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/repair"))
    options = parser.parse_args()
    keep_freed_memory()  # as the command line does
    torch.set_num_threads(options.threads)
    figures(options)


if __name__ == "__main__":
    main()

"""What the parts of a repair are worth, and what did not help: divergence from the original on images held out.

    python benchmarks/accuracy/repair_variants.py --model resnet20 --weights DIR --data-root DIR
    python benchmarks/accuracy/repair_variants.py --model resnet56 --variants "as it is" "2 rounds" ...

CIFAR-10, widths allocated. Calibration images come from the training split, what is measured from the 5,000 validation
images; the original network has learned both, so the divergence of the outputs (KL) says more than the labels do. Test
images are not looked at. Cells are kept in `--out` as they come.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import torch
from cells import Cell, Cells, Clock, about_this_run, weights_of
from torch import Tensor, nn
from torch.nn import functional

from reconv.cost import measure_latency, total_macs
from reconv.data import calibration_images, load_data
from reconv.graph import trace
from reconv.plan import Budget, choose
from reconv.plan import choose as choose_measured
from reconv.provenance import provenance_of
from reconv.refit import Settings, error_curves, gather_moments, repair
from reconv.surgery import prune
from reconv.training import load_protocol, train
from reconv.zoo import load_model

BATCH = 16  # of the latency that widths are chosen for


@dataclass(frozen=True)
class Variant:
    """One way to cut and repair.

    Args:
        images: to calibrate on. settings: of the repair.
        coupled: residual streams are cut as well.
        rounds: of statistics, cut and repair, each with the same share of what is left.
        for_latency: widths with the least predicted error for the time that the widths chosen by MACs take.
        learning_rate: of one epoch of the protocol `short`, with the original as the teacher; None: no training.
    """

    images: int = 1000
    settings: Settings = field(default_factory=Settings)
    coupled: bool = False
    rounds: int = 1
    for_latency: bool = False
    learning_rate: float | None = None


ALONE = Settings(joint=0)
VARIANTS = {
    "as it is": Variant(),
    # The joint iterations.
    "least squares alone": Variant(settings=ALONE),
    "3 joint iterations": Variant(settings=Settings(joint=3)),
    "12 joint iterations": Variant(settings=Settings(joint=12)),
    "30 joint iterations": Variant(settings=Settings(joint=30)),
    "joint iterations on 32,000 positions": Variant(settings=Settings(joint_rows=32_000)),
    # Least squares.
    "alone, 8 gate passes": Variant(settings=replace(ALONE, gate_passes=8)),
    "alone, 32 positions an image": Variant(settings=replace(ALONE, points=32)),
    "alone, ridge 1e-3": Variant(settings=replace(ALONE, ridge=1e-3)),
    # More images.
    "1,500 images, 11 positions": Variant(1500, Settings(points=11)),
    "2,000 images, 8 positions": Variant(2000, Settings(points=8)),
    "2,000 images, 8 positions, 4 joint iterations": Variant(2000, Settings(points=8, joint=4)),
    "2,000 images": Variant(2000),
    "2,000 images, 128,000 joint positions": Variant(2000, Settings(joint_rows=128_000)),
    # Other cuts.
    "residual streams too": Variant(coupled=True),
    "2 rounds": Variant(rounds=2),
    "widths for latency": Variant(for_latency=True),
    # What an epoch makes of it.
    "1 epoch at 0.01": Variant(learning_rate=0.01),
    "1 epoch at 0.003": Variant(learning_rate=0.003),
}


class Bench:
    """A network, its data, and what its answers to the images held out are."""

    def __init__(self, options: argparse.Namespace):
        self.model = load_model(options.model, weights=weights_of(options.model, options.weights)).eval()
        data = load_data("cifar10", options.data_root)
        self.data = data.with_normalization(provenance_of(self.model).normalization)
        held = replace(self.data, train=self.data.validation)
        self.held = calibration_images(held, len(self.data.validation), seed=0)
        self.wanted = self.log_probabilities(self.model)

    @torch.no_grad()
    def log_probabilities(self, model: nn.Module) -> Tensor:
        return torch.cat([model.eval()(part).log_softmax(1) for part in self.held.split(250)])

    def measured(self, variant: Variant, keep: float, seed: int) -> Cell:
        """One cut and repair, and how far its answers are from the original's."""
        clock = Clock()
        small, left, about = self.made(variant, keep, seed)
        cpu, _ = clock.read()
        given = self.log_probabilities(small)
        divergence = functional.kl_div(given, self.wanted, log_target=True, reduction="batchmean")
        same = (given.argmax(1) == self.wanted.argmax(1)).double().mean()
        return {
            "answers as the original, %": round(100 * same.item(), 2),
            "KL": round(divergence.item(), 5),
            "MACs removed, %": round(100 * (1 - left), 2),
            "cpu s": round(cpu, 1),
            **about,
        }

    def made(self, variant: Variant, keep: float, seed: int) -> tuple[nn.Module, float, Cell]:
        """The network, the share of the MACs that it has left, and what else is to be said."""
        images = calibration_images(self.data, variant.images, seed=seed)
        settings = replace(variant.settings, seed=seed)
        small, about, whole = self.model, {}, 0
        for turn in range(variant.rounds):
            graph = trace(small, images[:BATCH] if variant.for_latency else images[:1])
            whole = whole or total_macs(graph)
            curves = error_curves(graph, gather_moments(graph, images, settings), coupled=variant.coupled)
            share = keep ** ((turn + 1) / variant.rounds) * whole / total_macs(graph)
            plan = choose(graph, curves, Budget(macs=share), coupled=variant.coupled)
            if variant.for_latency:
                both = measure_latency([small, prune(small, plan)], images[:BATCH], runs=41)
                plan = choose_measured(graph, curves, Budget(latency=both[1].median / both[0].median))
                both += measure_latency([small, prune(small, plan)], images[:BATCH], runs=41)
                times = [round(both[i + 1].median / both[i].median, 3) for i in (0, 2)]
                about = {"latency by MACs, by latency": times}
            small = repair(prune(small, plan), plan=plan, reference=small, images=images, settings=settings)
        if variant.learning_rate is not None:
            protocol = replace(load_protocol("short"), epochs=1, learning_rate=variant.learning_rate)
            small = train(small, self.data, protocol, seed=seed, teacher=self.model).model
        return small, plan.macs[1] / whole, about


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resnet20", help="resnet20 or resnet56")
    parser.add_argument("--weights", type=Path, required=True, help="folder of (cifar10-)MODEL.safetensors")
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--keep", type=float, nargs="*", default=[0.5], help="shares of the MACs")
    parser.add_argument("--variants", nargs="*", default=list(VARIANTS), choices=VARIANTS)
    parser.add_argument("--draws", type=int, default=2, help="of the calibration images")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/repair"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    bench = Bench(options)
    cells = Cells(options.out / f"variants-{options.model}.json", about_this_run(options.threads), {})
    print("\n| variant | MACs removed, % | KL from the original | answers as the original, % | s of the processor |")
    print("|---" * 5 + "|")
    for keep in options.keep:
        for name in options.variants:
            draws = range(options.draws)
            rows = [
                cells.get(f"{name}, {keep:g}, draw {s}", partial(bench.measured, VARIANTS[name], keep, s))
                for s in draws
            ]
            divergences = ", ".join(f"{row['KL']:.4f}" for row in rows)
            same = statistics.mean(row["answers as the original, %"] for row in rows)
            seconds = statistics.mean(row["cpu s"] for row in rows)
            print(
                f"| {name} | {rows[0]['MACs removed, %']:.1f} | {divergences} | {same:.2f} | {seconds:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()

"""Networks of torchvision with random weights, as cut and repaired: error of the logits on held-out images.

    python benchmarks/accuracy/repair_networks.py --data-root DIR [--networks resnet18 mobilenet_v2 ...]

CIFAR-10's training images at 64 x 64; BatchNorm statistics are taken from them, so that signals have the size they have
in a trained network; uniform L2. The error is the root mean square difference of the logits from the original
network's, as a share of their variation, on images that the repair has not seen.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from reconv.data import calibration_images, load_data
from reconv.graph import trace
from reconv.plan import Budget, choose
from reconv.refit import Settings, repair_with_report
from reconv.saliency import score
from reconv.surgery import prune
from reconv.training.batch_norm import recalibrate
from reconv.zoo import load_model

NETWORKS = ("resnet18", "resnet50", "mobilenet_v2", "regnet_y_400mf", "shufflenet_v2_x0_5", "vgg11", "squeezenet1_1")


@torch.no_grad()
def logits(model: nn.Module, images: Tensor) -> Tensor:
    return torch.cat([model(part) for part in images.split(50)]).double()


def error(model: nn.Module, wanted: Tensor, images: Tensor) -> float:
    """Root mean square difference from the wanted logits, as a share of their variation."""
    return float((logits(model, images) - wanted).norm() / (wanted - wanted.mean(0)).norm())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--networks", nargs="*", default=NETWORKS)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--keep", type=float, default=0.6)
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--joint", type=int, nargs="*", default=[Settings.joint])
    options = parser.parse_args()
    small = calibration_images(load_data("cifar10", options.data_root), options.images + 100)
    images = nn.functional.interpolate(small, (options.side, options.side), mode="bilinear")
    images, held = images[: options.images], images[options.images :]
    print("| network | as cut | recalibrated | repaired | layers solved, in pairs | left | s |\n" + "|---" * 7 + "|")
    for name in options.networks:
        torch.manual_seed(0)
        model = recalibrate(load_model(name, num_classes=10), images).eval()
        graph = trace(model, images[:1])
        plan = choose(graph, score(graph, "l2"), Budget(macs=options.keep))
        cut, wanted = prune(model, plan), logits(model, held)
        errors = [error(net, wanted, held) for net in (cut, recalibrate(cut, images))]
        for joint in options.joint:
            start = time.process_time()
            made, report = repair_with_report(
                cut, plan=plan, reference=model, images=images, settings=Settings(joint=joint, memory=1 << 30)
            )
            pairs = sum(row.jointly is not None for row in report.layers)
            print(
                f"| {name}, {joint} joint | {errors[0]:.3f} | {errors[1]:.3f} | {error(made, wanted, held):.3f} "
                f"| {len(report.layers)}, {pairs} | {', '.join(report.unrepaired) or 'none'} "
                f"| {time.process_time() - start:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()

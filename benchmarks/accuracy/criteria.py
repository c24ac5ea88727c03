"""Criteria against the paper's configurations, without fine-tuning: ResNet-56 on CIFAR-10's 10,000 test images.

    python benchmarks/accuracy/criteria.py --weights cifar10-resnet56.safetensors --data-root DIR [--json FILE]

Each criterion is cut to cfg1, cfg2 and cfg3; top-1 as cut, and after BatchNorm statistics are re-estimated on 2,000
training images. Random criteria and the choice of calibration images are drawn anew for every seed; what has several
seeds is shown as mean and standard deviation.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from pathlib import Path

import torch

import reconv
from reconv.data import calibration_images, load_data
from reconv.training.evaluate import evaluate, normalization_for
from reconv.training.recalibrate import recalibrate
from reconv.zoo import load_recipe

CRITERIA = ("spectral", "nuclear", "frobenius", "l1", "l2", "random")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resnet56")
    parser.add_argument("--weights", required=True)
    parser.add_argument("--data-root", required=True)
    parser.add_argument("--seeds", type=int, default=3, help="draws of the random criterion and of the images")
    parser.add_argument("--images", type=int, default=2000, help="training images for the BatchNorm statistics")
    parser.add_argument("--json", type=Path, help="write every figure here")
    options = parser.parse_args()

    started = time.perf_counter()
    data = load_data("cifar10", options.data_root)
    model = reconv.load_model(options.model, weights=options.weights).eval()
    graph = reconv.trace(model, torch.zeros(1, *data.input_size))
    calibration = [
        calibration_images(data, options.images, seed, normalization=normalization_for(model, data))
        for seed in range(options.seeds)
    ]
    base = 100 * evaluate(model, data).top1
    print(f"{options.model}, {platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, "
          f"Python {platform.python_version()}, torch {torch.__version__}, reconv {reconv.__version__}")  # fmt: skip
    print(f"{options.seeds} draws of images and of the random criterion; before: {base:.2f} %")
    rows = []
    for criterion in CRITERIA:
        draws = options.seeds if criterion == "random" else 1
        saliencies = [reconv.score(graph, criterion, seed=seed) for seed in range(draws)]
        for number in (1, 2, 3):
            widths = load_recipe(options.model, number).widths({x.name: x.out_channels for x in graph.layers})
            plans = [reconv.choose_widths(graph, saliency, widths) for saliency in saliencies]
            smalls = [reconv.prune(model, plan) for plan in plans]
            macs, params = plans[0].macs, plans[0].params
            row = {
                "criterion": criterion,
                "configuration": number,
                "macs": macs[1],
                "macs_removed": 100 * (1 - macs[1] / macs[0]),
                "params_removed": 100 * (1 - params[1] / params[0]),
                "as_cut": [100 * evaluate(small, data).top1 for small in smalls],
                "recalibrated": [
                    100 * evaluate(recalibrate(smalls[seed % draws], images), data).top1
                    for seed, images in enumerate(calibration)
                ],
            }
            rows.append(row)
            print(
                f"{criterion:10} cfg{number}  MACs -{row['macs_removed']:.1f} %  "
                f"parameters -{row['params_removed']:.1f} %  as cut {_spread(row['as_cut'])}  "
                f"recalibrated {_spread(row['recalibrated'])}",
                flush=True,
            )
    print(f"{time.perf_counter() - started:.0f} s")
    if options.json:
        options.json.write_text(json.dumps({"base": base, "rows": rows, "torch": torch.__version__}, indent=1) + "\n")


def _spread(values: list[float]) -> str:
    return f"{values[0]:.2f}" if len(values) == 1 else f"{statistics.mean(values):.2f}+-{statistics.stdev(values):.2f}"


if __name__ == "__main__":
    main()

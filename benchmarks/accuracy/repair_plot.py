"""Draw accuracy against the number of calibration images, from the results that `repair.py` keeps.

python benchmarks/accuracy/repair_plot.py --results benchmarks/results/repair --out docs/figures/repair_images.svg
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

import matplotlib.pyplot as plt


def accuracies(folder: Path, model: str, source: str, keep: str) -> dict[int, list[float]]:
    """Number of images -> accuracies of all draws."""
    found: dict[int, list[float]] = {}
    for file in sorted(folder.glob(f"figures-{model}-{source}-*.json")):
        images = int(re.fullmatch(rf"figures-{model}-{source}-(\d+)-\d+", file.stem)[1])  # type: ignore[index]
        cells = json.loads(file.read_text())["cells"]
        values = [cell["accuracy"] for name, cell in cells.items() if name.startswith(f"allocated {keep}, recons")]
        if values:
            found[images] = values
    return dict(sorted(found.items()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--model", default="resnet20")
    parser.add_argument("--keep", default="0.5")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    plt.rcParams["svg.hashsalt"] = "reconv"
    figure, axes = plt.subplots(figsize=(6, 3.4), layout="constrained")
    for source, marker in (("photographs", "o"), ("leaves", "s"), ("fashion", "^"), ("digits", "v"), ("noise", "x")):
        found = accuracies(options.results, options.model, source, options.keep)
        if found:
            means = [sum(values) / len(values) for values in found.values()]
            axes.plot(list(found), means, marker=marker, label=source)
    axes.set_xscale("log")
    axes.set_xlabel("calibration images, no labels")
    axes.set_ylabel("top-1 on 10,000 test images, %")
    axes.set_title(f"{options.model}, {1 - float(options.keep):.0%} of MACs removed, repaired")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(options.out, metadata={"Date": None})


if __name__ == "__main__":
    main()

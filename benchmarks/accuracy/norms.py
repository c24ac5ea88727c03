"""Worst relative error of the fast norms by class of layer, against the singular values of the explicit matrix.

    python benchmarks/accuracy/norms.py

Every geometry is tried with every kind of kernel, forward and backward. One table is the worst over kinds, the other
the worst over geometries; beside each error stands the largest that the library had estimated itself.
"""

from __future__ import annotations

import argparse
from collections import defaultdict

import torch
from torch import Tensor

from reconv.conv import NORMS, ConvGeometry, ConvMatrix, channel_norms
from reconv.conv.taps import Direction
from reconv.machine import processor

CHANNELS = 2  # of each kind

GEOMETRIES = {
    "3x3 on 32x32": ConvGeometry(32, 3, padding=1),
    "3x3 on 28x28": ConvGeometry(28, 3, padding=1),
    "3x3 on 14x14": ConvGeometry(14, 3, padding=1),
    "3x3 on 20x31": ConvGeometry((20, 31), 3, padding=1),
    "3x3 on 3x150": ConvGeometry((3, 150), 3, padding=1),
    "1x5 on 1x300": ConvGeometry((1, 300), (1, 5), padding=(0, 2)),
    "3x3, no padding": ConvGeometry(24, 3),
    "2x3, uneven padding": ConvGeometry((22, 21), (2, 3), padding=((1, 0), (1, 1))),
    "5x5": ConvGeometry(24, 5, padding=2),
    "7x7": ConvGeometry(24, 7, padding=3),
    "11x11": ConvGeometry(24, 11, padding=5),
    "1x1": ConvGeometry(24, 1),
    "3x3, stride 2": ConvGeometry(40, 3, stride=2, padding=1),
    "7x7, stride 2": ConvGeometry(40, 7, stride=2, padding=3),
    "5x4, stride 3": ConvGeometry(45, (5, 4), stride=3, padding=2),
    "11x11, stride 4": ConvGeometry(63, 11, stride=4, padding=2),
    "3x3, dilation 2": ConvGeometry(24, 3, padding=2, dilation=2),
    "3x3, dilation 3": ConvGeometry(26, 3, padding=3, dilation=3),
}


def kernels(kind: str, k: tuple[int, int]) -> Tensor:
    """Channels of one kind, [channels, stacked, k1, k2]."""
    generic = torch.randn(CHANNELS, 3, *k, dtype=torch.float64)
    one = generic[:, :1]
    separable = one[..., :1] * one[..., :1, :]
    return {
        "generic": generic,
        "depthwise": one,
        "rank one": separable.expand(-1, 2, -1, -1),
        "constant": torch.ones_like(one),
        "symmetric": one + one.flip(2, 3),
        "nearly a single kernel": 1e-4 * generic + separable,
        "1e-7 in size": 1e-7 * generic,
    }[kind]


KINDS = ("generic", "depthwise", "rank one", "constant", "symmetric", "nearly a single kernel", "1e-7 in size")


def errors(kind: str, geometry: ConvGeometry, direction: Direction) -> dict[str, tuple[float, float]]:
    """Norm -> worst error, and worst estimate of it."""
    weight = kernels(kind, geometry.kernel)
    found = channel_norms(weight, geometry, direction=direction)
    stacked = weight if direction == "forward" else weight.transpose(0, 1)
    sigma = torch.linalg.svdvals(ConvMatrix(stacked, geometry, direction).to_dense())
    truth = {"spectral": sigma[:, 0], "nuclear": sigma.sum(1), "frobenius": sigma.norm(dim=1)}
    return {
        norm: (float(((found[norm] - truth[norm]).abs() / truth[norm]).max()), float(found.errors[norm].max()))
        for norm in NORMS
    }


def table(title: str, rows: dict[str, dict[str, tuple[float, float]]]) -> None:
    print(f"| {title} | " + " | ".join(f"{norm}, estimate" for norm in NORMS) + " |")
    print("|---" * (1 + len(NORMS)) + "|")
    for name, row in rows.items():
        print(f"| {name} | " + " | ".join("{:.0e}, {:.0e}".format(*row[norm]) for norm in NORMS) + " |")
    print()


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    torch.manual_seed(0)
    worst: dict[str, dict[str, dict[str, tuple[float, float]]]] = defaultdict(lambda: defaultdict(dict))
    for place, geometry in GEOMETRIES.items():
        for kind in KINDS:
            for direction in ("forward", "backward"):
                for norm, pair in errors(kind, geometry, direction).items():
                    for title, row in (("geometry", place), ("kernels", kind), ("direction", direction)):
                        seen = worst[title][row].get(norm, (0.0, 0.0))
                        worst[title][row][norm] = (max(seen[0], pair[0]), max(seen[1], pair[1]))
    print(f"{processor()}, PyTorch {torch.__version__}, seed 0, {CHANNELS} channels each\n")
    for title, rows in worst.items():
        table(title, rows)


if __name__ == "__main__":
    main()

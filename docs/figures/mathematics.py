"""The two figures of docs/mathematics.md.

python docs/figures/mathematics.py
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import matplotlib
import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from torch import Tensor

from reconv.conv import ConvGeometry, ConvMatrix, cut, dense, nuclear, seam, taps
from reconv.conv.bands import Band, direct_sum

HERE = Path(__file__).parent
INK, BLUE, RED, GREEN, GREY = "#222222", "#2b6cb0", "#c53030", "#2f855a", "#8a8f98"


def figure_of_the_matrix() -> None:
    """A, G = A A', T and -E of one channel on a small map."""
    weight = torch.randn(1, 2, 3, 3, dtype=torch.float64)
    geometry = ConvGeometry(6, 3, padding=1)
    A = ConvMatrix(weight, geometry).to_dense()[0]
    G = ConvMatrix(weight, geometry).gram()[0]
    # T of the map: G of a larger one without its border.
    wide = ConvMatrix(weight, ConvGeometry(10, 3, padding=1)).gram()[0].reshape(10, 10, 10, 10)
    T = wide[2:8, 2:8, 2:8, 2:8].reshape(36, 36)
    figure, axes = plt.subplots(1, 4, figsize=(11, 3.1), width_ratios=[2, 1, 1, 1])
    panels = [
        (A, "A: 36 outputs x 2 channels of 36 inputs"),
        (G, "G = A A′"),
        (T, "T: Toeplitz, the interior's"),
        (G - T, "−E: what the zeros take away"),
    ]
    for axis, (matrix, title) in zip(axes, panels):
        reach = float(matrix.abs().max())
        axis.imshow(matrix, cmap="RdBu_r", vmin=-reach, vmax=reach, interpolation="nearest")
        axis.set_title(title, fontsize=9, color=INK)
        axis.set(xticks=[], yticks=[])
    figure.tight_layout()
    save(figure, "matrix.svg")


def seconds(work: Callable[[], Tensor], channels: int) -> tuple[Tensor, float]:
    """What it finds, and the median of three times per channel, in CPU seconds of this thread."""
    spent = []
    for _ in range(3):
        begin = time.thread_time()
        found = work()
        spent.append(time.thread_time() - begin)
    return found, statistics.median(spent) / channels


def panel(axis: Axes, weight: Tensor, title: str, legend: str) -> None:
    """Error against time of every algorithm for the nuclear norm of channels on a 32 x 32 map."""
    band: Band = next(iter(direct_sum(ConvGeometry(32, 3, padding=1).axes[0], "forward")))
    bands, count = (band, band), len(weight)
    split = taps.split_axes(taps.tap_gram(weight), (3, 3))
    read = taps.reads(band.axis, "forward", split.device)
    truth, slow = seconds(lambda: dense.singular_values(split, read, read).sum(1), count)

    def error(found: Tensor) -> float:
        return max(float(((found - truth).abs() / truth).median()), 1e-15)

    points = [
        seconds(lambda rung=rung: nuclear.contributions(split, bands, rung).sum(0), count) for rung in nuclear.LADDER
    ]
    axis.plot([t for _, t in points], [error(x) for x, _ in points], "o-", color=BLUE, label="pieces, rung by rung")
    found, spent = seconds(lambda: seam.nuclear_norm(split, bands), count)
    axis.plot(spent, error(found), "s", color=GREEN, label="seam of the torus")
    if weight.shape[1] == 1:
        found, spent = seconds(lambda: cut.nuclear_norm(split, bands), count)
        axis.plot(spent, error(found), "D", color=RED, label="cut torus")
    found, spent = seconds(lambda: torch.fft.fft2(weight, s=(32, 32)).abs().square().sum(1).sqrt().sum((1, 2)), count)
    axis.plot(spent, error(found), "x", color=GREY, label="circular padding (FFT)")
    axis.plot(slow, 1e-15, "^", color=INK, label="dense eigenvalues of G")
    axis.axhline(1e-5, color=GREY, linewidth=0.8, linestyle=":")
    axis.set(xscale="log", yscale="log", xlabel="seconds a channel", title=title, ylim=(3e-16, 1))
    axis.grid(alpha=0.25)
    axis.legend(fontsize=8, frameon=False, loc=legend)


def figure_of_error_against_time() -> None:
    """For a generic channel, and for a depthwise one."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), sharey=True)
    panel(axes[0], torch.randn(8, 16, 3, 3, dtype=torch.float64), "16 input channels", "upper right")
    panel(axes[1], torch.randn(8, 1, 3, 3, dtype=torch.float64), "1 input channel (depthwise)", "lower left")
    axes[0].set_ylabel("relative error of the nuclear norm, median")
    figure.tight_layout()
    save(figure, "error_against_time.svg")


def save(figure: plt.Figure, name: str) -> None:
    figure.savefig(HERE / name, metadata={"Date": None})
    plt.close(figure)
    print(HERE / name)


if __name__ == "__main__":
    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "reconv"
    torch.manual_seed(0)
    torch.set_num_threads(1)
    figure_of_the_matrix()
    figure_of_error_against_time()

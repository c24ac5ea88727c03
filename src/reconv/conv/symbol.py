"""The symbol of a channel: what `G = A A^T` is far from every border.

There G repeats cell by cell, so the Fourier transform along both axes makes it block diagonal: at frequency
(w1, w2) a Hermitian block of one row per position of a cell. Forward a cell is one position and the block a
number,

    f(w1, w2) = sum_i |K_i^(w1, w2)|^2       (K_i^ the Fourier transform of the kernel of input channel i).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from reconv.conv.bands import Band
from reconv.conv.shapes import Float64


def half_circle(count: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Frequencies 2 pi j / count for j <= count/2, and the weights of their mean over the whole circle.

    G is real, so the frequencies w and -w have the same eigenvalues: those strictly inside count twice.
    """
    index = torch.arange(count // 2 + 1, device=device)
    inside = (index > 0) & (2 * index < count)
    weight = (1 + inside.to(torch.float64)) / count
    return 2 * math.pi / count * index.to(torch.float64), weight


def whole_circle(count: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Frequencies 2 pi j / count for all j, and the weights of their mean."""
    index = torch.arange(count, device=device, dtype=torch.float64)
    return 2 * math.pi / count * index, torch.full_like(index, 1 / count)


def autocorrelation(
    split: Float64[Tensor, "channels pairs1 pairs2"], band1: Band, band2: Band
) -> Float64[Tensor, "channels lags1 lags2"]:
    """`R[l1, l2]`: the entry of G between rows at this distance, where a cell is one row (forward)."""
    lag1, lag2 = (band.lag_meetings(split.device)[:, :, 0, 0] for band in (band1, band2))
    return lag1.T @ split @ lag2


def symbol(
    correlation: Float64[Tensor, "channels lags1 lags2"], grid: tuple[int, int]
) -> Float64[Tensor, "channels grid1 half2"]:
    """`f(w) = sum_l R[l] e^(iwl)` on a grid: the whole circle of axis 1, the half circle of axis 2."""
    (cos1, sin1), (cos2, sin2) = (
        _waves(lags, count, correlation.device) for lags, count in zip(correlation.shape[1:], grid)
    )
    half = grid[1] // 2 + 1
    # R is even, so of e^(i(w1 l1 + w2 l2)) only the real part remains.
    even = cos1 @ (correlation @ cos2[:half].T)
    return even.sub_(sin1 @ (correlation @ sin2[:half].T))


def _waves(lags: int, count: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """cos(w l) and sin(w l), [count, lags], for lags around zero."""
    lag = torch.arange(lags, device=device, dtype=torch.float64) - lags // 2
    frequency = 2 * math.pi / count * torch.arange(count, device=device, dtype=torch.float64)
    angle = frequency[:, None] * lag
    return angle.cos(), angle.sin()

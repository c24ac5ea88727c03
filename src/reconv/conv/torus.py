"""What both exact algorithms share: an integral over log-determinants, compared with those of a torus.

For x >= 0, `sqrt(x) = 1/(2 pi) int log(1 + x e^-s) e^(s/2) ds`, so that with t = e^s

    nuc = trace sqrt(G) = 1/(2 pi) int [logdet(G + t) - n s] e^(s/2) ds,     G of n rows

On a torus Fourier makes the same convolution diagonal, and `sum sqrt(f)` over its V frequencies needs no
integral. So only the difference is integrated, `logdet(G + t) - sum log(f + t)`, which `seam` and `cut` know
how to find; and of that three point masses take away the bulk, chosen such that the number of eigenvalues,
their sum and the sum of their squares come out right. The rest falls off at both ends, and the trapezoid rule
converges geometrically.

The two sums, tr G and tr G^2, grow by exactly the same amount with every further row: they are read off small
maps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from reconv.conv import taps
from reconv.conv.bands import Band
from reconv.conv.shapes import Float64
from reconv.conv.symbol import half_circle

ACCURACY = 1e-6  # relative error of the quadrature
STEP, LOWEST, HIGHEST = 1.3, -21.0, 6.0  # of s = log t, where the largest f is 1
POINTS = (1.0, 0.4, 0.05)  # eigenvalues at which the three point masses lie

Split = Float64[Tensor, "channels pairs1 pairs2"]
Values = Float64[Tensor, "channels"]


def shifts(device: torch.device) -> Float64[Tensor, "shifts"]:
    """The nodes s of the trapezoid rule."""
    return torch.arange(LOWEST, HIGHEST, STEP, dtype=torch.float64, device=device)


@dataclass(frozen=True, eq=False)
class Reference:
    """A spectrum near G's whose nuclear norm is known: the torus', and three point masses.

    Attributes:
        root: its `trace sqrt`, [channels].
        mass: of the points, [channels, 3].
        surplus: rows of the torus that are not of the map.
    """

    root: Values
    mass: Float64[Tensor, "channels 3"]
    surplus: int

    @classmethod
    def of(cls, split: Split, bands: tuple[Band, Band], torus: tuple[int, int], spectrum: Tensor) -> Reference:
        """From the symbol on the torus' frequencies, the half circle of axis 2; scaled to a maximum of one."""
        _, weight = half_circle(torus[1], split.device)
        weight = weight * torus[1]
        surplus = math.prod(torus) - bands[0].rows * bands[1].rows
        trace, square = _traces(split, bands)
        missing = [
            torch.full_like(trace, -surplus),
            trace - (spectrum * weight).sum((1, 2)),
            square - (spectrum.square() * weight).sum((1, 2)),
        ]
        point = torch.tensor(POINTS, dtype=torch.float64, device=split.device)
        powers = torch.stack([point**power for power in range(3)])
        mass = torch.linalg.solve(powers, torch.stack(missing)).T
        return cls((spectrum.sqrt() * weight).sum((1, 2)) + mass @ point.sqrt(), mass, surplus)

    def trace_root(self, excess: Float64[Tensor, "channels shifts"]) -> Values:
        """trace sqrt(G) from `logdet(G + t) - sum log(f + t)` at the nodes."""
        node = shifts(excess.device)
        point = torch.tensor(POINTS, dtype=torch.float64, device=excess.device)
        integrand = excess + self.surplus * node - self.mass @ torch.log1p(point[:, None] / node.exp())
        # Below the lowest node the rest is linear in s, by the number of singular values columns: a geometric
        # series.
        ratio = math.exp(-STEP / 2)
        slope = integrand[:, 0] - integrand[:, 1]
        tail = (integrand[:, 0] + slope / (1 - ratio)) * math.exp(LOWEST / 2) * ratio / (1 - ratio)
        return self.root + STEP / (2 * math.pi) * (integrand @ (node / 2).exp() + tail)


def _traces(split: Split, bands: tuple[Band, Band]) -> tuple[Values, Values]:
    """tr G and tr G^2: bilinear in the rows of either axis, once the borders are apart."""
    sizes = [band.at_least(sum(band.border) + 2 * band.degree + 1) for band in bands]
    rest1, rest2 = (band.rows - size for band, size in zip(bands, sizes))
    total = [torch.zeros_like(split[:, 0, 0]) for _ in range(2)]
    for step1 in range(2 if rest1 else 1):
        for step2 in range(2 if rest2 else 1):
            meet1, meet2 = (
                band.resized(size + step).meetings(split.device)
                for band, size, step in zip(bands, sizes, (step1, step2))
            )
            gram = taps.dense_gram(split, meet1, meet2)
            share = (rest1 if step1 else 1 - rest1) * (rest2 if step2 else 1 - rest2)
            total[0] = total[0] + share * gram.diagonal(dim1=1, dim2=2).sum(1)
            total[1] = total[1] + share * gram.square().sum((1, 2))
    return total[0], total[1]


def circulant_block(
    function: Float64[Tensor, "channels shifts torus1 torus2"], rows: Tensor, columns: Tensor
) -> Float64[Tensor, "channels shifts rows columns"]:
    """A block of a circulant matrix: a function on the torus, at the differences of positions [., 2]."""
    size = function.shape[2:]
    difference = (rows[:, None] - columns) % torch.tensor(size, device=rows.device)
    return function.flatten(2)[:, :, difference[..., 0] * size[1] + difference[..., 1]]


def cut_positions(torus: tuple[int, int], rows: tuple[int, int], device: torch.device) -> Tensor:
    """The positions of a torus that are not of the map, [cut, 2]."""
    grid = torch.cartesian_prod(*(torch.arange(size, device=device) for size in torus)).reshape(-1, 2)
    return grid[(grid >= torch.tensor(rows, device=device)).any(1)]


def log_det(factor: Float64[Tensor, "channels shifts rows rows"]) -> Float64[Tensor, "channels shifts"]:
    """Of the matrix whose Cholesky factor this is."""
    return 2 * factor.diagonal(dim1=2, dim2=3).log().sum(2)

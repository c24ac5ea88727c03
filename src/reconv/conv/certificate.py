"""A proof for sigma_1: an upper bound that does not depend on the iteration.

*Cheap.* Zero padding is a restriction of the endless map, so sigma_1^2 is at most the maximum of the symbol f.
A grid may miss that maximum, but not by much: a trigonometric polynomial of degree D is at most its largest
value on m > 2 D equally spaced points, divided by cos(pi D / m); once for each axis. The bound is a few tenths
of a percent above sigma_1 on a map of 32 x 32 rows, and falls to it like 1/N^2.

*Sharp.* `b > sigma_1^2` if and only if `b - G` is positive definite, that is, if its Cholesky factorization
runs through. G is block tridiagonal in blocks of D rows of the map, and so is the factorization:

    S_1 = b - G_11,      S_i = b - G_ii - G_i,i-1 S_(i-1)^-1 G_i-1,i

With b = (1 + eps)^2 times the squared Rayleigh quotient, which is below sigma_1, that brackets it to eps. (In
floating point "runs through" is a proof up to rounding, ~1e-13 of b; eps is far above.)
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from reconv.conv.bands import Band
from reconv.conv.nuclear import endless_side, frequency_blocks
from reconv.conv.shapes import Bool, Float64

OVERSAMPLING = 16  # points of the grid per degree of the symbol

Split = Float64[Tensor, "channels pairs1 pairs2"]
Values = Float64[Tensor, "channels"]


def symbol_bound(split: Split, bands: tuple[Band, Band]) -> Values:
    """An upper bound of sigma_1 squared, from the symbol on a grid."""
    degrees = [band.lag_meetings(split.device).shape[1] // 2 for band in bands]
    counts = [OVERSAMPLING * max(1, degree) for degree in degrees]
    sides = (endless_side(band, count, split.device, half=i == 1) for i, (band, count) in enumerate(zip(bands, counts)))
    highest = torch.linalg.eigvalsh(frequency_blocks(split, *sides))[..., -1].amax(1)
    missed = math.prod(math.cos(math.pi * degree / count) for degree, count in zip(degrees, counts))
    return torch.div(highest, missed)


def work(bands: tuple[Band, Band]) -> float:
    """Multiplications of the sharp proof of one channel, about."""
    short, long = sorted(bands, key=lambda band: band.rows)
    return float(long.rows * max(1, long.degree) ** 2 * short.rows**3)


def is_above(split: Split, bands: tuple[Band, Band], bound: Values) -> Bool[Tensor, "channels"]:
    """Whether `bound` is proven to be above sigma_1 squared, for every channel.

    Cost: `work` per channel; the factorization runs along the longer axis.
    """
    if bands[0].rows < bands[1].rows:
        return is_above(split.mT, bands[::-1], bound)
    proven, schur, off = torch.ones_like(bound, dtype=torch.bool), None, None
    for diagonal, next_off in _blocks(split, bands):
        block = bound[:, None, None] * torch.eye(diagonal.shape[1], dtype=bound.dtype, device=bound.device) - diagonal
        if schur is not None and off is not None:
            half = torch.linalg.solve_triangular(schur, off, upper=False)
            block = block - half.mT @ half
        schur, info = torch.linalg.cholesky_ex(block)
        proven &= info == 0
        # A failed factor is of no use to the rows below: let them go on with an empty one.
        schur = torch.where(
            proven[:, None, None], schur, torch.eye(block.shape[1], dtype=bound.dtype, device=bound.device)
        )
        off = next_off
    return proven


def _blocks(split: Split, bands: tuple[Band, Band]) -> Iterator[tuple[Tensor, Tensor]]:
    """Diagonal blocks of G by `degree` rows of the map, each with the one to its right."""
    first, second = bands
    step = max(1, first.degree)
    meet1, right = first.meetings(split.device), split @ second.meetings(split.device).flatten(1)

    def block(at: slice, to: slice) -> Tensor:
        chosen = meet1[:, at, to]
        rows, columns, n2 = chosen.shape[1], chosen.shape[2], second.rows
        product = (chosen.flatten(1).T @ right).reshape(len(split), rows, columns, n2, n2)
        return product.transpose(2, 3).reshape(len(split), rows * n2, columns * n2)

    for begin in range(0, first.rows, step):
        rows, below = slice(begin, begin + step), slice(begin + step, begin + 2 * step)
        yield block(rows, rows), block(rows, below)

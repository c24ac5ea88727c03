"""The spectral norm: the largest eigenvalue of G, by a filtered block of vectors.

*The start.* `waves` gives a block of four vectors that already separates the nearly equal eigenvalues at the
top, and an estimate b of the eigenvalue behind it. A little noise is added: where the waves miss the
leading eigenvector, the filter makes it grow from there.

*The filter.* Chebyshev's polynomial of degree m on [0, b] is at most one there and grows like cosh(m
arccosh(2x/b - 1)) above: m products with the stencil suppress what lies behind the block by that factor.

*Rayleigh-Ritz.* The eigenproblem of the block, 4 x 4, gives the value theta, never above the largest
eigenvalue, and the residual r = |G x - theta x|. Some eigenvalue is within r of theta; within r^2 / (theta -
b), if none but the block's own lies above b. Where that is too much, filter again, to the degree that it takes.

The subspace is computed in float32 (on a GPU in float64: there float32 may silently be TF32). The value is a
Rayleigh quotient with G in two floats, `G = high + low`, and a sum in float64: the rounding of the coefficients
is compensated, that of the products is random and averages out, and an error of the vector enters squared.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from reconv.conv.bands import Band
from reconv.conv.factored import Factored
from reconv.conv.shapes import Float, Float64
from reconv.conv.stencil import Maps, Stencil
from reconv.conv.waves import leading_waves

BLOCK = 4  # vectors
TOL = 1e-7  # relative error of the eigenvalue
ROUNDS = 20  # of filter and Rayleigh-Ritz, at most
NOISE = 1e-2  # in the start; then any two vectors of the block are distinct in float32
DEGREES = (8, 90)  # least and most of the filter's polynomial
GROWTH = 30.0  # the filter may grow to e^30: squares stay within float32

Split = Float64[Tensor, "channels pairs1 pairs2"]
Values = Float64[Tensor, "channels"]
Flat = Float[Tensor, "channels vectors rows"]
Operator = Stencil | Factored


def largest_eigenvalue(
    split: Split, bands: tuple[Band, Band], tol: float = TOL, rounds: int = ROUNDS
) -> tuple[Values, Values]:
    """The largest eigenvalue of G = A A^T of every channel, sigma_1 squared, and its estimated relative
    error.

    Args:
        split: tap Gram with the axes apart, of order one.
        bands: the axes.
        tol: estimated relative error of the eigenvalue at which a channel is done.
        rounds: of filter and Rayleigh-Ritz, at most; what is not done then has an error above `tol`.
    """
    simple = bands[0].period == bands[1].period == 1
    exact: Operator = Stencil.of(split, bands) if simple else Factored.of(split, bands)
    dtype = torch.float32 if split.device.type == "cpu" else torch.float64
    fast = exact.change(lambda table: table.to(dtype))
    block, behind = leading_waves(split, bands, BLOCK)
    size = (bands[0].rows, bands[1].rows)
    ritz = Ritz.of(_with_noise(block).to(dtype), fast, size)
    leading, errors = ritz.vectors[:, -1].clone(), ritz.error(behind)
    todo = torch.nonzero(errors > tol)[:, 0]
    ritz = ritz.select(todo)
    for _ in range(rounds):
        if not len(todo):
            break
        operator = fast.change(partial(torch.index_select, dim=0, index=todo))
        behind_, wanted = behind[todo], (errors[todo] / tol).sqrt()
        ritz = Ritz.of(chebyshev_filter(operator, ritz, behind_, wanted, size), operator, size)
        behind[todo] = behind_.maximum(ritz.values[:, 0])
        leading[todo], errors[todo] = ritz.vectors[:, -1], ritz.error(behind[todo])
        again = torch.nonzero(errors[todo] > tol)[:, 0]
        todo, ritz = todo[again], ritz.select(again)
    return rayleigh(exact, leading, size), errors


def _with_noise(block: Float64[Tensor, "channels vectors rows"]) -> Float64[Tensor, "channels vectors rows"]:
    """Vectors of length one with the same noise in every channel, of length `NOISE`."""
    noise = torch.randn(block.shape[1:], dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.normalize(block + NOISE * torch.nn.functional.normalize(noise, dim=1).to(block), dim=2)


@dataclass(frozen=True, eq=False)
class Ritz:
    """The best approximation of the leading eigenvectors within a block.

    Attributes:
        values: Ritz values, ascending, [channels, vectors].
        vectors: Ritz vectors, [channels, vectors, rows].
        residual: |G x - theta x| of the last, [channels].
    """

    values: Float64[Tensor, "channels vectors"]
    vectors: Flat
    residual: Values

    @classmethod
    def of(cls, block: Flat, operator: Operator, size: tuple[int, int]) -> Ritz:
        """Rayleigh-Ritz, for a block whose vectors have length one and may be linearly dependent."""
        product = _to_flat(operator @ _to_maps(block, size))
        overlap, projected = ((block @ other.mT).to(torch.float64) for other in (block, product))
        spread, basis = torch.linalg.eigh(overlap)
        basis = basis * (spread.clamp_min(1e-30).rsqrt() * (spread > 1e-5))[:, None]
        values, rotation = torch.linalg.eigh(basis.mT @ ((projected + projected.mT) / 2) @ basis)
        turn = (basis @ rotation).mT.to(block.dtype)
        vectors = turn @ block
        residual = (turn[:, -1:] @ product)[:, 0] - values[:, -1:].to(block.dtype) * vectors[:, -1]
        return cls(values, vectors, residual.norm(dim=1).to(torch.float64))

    def error(self, behind: Values) -> Values:
        """Estimated relative error of the last value, where all but the block's are below `behind`."""
        top = self.values[:, -1].clamp_min(1e-290)
        gap = (top - behind.maximum(self.values[:, 0])).clamp_min(1e-5 * top)
        return self.residual.minimum(self.residual.square() / gap) / top

    def select(self, index: Tensor) -> Ritz:
        """The same of a few channels."""
        return Ritz(self.values[index], self.vectors[index], self.residual[index])


def chebyshev_filter(operator: Operator, ritz: Ritz, behind: Values, wanted: Values, size: tuple[int, int]) -> Flat:
    """Chebyshev's polynomial of G on [0, behind] applied to the Ritz vectors, normalized.

    Args:
        operator: G in the precision of the block.
        ritz: of the same channels.
        behind: where the eigenvalues to be suppressed end.
        wanted: by which factor; one degree serves all channels, that of their 0.8 quantile.
    """
    top = ritz.values[:, -1].clamp_min(1e-30)
    bound = behind.clamp_min(0.7 * top).minimum(0.9998 * top)
    rate = torch.acosh(2 * top / bound - 1)
    degree = int(((20 * wanted).log() / rate).quantile(0.8)) + 1
    degree = max(2, min(max(degree, DEGREES[0]), DEGREES[1], int(GROWTH / float(rate.max()))))
    block = _to_maps(ritz.vectors, size)
    twice = operator.affine((4 / bound).to(block.dtype), -2.0)
    before, now = block, (twice @ block) / 2
    for _ in range(degree - 1):
        before, now = now, (twice @ now).sub_(before)
    return torch.nn.functional.normalize(_to_flat(now), dim=2, eps=1e-30)


def rayleigh(operator: Operator, vector: Float[Tensor, "channels rows"], size: tuple[int, int]) -> Values:
    """`x' G x / x' x` of one vector per channel, in float64 but for the products."""
    high = operator.change(lambda table: table.to(vector.dtype))
    low = operator.change(lambda table: (table - table.to(vector.dtype)).to(vector.dtype))
    maps = _to_maps(vector[:, None], size)
    product = (high @ maps).to(torch.float64) + low @ maps
    exact = maps.to(torch.float64)
    return (exact * product).sum((0, 1, 2)) / exact.square().sum((0, 1, 2)).clamp_min(1e-290)


def _to_maps(flat: Flat, size: tuple[int, int]) -> Maps:
    """[channels, vectors, rows] -> [vectors, rows1, rows2, channels]."""
    return flat.flatten(1).T.contiguous().reshape(flat.shape[1], *size, len(flat))


def _to_flat(maps: Maps) -> Flat:
    """[vectors, rows1, rows2, channels] -> [channels, vectors, rows]."""
    return maps.flatten(0, 2).T.contiguous().reshape(maps.shape[3], maps.shape[0], -1)

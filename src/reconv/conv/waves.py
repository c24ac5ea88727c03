"""Where the leading eigenvectors of G are: waves at the peaks of the symbol, under slowly varying envelopes.

On an endless map the eigenvectors of `G = A A^T` are waves and its eigenvalues the symbol. A map of N rows lets
a wave begin and end: the eigenvectors that lead are waves near a peak of the symbol times a half sine, a whole
sine, ... over the map, and their eigenvalues lie 1/N^2 apart. So for each of the highest peaks we project G
onto

    sin(pi j y / (N+1)) cos(w y),   sin(pi j y / (N+1)) sin(w y),   j = 1, 2, 3

on one axis, times the same on the other, borders and all. The projection is exact, and as G is a sum of
products of axes, it is one as well: a table per axis and frequency, made once for all channels, and a small
product per channel, whatever the size of the map. Its leading eigenvectors are where the iteration starts, and
the eigenvalue after those tells it what it must suppress.

Where a cell has several rows (backward, strided) a frequency of the cells belongs to several of the rows, its
aliases; the waves are those of all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from reconv.conv import taps
from reconv.conv.bands import Band
from reconv.conv.nuclear import endless_side, frequency_blocks
from reconv.conv.shapes import Float64, Int64
from reconv.conv.symbol import autocorrelation, half_circle, symbol

MODES = 3  # envelopes per axis

Split = Float64[Tensor, "channels pairs1 pairs2"]
Peak = tuple[Int64[Tensor, "channels"], Int64[Tensor, "channels"]]


def leading_waves(
    split: Split, bands: tuple[Band, Band], count: int
) -> tuple[Float64[Tensor, "channels vectors rows"], Float64[Tensor, "channels"]]:
    """The `count` vectors that lead in the projections, and the eigenvalue that comes after these."""
    grid = (_grid(bands[0]), _grid(bands[1]))
    height = _heights(split, bands, grid)
    waves1, waves2 = (Waves.of(band, size, split.device) for band, size in zip(bands, grid))
    values, vectors = [], []
    for _ in range(_peaks(bands)):
        peak = _highest(height)
        # G is real: a frequency and its negative have the same waves.
        at1, at2 = (index.minimum(size - index) for index, size in zip(peak, grid))
        pairs = _eigenpairs(split, waves1.at(at1), waves2.at(at2), count + 1)
        values.append(pairs[0])
        vectors.append(pairs[1])
        height = _without(height, peak, grid, bands)
    best = torch.cat(values, 1).topk(count + 1, 1)
    chosen = torch.cat(vectors, 1).take_along_dim(best.indices[:, :count, None], 1)
    return chosen, best.values[:, count]


def _peaks(bands: tuple[Band, Band]) -> int:
    """The number of peaks of the symbol to try: twice as many as usually suffice.

    A larger kernel's symbol has more of them, and the border decides which leads: with two, one random 11x11 kernel in
    a hundred on a 24x24 map is one to three percent off. On an axis of a few rows the border is everything.
    """
    short = min(band.rows for band in bands)
    return 2 + max(band.degree // band.period for band in bands) // 2 + (short if any(map(_is_spanned, bands)) else 0)


def _is_spanned(band: Band) -> bool:
    """Whether an axis is so short that the waves of any one frequency span it."""
    return band.rows <= 2 * MODES * band.period


def _grid(band: Band) -> int:
    """Enough frequencies to separate the waves that the envelopes do not."""
    return max(24, 2 * (band.rows // band.period // 2))


def _heights(split: Split, bands: tuple[Band, Band], grid: tuple[int, int]) -> Float64[Tensor, "channels grid1 half2"]:
    """The Rayleigh quotient of a wave of each frequency: the symbol, lowered at its peaks by the envelope."""
    if bands[0].period == bands[1].period == 1:
        correlation = autocorrelation(split, *bands)
        damping = [_damping(band.rows, lags, split.device) for band, lags in zip(bands, correlation.shape[1:])]
        return symbol(correlation * torch.outer(*damping), grid)
    sides = (endless_side(band, size, split.device, half=i == 1) for i, (band, size) in enumerate(zip(bands, grid)))
    blocks = frequency_blocks(split, *sides)
    highest: Tensor = torch.linalg.eigvalsh(blocks)[..., -1]
    return highest.reshape(len(split), grid[0], -1)


def _damping(rows: int, lags: int, device: torch.device) -> Float64[Tensor, "lags"]:
    """The half sine's autocorrelation: the weight of `cos(w l)` for a wave under it."""
    half_sine = _envelopes(rows, 1, device)[:, 0]
    reach = [abs(lag) for lag in range(-(lags // 2), lags // 2 + 1)]
    products = [half_sine[: max(0, rows - lag)] @ half_sine[lag:] for lag in reach]
    return torch.stack(products) / half_sine.square().sum()


def _envelopes(rows: int, count: int, device: torch.device) -> Float64[Tensor, "rows envelopes"]:
    """Half sine, whole sine, ...: the slow functions that vanish just outside the map."""
    row, mode = (torch.arange(1, n + 1, dtype=torch.float64, device=device) for n in (rows, count))
    return torch.sin(math.pi / (rows + 1) * torch.outer(row, mode))


@dataclass(frozen=True, eq=False)
class Waves:
    """Waves of one axis under the first envelopes, at several frequencies.

    Attributes:
        basis: orthonormal, [frequencies, rows, waves].
        meetings: the band's between two waves of a basis, [frequencies, pairs, waves * waves].
        envelope: which envelope each wave has, [waves].
    """

    basis: Float64[Tensor, "frequencies rows waves"]
    meetings: Float64[Tensor, "frequencies pairs waves*waves"]
    envelope: Int64[Tensor, "waves"]

    @classmethod
    def of(cls, band: Band, grid: int, device: torch.device) -> Waves:
        """At the frequencies of the half circle."""
        frequency, _ = half_circle(grid, device)
        alias = 2 * math.pi * torch.arange(band.period, device=device, dtype=torch.float64)
        row = torch.arange(band.rows, device=device, dtype=torch.float64)
        phase = (frequency[:, None, None, None] + alias) / band.period * row[:, None, None]
        waves = torch.cat([phase.cos(), phase.sin()], 3)  # [frequencies, rows, 1, 2 * period]
        waves = (_envelopes(band.rows, MODES, device)[:, :, None] * waves).flatten(2)
        basis = torch.linalg.qr(waves).Q
        return cls(basis, _meetings(band, basis), torch.arange(basis.shape[2], device=device) // len(alias) // 2)

    def at(self, index: Int64[Tensor, "channels"]) -> Waves:
        """For each channel those of its own frequency."""
        return Waves(self.basis[index], self.meetings[index], self.envelope)


def _meetings(
    band: Band, basis: Float64[Tensor, "frequencies rows waves"]
) -> Float64[Tensor, "frequencies pairs waves*waves"]:
    """The band's meetings between waves: inner products, on the positions of the map, of what the taps read of them."""
    read = taps.reads(band.axis, band.direction, basis.device)
    frequencies, _, waves = basis.shape
    positions, kernel = int(read.max()) + 1, read.shape[1]
    laid = basis.new_zeros(frequencies, kernel, positions + 1, waves)  # the last position takes what is outside
    laid[:, torch.arange(kernel, device=read.device)[:, None], read.T] = basis[:, None]
    laid = laid[:, :, :positions].permute(0, 2, 1, 3).flatten(2)
    product = (laid.mT @ laid).reshape(frequencies, kernel, waves, kernel, waves)
    return product.transpose(2, 3).reshape(frequencies, kernel * kernel, waves * waves)


def _eigenpairs(
    split: Split, waves1: Waves, waves2: Waves, count: int
) -> tuple[Float64[Tensor, "channels count"], Float64[Tensor, "channels count rows"]]:
    """The leading eigenpairs of G projected on the products of two axes' waves."""
    size1, size2 = waves1.basis.shape[2], waves2.basis.shape[2]
    # Of the products only those that are slow altogether: first with third envelope, second with second.
    slow = (waves1.envelope[:, None] + waves2.envelope < MODES).flatten().nonzero()[:, 0]
    gram = waves1.meetings.mT @ (split @ waves2.meetings)
    gram = gram.reshape(-1, size1, size1, size2, size2).transpose(2, 3).flatten(3).flatten(1, 2)
    values, vectors = torch.linalg.eigh(gram[:, slow[:, None], slow])
    count = min(count, len(slow))
    coefficients = vectors.new_zeros(len(split), count, size1 * size2)
    coefficients[:, :, slow] = vectors[:, :, -count:].mT
    maps = coefficients.reshape(-1, count * size1, size2) @ waves2.basis.mT
    maps = waves1.basis[:, None] @ maps.reshape(len(split), count, size1, -1)
    return values[:, -count:], maps.flatten(2)


def _highest(height: Float64[Tensor, "channels grid1 half2"]) -> Peak:
    """Where each channel's symbol is highest, as indices of the grid."""
    peak = height.flatten(1).argmax(1)
    return peak // height.shape[2], peak % height.shape[2]


def _without(height: Tensor, peak: Peak, grid: tuple[int, int], bands: tuple[Band, Band]) -> Tensor:
    """The symbol with the surroundings of a peak, and of its mirror image, taken out.

    On an axis that the waves of one frequency span, another frequency would give the same vectors again.
    """
    for sign in (1, -1):
        near = []
        for index, count, length, band in zip(peak, grid, height.shape[1:], bands):
            distance = (torch.arange(length, device=height.device) - sign * index[:, None]) % count
            near.append(distance.minimum(count - distance) <= (count if _is_spanned(band) else count // 8))
        height = height.masked_fill(near[0][:, :, None] & near[1][:, None], -math.inf)
    return height

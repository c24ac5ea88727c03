"""The nuclear norm of a large map, from small ones.

The nuclear norm is the trace of sqrt(G), and G is banded and repeats itself: an entry of sqrt(G) depends on
what is near. So a map of N1 x N2 rows is the sum of its area, its edges and its corners,

    nuc(N1, N2) = N1 N2 area + N2 edge1 + N1 edge2 + corner

up to an error that falls geometrically with the size of the pieces that the four are measured on:

    area     a position far from every border: endless along both axes, the mean of sqrt(f), f the symbol
    edge1    the strip of s1 rows that is endless along axis 2, per column, less its area s1. Fourier makes it
             diagonal along the strip; the rest is s1 x s1 at each frequency
    corner   a map of k1 x k2 rows, dense, less its area and edges

Where k1 = N1 the map is a strip with two ends, and neither area nor edge2 is needed: thin maps are no
exception.

*The ladder.* The pieces grow rung by rung until each of the four contributions agrees with that of the rung
below; the sum of the differences is the error estimate. It is really the error of the rung below, so where
convergence is geometric it is too large. Where the symbol touches zero (depthwise kernels, dead
channels) convergence is algebraic, and `seam` takes over.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from reconv.conv.bands import Band
from reconv.conv.shapes import Complex128, Float64, Inexact
from reconv.conv.symbol import half_circle, whole_circle

CHUNK_BYTES = 1 << 25

Split = Float64[Tensor, "channels pairs1 pairs2"]
Values = Float64[Tensor, "channels"]


@dataclass(frozen=True)
class Rung:
    """Sizes of the pieces, in degrees of the band: rows of a corner, rows of a strip, frequencies, bulk grid."""

    corner: int
    strip: int
    frequencies: int
    grid: int


LADDER = (Rung(2, 3, 4, 8), Rung(3, 4, 8, 16), Rung(4, 6, 12, 24), Rung(6, 12, 16, 48), Rung(8, 24, 32, 128))


@dataclass(frozen=True, eq=False)
class Side:
    """One axis of a piece: how its rows meet at each frequency, and what each frequency weighs in the mean."""

    meetings: Float64[Tensor, "frequencies pairs rows rows"] | Complex128[Tensor, "frequencies pairs rows rows"]
    weight: Float64[Tensor, "frequencies"]


def bordered_side(band: Band, device: torch.device) -> Side:
    """The axis as it is, with both its borders."""
    return Side(band.meetings(device)[None], torch.ones(1, dtype=torch.float64, device=device))


def endless_side(band: Band, count: int, device: torch.device, *, half: bool) -> Side:
    """The axis without borders, per row: one cell at each of `count` frequencies (of which half will do)."""
    frequency, weight = (half_circle if half else whole_circle)(count, device)
    return Side(band.cell_meetings(frequency), weight / band.period)


def trace_root(split: Split, side1: Side, side2: Side) -> Values:
    """`trace sqrt(G)`, averaged over the frequencies of both sides."""
    rows = side1.meetings.shape[2] * side2.meetings.shape[2]
    weight = torch.outer(side1.weight, side2.weight).flatten()
    chunk = max(1, CHUNK_BYTES // (16 * len(weight) * rows**2))
    roots = []
    for part in split.split(chunk):
        blocks = frequency_blocks(part, side1, side2)
        eigenvalues = torch.linalg.eigvalsh(blocks) if rows > 1 else blocks[..., 0].real
        roots.append(eigenvalues.clamp_min(0).sqrt().sum(2) @ weight)
    return torch.cat(roots)


def frequency_blocks(split: Split, side1: Side, side2: Side) -> Inexact[Tensor, "channels frequencies rows rows"]:
    """G, Hermitian, at every pair of frequencies of two sides."""
    dtype = torch.promote_types(side1.meetings.dtype, side2.meetings.dtype)
    (count1, pairs1, rows1, _), (count2, pairs2, rows2, _) = side1.meetings.shape, side2.meetings.shape
    left = side1.meetings.to(dtype).transpose(0, 1).reshape(pairs1, -1)
    right = side2.meetings.to(dtype).transpose(0, 1).reshape(pairs2, -1)
    blocks = left.T @ (split.to(dtype) @ right)
    blocks = blocks.reshape(-1, count1, rows1, rows1, count2, rows2, rows2).permute(0, 1, 4, 2, 5, 3, 6)
    return blocks.reshape(len(split), count1 * count2, rows1 * rows2, rows1 * rows2)


def contributions(split: Split, bands: tuple[Band, Band], rung: Rung) -> Float64[Tensor, "parts channels"]:
    """What area, edges and corner add to the nuclear norm, by pieces of one rung's sizes; it is their sum."""
    device, (first, second) = split.device, bands
    corner = [band.at_least(rung.corner * band.degree) for band in bands]
    ends = trace_root(split, *(bordered_side(band.resized(k), device) for band, k in zip(bands, corner)))
    grows1, grows2 = (k < band.rows for band, k in zip(bands, corner))
    if not (grows1 or grows2):
        return ends[None]
    if not grows1:
        run = _strip(split, first.resized(first.rows), second, rung)
        return torch.stack([second.rows * run, ends - corner[1] * run])
    if not grows2:
        run = _strip(split.mT, second.resized(second.rows), first, rung)
        return torch.stack([first.rows * run, ends - corner[0] * run])
    size1, size2 = (band.at_least(rung.strip * band.degree) for band in bands)
    open1, open2 = (endless_side(band, rung.grid * band.degree, device, half=i == 1) for i, band in enumerate(bands))
    area = trace_root(split, open1, open2)
    edge1 = _strip(split, first.resized(size1), second, rung) - size1 * area
    edge2 = _strip(split.mT, second.resized(size2), first, rung) - size2 * area
    k1, k2 = corner
    rest = ends - k2 * edge1 - k1 * edge2 - k1 * k2 * area
    rows1, rows2 = first.rows, second.rows
    return torch.stack([rows1 * rows2 * area, rows2 * edge1, rows1 * edge2, rest])


def _strip(split: Split, across: Band, along: Band, rung: Rung) -> Values:
    """A strip, both borders on one axis and endless along the other, per row of that."""
    run = endless_side(along, rung.frequencies * along.degree, split.device, half=True)
    return trace_root(split, bordered_side(across, split.device), run)


def work(bands: tuple[Band, Band], rung: Rung) -> float:
    """What a rung costs, in cubed rows of a dense real matrix (a complex one counts four)."""
    total = 1.0
    for band in bands:
        total *= band.at_least(rung.corner * band.degree)
    total **= 3
    for across, along in (bands, bands[::-1]):
        rows = across.at_least(rung.strip * across.degree) * along.period
        total += 4.0 * (rung.frequencies * along.degree // 2 + 1) * rows**3
    return total

"""Channels of all layers with the same geometry, solved together.

Batches of one geometry share tables and calls; within a batch channels are scaled to order one (a norm of 1e-7
deserves the same relative accuracy, and an exact zero stays one), and the terms of the direct sum are solved
one by one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from reconv.conv import certificate, taps
from reconv.conv.bands import Band, direct_sum
from reconv.conv.frobenius import frobenius_norm
from reconv.conv.geometry import ConvGeometry
from reconv.conv.shapes import Float64, Int64
from reconv.conv.solve import Estimate, spectral_and_nuclear
from reconv.conv.taps import Direction

CHUNK_ROWS = 200_000  # rows x channels per chunk: enough to hide the overhead of calls, few enough for the CPU caches
CHUNK_CHANNELS = 256

Kind = tuple[ConvGeometry, Direction, torch.device]
Terms = list[tuple[tuple[Band, Band], int]]


@dataclass(frozen=True, eq=False)
class Chunk:
    """Channels of one geometry, from one or more layers.

    Attributes:
        geometry, direction: of all these channels.
        gram: tap Gram, [channels, taps, taps].
        owner: layer and channel of each, [channels, 2].
    """

    geometry: ConvGeometry
    direction: Direction
    gram: Float64[Tensor, "channels taps taps"]
    owner: Int64[Tensor, "channels 2"]

    @property
    def work(self) -> int:
        """An estimate, to start the longest chunks first."""
        return len(self.gram) * _rows(self.geometry, self.direction)


def split_into_chunks(kinds: Sequence[Kind], grams: Sequence[Tensor], workers: int) -> list[Chunk]:
    """All channels, by geometry, in chunks of about equal size, enough for all workers."""
    members: dict[Kind, list[int]] = {}
    for layer, kind in enumerate(kinds):
        members.setdefault(kind, []).append(layer)
    result: list[Chunk] = []
    for (geometry, direction, _), layers in members.items():
        pairs = [(layer, c) for layer in layers for c in range(len(grams[layer]))]
        owner = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2)
        gram = torch.cat([grams[layer] for layer in layers])
        limit = max(16, min(CHUNK_CHANNELS, CHUNK_ROWS // _rows(geometry, direction)))
        count = max(-(-len(gram) // limit), min(workers, len(gram) // 16), 1)
        parts = zip(gram.tensor_split(count), owner.tensor_split(count))
        result += [Chunk(geometry, direction, part, owners) for part, owners in parts]
    return sorted(result, key=lambda chunk: -chunk.work)


def solve_chunk(chunk: Chunk, norms: Sequence[str], *, exact: bool, tol: float) -> dict[str, Estimate]:
    """The norms of a chunk's channels."""
    scale = chunk.gram.diagonal(dim1=1, dim2=2).amax(1)
    indices = torch.nonzero(scale > 0)[:, 0]
    gram = chunk.gram[indices] / scale[indices, None, None]
    nonzero: dict[str, Estimate] = {}
    spectra = frozenset(norms) - {"frobenius"}
    if len(indices) and spectra:
        nonzero = _spectral_and_nuclear(chunk, gram, spectra, exact=exact, tol=tol)
    if len(indices) and "frobenius" in norms:
        value = frobenius_norm(gram.diagonal(dim1=1, dim2=2), chunk.geometry)
        nonzero["frobenius"] = Estimate.by("closed form", value, 1e-15)
    estimates = {}
    for norm in norms:
        estimates[norm] = Estimate.by("zero", torch.zeros_like(scale), 0.0)
        if norm in nonzero:
            root = scale[indices].sqrt()
            estimate = nonzero[norm]
            estimates[norm].put(indices, Estimate(estimate.value * root, estimate.error * root, estimate.algorithm))
    return estimates


def _spectral_and_nuclear(
    chunk: Chunk, gram: Tensor, norms: frozenset[str], *, exact: bool, tol: float
) -> dict[str, Estimate]:
    """Over the terms of the direct sum: the largest of the spectral norms, the sum of the nuclear ones."""
    split = taps.split_axes(gram, chunk.geometry.kernel)
    total: dict[str, Estimate] = {}
    for bands, times in _terms(chunk.geometry, chunk.direction):
        for norm, term in spectral_and_nuclear(split, bands, norms, exact=exact, tol=tol).items():
            term = term.times(times) if norm == "nuclear" else term
            combine = Estimate.plus if norm == "nuclear" else Estimate.larger
            total[norm] = combine(total[norm], term) if norm in total else term
    zero = Estimate.by("zero", torch.zeros_like(split[:, 0, 0]), 0.0)
    return {norm: total.get(norm, zero) for norm in norms}


def certify(
    gram: Float64[Tensor, "channels taps taps"],
    geometry: ConvGeometry,
    direction: Direction,
    value: Float64[Tensor, "channels"],
    rtol: float,
) -> Float64[Tensor, "channels"]:
    """A proven upper bound of the spectral norm: `(1 + rtol) value`, where that can be proven of every term."""
    scale = gram.diagonal(dim1=1, dim2=2).amax(1)
    unit = scale.where(scale > 0, 1)
    split = taps.split_axes(gram / unit[:, None, None], geometry.kernel)
    target = ((1 + rtol) * value).square() / unit
    bound = torch.zeros_like(value)
    for bands, _ in _terms(geometry, direction):
        sharp = certificate.is_above(split, bands, target)
        bound = bound.maximum(target.where(sharp, certificate.symbol_bound(split, bands)))
    return (bound * scale).sqrt()


def _terms(geometry: ConvGeometry, direction: Direction) -> Iterator[tuple[tuple[Band, Band], int]]:
    """The direct sum of the geometry: pairs of bands that read something, and the multiplicity of each."""
    vertical, horizontal = (direct_sum(axis, direction) for axis in geometry.axes)
    for one, times1 in vertical.items():
        for two, times2 in horizontal.items():
            if one.axis.inputs and two.axis.inputs:
                yield (one, two), times1 * times2


def _rows(geometry: ConvGeometry, direction: Direction) -> int:
    """Rows of the largest term."""
    return max((one.rows * two.rows for (one, two), _ in _terms(geometry, direction)), default=1)

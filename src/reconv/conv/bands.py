"""Bands: one axis of `G = A A^T`, in a reduced form, and how it continues when the map grows.

Seen from its rows, an axis is a band: rows further apart than its degree never read the same position. Three
facts make every geometry one of a few simple bands:

*Direct sums.* Output rows y and y' meet only if `stride*(y - y') = dilation*(v - u)`. With g = gcd(stride,
dilation) the rows of one residue modulo dilation/g therefore never meet those of another: A is a direct sum of
undilated convolutions of stride/g. And if the stride is at least the kernel, every row is alone. `direct_sum`
gives the terms.

*Cells.* Away from the border a band repeats: forward every row, backward every `stride` rows. One period is a
cell.

*Resizing.* The same borders around more or fewer cells: `resized`. Norms of large maps are computed on small ones.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from reconv.conv import taps
from reconv.conv.geometry import Axis
from reconv.conv.shapes import Bool, Complex128, Float64, Int64
from reconv.conv.taps import Direction


@dataclass(frozen=True)
class Band:
    """One side of an undilated axis that reads every position.

    `stride*(outputs-1) + kernel = before + inputs + after`.
    """

    axis: Axis
    direction: Direction

    @property
    def rows(self) -> int:
        """Positions of the channel's own map."""
        return self.axis.outputs if self.direction == "forward" else self.axis.inputs

    @property
    def period(self) -> int:
        """Rows of a cell."""
        return 1 if self.direction == "forward" else self.axis.stride

    @property
    def degree(self) -> int:
        """Rows further apart than this do not meet."""
        reach = self.axis.kernel - 1
        return reach // self.axis.stride if self.direction == "forward" else reach

    @property
    def border(self) -> tuple[int, int]:
        """Rows at the beginning and at the end that an endless map would continue differently."""
        axis = self.axis
        if self.direction == "forward":
            return -(-axis.before // axis.stride), -(-axis.after // axis.stride)
        return max(0, axis.kernel - 1 - axis.before), max(0, axis.kernel - 1 - axis.after)

    def resized(self, rows: int) -> Band:
        """The same borders around another number of rows (by whole cells)."""
        axis = self.axis
        outputs = axis.outputs + (rows - self.rows) // self.period
        inputs = axis.stride * (outputs - 1) + axis.kernel - axis.before - axis.after
        return Band(replace(axis, inputs=inputs), self.direction)

    def at_least(self, rows: int) -> int:
        """The smallest size, at least `rows`, that keeps the borders apart and differs from ours by whole cells."""
        rows = max(rows, sum(self.border) + self.degree, self.period)
        return self.rows - max(0, (self.rows - rows) // self.period) * self.period

    def meetings(self, device: torch.device) -> Float64[Tensor, "pairs rows rows"]:
        """`taps.meetings` of this band."""
        return taps.meetings(taps.reads(self.axis, self.direction, device))

    def cell_meetings(
        self, frequency: Float64[Tensor, "frequencies"]
    ) -> Complex128[Tensor, "frequencies pairs period period"]:
        """`Q[w, (u,v), a, b] = sum_l e^(iwl)` over the cells l whose row b, tap v meets row a, tap u of cell
        0.

        The band of an endless map, by its Fourier transform along the cells.
        """
        lag, meet = self._cell_lags(frequency.device)
        wave = torch.polar(torch.ones_like(lag, dtype=torch.float64), lag * frequency[:, None, None, None])
        return wave * meet

    def lag_meetings(self, device: torch.device) -> Float64[Tensor, "pairs lags period period"]:
        """The same before the transform: 1 at lag l from -reach to reach, in cells."""
        lag, meet = self._cell_lags(device)
        reach = int(lag.abs().max()) if lag.numel() else 0
        lags = torch.arange(-reach, reach + 1, device=device)
        return ((lag[:, None] == lags[:, None, None]) & meet[:, None]).to(torch.float64)

    def _cell_lags(
        self, device: torch.device
    ) -> tuple[Int64[Tensor, "pairs period period"], Bool[Tensor, "pairs period period"]]:
        """How many cells ahead row b, tap v meets row a, tap u; and whether it ever does."""
        axis, period = self.axis, self.period
        row = torch.arange(period, device=device)[:, None]
        tap = torch.arange(axis.kernel, device=device)
        if self.direction == "forward":
            read, advance, valid = tap + 0 * row, axis.stride, torch.ones_like(tap + row, dtype=torch.bool)
        else:
            ahead = row + axis.before - tap
            read, advance = torch.div(ahead, axis.stride, rounding_mode="floor"), 1
            valid = ahead % axis.stride == 0
        difference = read.T[:, None, :, None] - read.T[None, :, None, :]
        meet = valid.T[:, None, :, None] & valid.T[None, :, None, :] & (difference % advance == 0)
        lag = torch.div(difference, advance, rounding_mode="floor") * meet
        shape = (axis.kernel**2, period, period)
        return lag.reshape(shape), meet.reshape(shape)


def direct_sum(axis: Axis, direction: Direction) -> Counter[Band]:
    """The bands whose direct sum the axis is, each with its multiplicity."""
    common = math.gcd(axis.stride, axis.dilation)
    classes = axis.dilation // common
    terms: Counter[Band] = Counter()
    for residue in range(min(classes, axis.outputs)):
        term = _undilated(axis, residue, classes)
        if term.stride < term.kernel:
            terms[Band(term, direction)] += 1
        else:
            terms.update(Band(_single_row(term, row), direction) for row in range(term.outputs))
    return terms


def _undilated(axis: Axis, residue: int, classes: int) -> Axis:
    """Output rows `residue, residue + classes, ...` as an axis of their own, on the input rows that they read."""
    outputs = -(-(axis.outputs - residue) // classes)
    stride = axis.stride * classes // axis.dilation
    first = axis.stride * residue - axis.before  # the input row that tap 0 of the first row reads
    phase = first % axis.dilation
    inputs = -(-(axis.inputs - phase) // axis.dilation)
    return _trimmed(-((first - phase) // axis.dilation), max(0, inputs), outputs, axis.kernel, stride)


def _single_row(axis: Axis, row: int) -> Axis:
    """One output row as an axis of its own."""
    return _trimmed(axis.before - axis.stride * row, axis.inputs, 1, axis.kernel, 1)


def _trimmed(before: int, inputs: int, outputs: int, kernel: int, stride: int) -> Axis:
    """An axis that begins `before` zeros ahead of the map (or within it), cut to what it reads."""
    reach = stride * (outputs - 1) + kernel
    first, last = max(0, -before), min(inputs, reach - before)
    read = max(0, last - first)
    zeros = max(0, min(before, reach))
    return Axis(read, kernel, stride, zeros, reach - zeros - read)

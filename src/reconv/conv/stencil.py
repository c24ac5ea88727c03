"""`G = A A^T` as a stencil: a product costs one depthwise convolution, and a little at the border.

On each axis two taps meet at a lag that does not depend on the row, except that positions outside the map do
not count: `P = T - E`, T Toeplitz, E only between rows near the same border. So

    G = sum S[p1, p2] (T1 - E1)[p1] x (T2 - E2)[p2] = T1 x T2 - E1 x T2 - T1 x E2 + E1 x E2

a convolution with the autocorrelation on the map, one-dimensional ones on its border rows and columns, and
numbers between positions of the four corners. Maps are kept channels-last, [vectors, rows1, rows2, channels],
the layout in which depthwise convolutions are several times faster on a CPU.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import conv2d

from reconv.conv.bands import Band
from reconv.conv.shapes import Bool, Float, Float64, Int64
from reconv.conv.symbol import autocorrelation

Maps = Float[Tensor, "vectors rows1 rows2 channels"]


@dataclass(frozen=True, eq=False)
class Border:
    """Which rows of one axis are near its ends, and which of them read the same zeros.

    Attributes:
        rows: the border rows, [border].
        partners: the j-th row that `rows[b]` shares zeros with (itself for j = 0), [partners, border].
        real: false for a repetition of an earlier partner, [partners, border].
    """

    rows: Int64[Tensor, "border"]
    partners: Int64[Tensor, "partners border"]
    real: Bool[Tensor, "partners border"]

    @classmethod
    def of(cls, band: Band, device: torch.device) -> Border:
        """The rows at the beginning and those at the end, or all where these are the same."""
        before, after = band.border
        sides = [range(before), range(band.rows - after, band.rows)]
        if before + after > band.rows:
            sides = [range(band.rows)]
        count = max(len(side) for side in sides)
        partners = [[side[(i + j) % len(side)] for side in sides for i in range(len(side))] for j in range(count)]
        real = [[j < len(side) for side in sides for _ in side] for j in range(count)]
        rows = [row for side in sides for row in side]
        index, distinct = (torch.tensor(x, device=device).reshape(count, len(rows)) for x in (partners, real))
        return cls(torch.tensor(rows, dtype=torch.int64, device=device), index.to(torch.int64), distinct.to(torch.bool))

    def excess(self, band: Band) -> Float64[Tensor, "pairs border border"]:
        """`E = T - P` between the border rows; it is zero elsewhere."""
        lag = self.rows - self.rows[:, None]
        reach = band.lag_meetings(lag.device)[:, :, 0, 0]
        middle = reach.shape[1] // 2
        endless = reach[:, (lag.clamp(-middle, middle) + middle)] * (lag.abs() <= middle)
        return endless - band.meetings(lag.device)[:, self.rows[:, None], self.rows]


@dataclass(frozen=True, eq=False)
class Stencil:
    """G of a batch of channels, for bands whose cell is one row. All coefficients have the channels first.

    Attributes:
        kernel: autocorrelation, [channels, lags1, lags2].
        edges: for each axis, the kernels along the other one, [channels, partners, border, lags].
        corner: between the positions `border1 x border2`, [channels, corners, corners].
        borders: where these apply.
    """

    kernel: Float[Tensor, "channels lags1 lags2"]
    edges: tuple[Float[Tensor, "channels partners1 border1 lags2"], Float[Tensor, "channels partners2 border2 lags1"]]
    corner: Float[Tensor, "channels corners corners"]
    borders: tuple[Border, Border]

    @classmethod
    def of(cls, split: Float64[Tensor, "channels pairs1 pairs2"], bands: tuple[Band, Band]) -> Stencil:
        """The stencil of a tap Gram with the axes apart."""
        border1, border2 = (Border.of(band, split.device) for band in bands)
        excess1, excess2 = border1.excess(bands[0]), border2.excess(bands[1])
        lag1, lag2 = (band.lag_meetings(split.device)[:, :, 0, 0] for band in bands)
        corner = torch.einsum("pab,cpq,qde->cadbe", excess1, split, excess2)
        return cls(
            autocorrelation(split, *bands),
            (_edge(border1, excess1, split @ lag2), _edge(border2, excess2, split.mT @ lag1)),
            corner.flatten(3, 4).flatten(1, 2),
            (border1, border2),
        )

    def change(self, each: Callable[[Tensor], Tensor]) -> Stencil:
        """The same stencil with `each` applied to all coefficients: of a few channels, in another dtype."""
        edge1, edge2 = self.edges
        return Stencil(each(self.kernel), (each(edge1), each(edge2)), each(self.corner), self.borders)

    def affine(self, factor: Float[Tensor, "channels"], shift: float) -> Stencil:
        """`factor * G + shift`, one factor per channel."""
        scaled = self.change(lambda x: x * factor.reshape(-1, *[1] * (x.ndim - 1)))
        middle1, middle2 = (size // 2 for size in self.kernel.shape[1:])
        scaled.kernel[:, middle1, middle2] += shift
        return scaled

    def __matmul__(self, maps: Maps) -> Maps:
        """G times every vector of every channel."""
        padding = (self.kernel.shape[1] // 2, self.kernel.shape[2] // 2)
        result = _depthwise(maps, self.kernel, padding).contiguous()
        self._subtract_edge(result, maps, 0)
        self._subtract_edge(result, maps, 1)
        if self.corner.shape[1]:
            rows1, rows2 = (border.rows for border in self.borders)
            position = (rows1[:, None] * maps.shape[2] + rows2).flatten()
            near = maps.flatten(1, 2).index_select(1, position)
            back = self.corner @ near.permute(2, 1, 0)
            result.view(len(maps), -1, maps.shape[3]).index_add_(1, position, back.permute(2, 1, 0))
        return result

    def _subtract_edge(self, result: Maps, maps: Maps, axis: int) -> None:
        """Subtract the term `E x T` of one axis, in place."""
        border, kernels = self.borders[axis], self.edges[axis]
        for j, partners in enumerate(border.partners):
            # The border rows become channels, each with its own kernel: one convolution for all of them.
            signal = maps.index_select(1 + axis, partners)
            signal = signal.transpose(1, 2) if axis == 0 else signal
            kernel = kernels[:, j].transpose(0, 1).flatten(0, 1)[:, None]
            term = _depthwise(signal.flatten(2)[:, None], kernel, (0, kernel.shape[2] // 2)).reshape(signal.shape)
            term = term.transpose(1, 2) if axis == 0 else term
            result.index_add_(1 + axis, border.rows, term, alpha=-1)


def _edge(
    border: Border,
    excess: Float64[Tensor, "pairs border border"],
    along: Float64[Tensor, "channels pairs lags"],
) -> Float64[Tensor, "channels partners border lags"]:
    """Kernels of `E x T`, for every border row and each of its partners."""
    row = torch.arange(len(border.rows), device=excess.device)
    column = torch.searchsorted(border.rows, border.partners)
    chosen = excess[:, row, column] * border.real
    return torch.einsum("pjb,cpl->cjbl", chosen, along)


def _depthwise(maps: Maps, kernel: Float[Tensor, "channels taps1 taps2"], padding: tuple[int, int]) -> Maps:
    """Each channel convolved with its own kernel, zeros around."""
    result = conv2d(maps.permute(0, 3, 1, 2), kernel[:, None], padding=padding, groups=len(kernel))
    return result.permute(0, 2, 3, 1)

"""The nuclear norm exactly, at a cost that grows with the perimeter of the map and not with its area.

*The integral.* For x >= 0, `sqrt(x) = 1/(2 pi) int log(1 + x e^-s) e^(s/2) ds`, so that with t = e^s

    nuc = trace sqrt(G) = 1/(2 pi) int [logdet(G + t) - n s] e^(s/2) ds

and the trapezoid rule converges geometrically: log-determinants at a dozen shifts t are all that is needed.

*The torus.* Forward, rows y and y' meet by their distance alone (the autocorrelation R), were it not for the zeros
around the map: a row near the border reads some of them. So G = T - E: T is Toeplitz, E lives on the border. Lay the map
on a torus larger by the degree D of the band: there T becomes circulant, Fourier makes it diagonal (the symbol f), and

    H = circulant + t:    logdet H = sum_w log(f(w) + t),     H^-1[y, y'] = g(y - y'),   g = Fourier of 1/(f + t)

*The seam.* What the torus has too much are the D-wide bands between the map and itself (the cut); what it lacks is -E on
the border. Both are on the seam, cut and border together. The Schur complement of H onto the seam is the inverse of
`g[seam, seam]`; leave the cut out of it and subtract E. With the Cholesky factor L of g[seam, seam], cut first:

    logdet(G + t) = logdet H + logdet g[cut, cut] + logdet(I - L' E L),        L = its last block, on the border

(the last block of the inverse of `g = L L'` is `L^-T L^-1`, and `det(L^-T L^-1 - E) = det(L)^-2 det(I - L' E L)`).
No matrix here is larger than the seam, ~4 D rows per unit of perimeter/2; nothing is approximated but the integral.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from reconv.conv.bands import Band
from reconv.conv.symbol import autocorrelation, half_circle, symbol

CHUNK_BYTES = 1 << 26
ACCURACY = 1e-6
STEP, LOWEST, HIGHEST = 1.3, -21.0, 6.0  # of s = log t, with max f = 1

Split = Float64[Tensor, "channels pairs1 pairs2"]
Values = Float64[Tensor, "channels"]


@dataclass(frozen=True, eq=False)
class Seam:
    """Where the map lies on its torus.

    Attributes:
        torus: rows of the torus along both axes.
        cut: positions of the torus that are not of the map, [cut, 2].
        border: positions of the map whose rows read zeros, [border, 2].
    """

    torus: tuple[int, int]
    cut: Int64[Tensor, "cut 2"]
    border: Int64[Tensor, "border 2"]

    @classmethod
    def of(cls, bands: tuple[Band, Band], device: torch.device) -> Seam:
        """The smallest torus on which the map does not meet itself."""
        torus = bands[0].rows + bands[0].degree, bands[1].rows + bands[1].degree
        grid = torch.cartesian_prod(*(torch.arange(size, device=device) for size in torus)).reshape(*torus, 2)
        rows = torch.tensor([band.rows for band in bands], device=device)
        begin = torch.tensor([band.border[0] for band in bands], device=device)
        end = rows - torch.tensor([band.border[1] for band in bands], device=device)
        cut = (grid >= rows).any(2)
        border = ((grid < begin) | (grid >= end)).any(2) & ~cut
        return cls(torus, grid[cut], grid[border])

    def __len__(self) -> int:
        return len(self.cut) + len(self.border)


def nuclear_norm(split: Split, bands: tuple[Band, Band]) -> Values:
    """The nuclear norm of every channel, exact to the quadrature (about 1e-8).

    Args:
        split: tap Gram with the axes apart.
        bands: of period 1 (forward, or backward with stride one).

    Cost: O(seam^3) for each of 16 shifts.
    """
    seam = Seam.of(bands, split.device)
    correlation = autocorrelation(split, *bands)
    spectrum = symbol(correlation, seam.torus).clamp_min(0)
    peak = spectrum.amax((1, 2))
    scale = peak.where(peak > 0, 1)
    correlation, spectrum, split = (x / scale[:, None, None] for x in (correlation, spectrum, split))

    toeplitz = _toeplitz(correlation, seam.border)
    border = _gram(split, bands, seam.border)
    edge = toeplitz - border
    reference = _Reference.of(bands, seam, correlation, spectrum, toeplitz, border)

    shifts = torch.arange(LOWEST, HIGHEST, STEP, dtype=torch.float64, device=split.device)
    size = 8 * len(seam) ** 2
    nodes = max(1, min(len(shifts), CHUNK_BYTES // size))
    chunk = max(1, CHUNK_BYTES // (size * nodes))
    excess = torch.cat(
        [
            torch.cat([_seam_logdet(f, e, seam, part.exp()) for part in shifts.split(nodes)], 1)
            for f, e in zip(spectrum.split(chunk), edge.split(chunk))
        ]
    )
    return reference.integral(excess + len(seam.cut) * shifts, shifts) * scale.sqrt()


def _seam_logdet(
    spectrum: Float64[Tensor, "channels torus1 half2"],
    edge: Float64[Tensor, "channels border border"],
    seam: Seam,
    shift: Float64[Tensor, "shifts"],
) -> Float64[Tensor, "channels shifts"]:
    """`logdet(G + t) - logdet H` at every shift t."""
    green = torch.fft.irfft2((1 / (spectrum[:, None] + shift[:, None, None])).to(torch.complex128), s=seam.torus)
    position = torch.cat([seam.cut, seam.border])
    torus = torch.tensor(seam.torus, device=position.device)
    distance = (position[:, None] - position) % torus
    index = distance[..., 0] * seam.torus[1] + distance[..., 1]
    factor = torch.linalg.cholesky(green.flatten(2)[:, :, index])
    cut = len(seam.cut)
    last = factor[:, :, cut:, cut:]
    rest = torch.eye(len(seam.border), dtype=edge.dtype, device=edge.device) - last.mT @ edge[:, None] @ last
    diagonals = (factor.diagonal(dim1=2, dim2=3)[:, :, :cut], torch.linalg.cholesky(rest).diagonal(dim1=2, dim2=3))
    return 2 * torch.cat(diagonals, 2).log().sum(2)


def _toeplitz(
    correlation: Float64[Tensor, "channels lags1 lags2"], position: Int64[Tensor, "border 2"]
) -> Float64[Tensor, "channels border border"]:
    """T between the given positions: the autocorrelation at their distance."""
    reach = torch.tensor(correlation.shape[1:], device=position.device) // 2
    lag = position - position[:, None] + reach
    near = ((lag >= 0) & (lag <= 2 * reach)).all(2)
    lag = lag.clamp_min(0).minimum(2 * reach)
    return correlation[:, lag[..., 0], lag[..., 1]] * near


def _gram(
    split: Split, bands: tuple[Band, Band], position: Int64[Tensor, "border 2"]
) -> Float64[Tensor, "channels border border"]:
    """G between the given positions."""
    meet1, meet2 = (
        band.meetings(split.device)[:, position[:, None, i], position[:, i]] for i, band in enumerate(bands)
    )
    found = [(meet1 * (one @ meet2.flatten(1)).reshape(meet1.shape)).sum(0) for one in split]
    return torch.stack(found)


@dataclass(frozen=True, eq=False)
class _Reference:
    """A spectrum whose integral is known and that is near G's: the torus' own, and a few point masses.

    The masses make up for the difference in count, trace and trace of the square, so that what is left to the
    quadrature is small and falls off fast at both ends.
    """

    root: Float64[Tensor, "channels"]
    mass: Float64[Tensor, "channels 3"]
    point: Float64[Tensor, "3"]

    @classmethod
    def of(
        cls, bands: tuple[Band, Band], seam: Seam, correlation: Tensor, spectrum: Tensor, toeplitz: Tensor, border: Tensor
    ) -> _Reference:
        """Match the moments of G = T - E, of which E changes the border alone."""
        _, weight = half_circle(seam.torus[1], spectrum.device)
        weight = weight * math.prod(seam.torus) / seam.torus[0]
        count1, count2 = (
            band.rows - (torch.arange(lags, device=spectrum.device) - lags // 2).abs()
            for band, lags in zip(bands, correlation.shape[1:])
        )
        centre = correlation[:, correlation.shape[1] // 2, correlation.shape[2] // 2]
        count = torch.outer(count1.clamp_min(0), count2.clamp_min(0)).to(torch.float64)
        trace = bands[0].rows * bands[1].rows * centre + _trace(border) - _trace(toeplitz)
        square = (correlation.square() * count).sum((1, 2)) + border.square().sum((1, 2)) - toeplitz.square().sum((1, 2))
        lacking = [
            torch.full_like(trace, -len(seam.cut)),
            trace - (spectrum * weight).sum((1, 2)),
            square - (spectrum.square() * weight).sum((1, 2)),
        ]
        point = torch.tensor([1.0, 0.4, 0.05], dtype=torch.float64, device=spectrum.device)
        powers = torch.stack([point**power for power in range(3)])
        mass = torch.linalg.solve(powers, torch.stack(lacking)).T
        return cls((spectrum.sqrt() * weight).sum((1, 2)) + mass @ point.sqrt(), mass, point)

    def integral(
        self, excess: Float64[Tensor, "channels shifts"], shifts: Float64[Tensor, "shifts"]
    ) -> Float64[Tensor, "channels"]:
        """trace sqrt(G) from `log det(1 + G/t)` less that of the torus."""
        left = excess - self.mass @ torch.log1p(self.point[:, None] / shifts.exp())
        # Below the lowest shift the rest is linear in s, its slope a count of singular values: a geometric series.
        ratio = math.exp(-STEP / 2)
        slope = left[:, 0] - left[:, 1]
        tail = (left[:, 0] + slope / (1 - ratio)) * math.exp(LOWEST / 2) * ratio / (1 - ratio)
        return self.root + STEP / (2 * math.pi) * (left @ (shifts / 2).exp() + tail)


def _trace(matrix: Float64[Tensor, "channels rows rows"]) -> Float64[Tensor, "channels"]:
    return matrix.diagonal(dim1=1, dim2=2).sum(1)


def work(bands: tuple[Band, Band]) -> float:
    """What the algorithm costs, in cubed rows of dense eigenvalues."""
    (torus1, rows1), (torus2, rows2) = ((band.rows + band.degree, band.rows - sum(band.border)) for band in bands)
    return 10.0 * (torus1 * torus2 - max(0, rows1) * max(0, rows2)) ** 3

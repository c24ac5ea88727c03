"""The nuclear norm exactly, at a cost that grows with the perimeter of the map and not with its area.

`torus` reduces it to log-determinants of G + t against those of a torus.

*The torus.* Forward, rows y and y' meet by their distance alone (the autocorrelation R), were it not for the
zeros around the map: a row near the border reads some of them. So G = T - E: T is Toeplitz, E lives on the
border. Lay the map on a torus larger by the degree D of the band: there T is part of a circulant C, which
Fourier makes diagonal,

    H = C + t,     logdet H = sum log(f + t),     H^-1[y, y'] = g(y - y')

with g the Fourier transform of 1/(f + t).

*The seam.* What the torus has in excess is the D-wide band around the map (the cut); what it lacks is -E on the
border. Both are on the seam, cut and border together. The Schur complement of H onto the seam is the inverse of
g[seam, seam]: leave the cut out of it and subtract E. With the Cholesky factor of g[seam, seam], the cut first,
and L its last block, the border's, the complement on the border is L^-T L^-1, and

    logdet(G + t) = logdet H + logdet g[cut, cut] + logdet(I - L' E L)

No matrix here is larger than the seam, and nothing is approximated but the integral.
"""

from __future__ import annotations

import torch
from torch import Tensor

from reconv.conv import torus
from reconv.conv.bands import Band
from reconv.conv.shapes import Float64
from reconv.conv.symbol import autocorrelation, symbol

CHUNK_BYTES = 1 << 26

Split = Float64[Tensor, "channels pairs1 pairs2"]
Values = Float64[Tensor, "channels"]


def nuclear_norm(split: Split, bands: tuple[Band, Band]) -> Values:
    """The nuclear norm of every channel, exact to the quadrature (`torus.ACCURACY`).

    Args:
        split: tap Gram with the axes apart.
        bands: of period 1: forward, or backward with stride one.

    Cost: O(seam^3) for each of the 21 shifts; the seam is 2 D + 2 border rows per row of either axis.
    """
    size, rows = _torus(bands), (bands[0].rows, bands[1].rows)
    cut, border = torus.cut_positions(size, rows, split.device), _border(bands, split.device)
    correlation = autocorrelation(split, *bands)
    spectrum = symbol(correlation, size).clamp_min(0)
    scale = spectrum.amax((1, 2)).clamp_min(1e-290)
    correlation, spectrum, split = (x / scale[:, None, None] for x in (correlation, spectrum, split))
    edge = _toeplitz(correlation, border) - _gram(split, bands, border)

    node = torus.shifts(split.device)
    bytes_ = 8 * (len(cut) + len(border)) ** 2
    nodes = max(1, min(len(node), CHUNK_BYTES // bytes_))
    channels = max(1, CHUNK_BYTES // (bytes_ * nodes))
    excess = [
        torch.cat([_excess(f, e, cut, border, size, t) for t in node.exp().split(nodes)], 1)
        for f, e in zip(spectrum.split(channels), edge.split(channels))
    ]
    return torus.Reference.of(split, bands, size, spectrum).trace_root(torch.cat(excess)) * scale.sqrt()


def work(bands: tuple[Band, Band]) -> float:
    """What it costs, in cubed rows of dense eigenvalues."""
    (all1, inner1), (all2, inner2) = ((band.rows + band.degree, band.rows - sum(band.border)) for band in bands)
    return 10.0 * (all1 * all2 - max(0, inner1) * max(0, inner2)) ** 3


def _excess(
    spectrum: Float64[Tensor, "channels torus1 half2"],
    edge: Float64[Tensor, "channels border border"],
    cut: Tensor,
    border: Tensor,
    size: tuple[int, int],
    shift: Float64[Tensor, "shifts"],
) -> Float64[Tensor, "channels shifts"]:
    """`logdet(G + t) - logdet H` at every shift t."""
    green = torch.fft.irfft2((1 / (spectrum[:, None] + shift[:, None, None])).to(torch.complex128), s=size)
    seam = torch.cat([cut, border])
    factor = torch.linalg.cholesky(torus.circulant_block(green, seam, seam))
    last = factor[:, :, len(cut) :, len(cut) :]
    rest = torch.eye(len(border), dtype=edge.dtype, device=edge.device) - last.mT @ edge[:, None] @ last
    return torus.log_det(factor[:, :, : len(cut), : len(cut)]) + torus.log_det(torch.linalg.cholesky(rest))


def _torus(bands: tuple[Band, Band]) -> tuple[int, int]:
    """The smallest on which rows of the map do not meet around the torus."""
    return bands[0].rows + bands[0].degree, bands[1].rows + bands[1].degree


def _border(bands: tuple[Band, Band], device: torch.device) -> Tensor:
    """Positions of the map whose rows read zeros, [border, 2]."""
    grid = torch.cartesian_prod(*(torch.arange(band.rows, device=device) for band in bands)).reshape(-1, 2)
    first = torch.tensor([band.border[0] for band in bands], device=device)
    last = torch.tensor([band.rows - band.border[1] for band in bands], device=device)
    return grid[((grid < first) | (grid >= last)).any(1)]


def _toeplitz(
    correlation: Float64[Tensor, "channels lags1 lags2"], position: Tensor
) -> Float64[Tensor, "channels border border"]:
    """T between positions: the autocorrelation at their distance."""
    reach = torch.tensor(correlation.shape[1:], device=position.device) // 2
    lag = position - position[:, None] + reach
    near = ((lag >= 0) & (lag <= 2 * reach)).all(2)
    lag = lag.clamp_min(0).minimum(2 * reach)
    return correlation[:, lag[..., 0], lag[..., 1]] * near


def _gram(split: Split, bands: tuple[Band, Band], position: Tensor) -> Float64[Tensor, "channels border border"]:
    """G between positions."""
    meet1, meet2 = (
        band.meetings(split.device)[:, position[:, None, i], position[:, i]] for i, band in enumerate(bands)
    )
    grams = [(meet1 * (one @ meet2.flatten(1)).reshape(meet1.shape)).sum(0) for one in split]
    return torch.stack(grams)

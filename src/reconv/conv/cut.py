"""The nuclear norm of a single kernel (depthwise layers, grey stems): a map is a torus that was cut.

With one stacked channel, or several that are multiples of one kernel, the symbol `f = |k^|^2` touches zero
wherever k^ does, and pieces converge slowly. But then A is a plain Toeplitz matrix, the convolution with k, and
not only A A^T is: it is the convolution K on a torus, a little larger, with some output positions and some
input positions left out. `torus` needs logdet(t + A A^T). Put A itself into a matrix that is larger and
simpler,

    B = [[tau, A], [-A', tau]],   tau^2 = t,      det B = tau^(inputs - outputs) det(t + A A')

B too is that of the torus with rows and columns left out, and the torus' inverse is known by Fourier,

    B^-1 = [[tau g, -h], [h', tau g]],   g from 1/(t + f),   h from k^/(t + f)

By Jacobi's identity, the determinant of the part that is kept is that of the whole times the determinant of
the inverse on the part that is cut. With P = g[out, out], Q = g[in, in], H = h[out, in] between the cut positions,

    logdet(t + A A') = sum log(t + f) + logdet P + logdet(t Q + H' P^-1 H)

(the powers of tau cancel). The cut is as wide as the padding: for a 3x3 kernel on N x N rows, matrices of 2N +
1 rows.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from reconv.conv import torus
from reconv.conv.bands import Band
from reconv.conv.geometry import Axis
from reconv.conv.shapes import Bool, Complex128, Float64

CHUNK_BYTES = 1 << 25
RANK_TOLERANCE = 1e-13  # relative: below it the tap Gram has rank one

Split = Float64[Tensor, "channels pairs1 pairs2"]
Values = Float64[Tensor, "channels"]
Kernel = Float64[Tensor, "channels k1 k2"]


def fits(bands: tuple[Band, Band]) -> bool:
    """Whether the algorithm applies: stride one."""
    return bands[0].axis.stride == bands[1].axis.stride == 1


def single_kernels(split: Split, bands: tuple[Band, Band]) -> tuple[Kernel, Bool[Tensor, "channels"]]:
    """The kernel k of every channel with M = k k', and which channels have one."""
    k1, k2 = (band.axis.kernel for band in bands)
    gram = split.reshape(-1, k1, k1, k2, k2).transpose(2, 3).reshape(-1, k1 * k2, k1 * k2)
    # A column of M through its largest diagonal entry is a multiple of k, and no eigenvectors are needed.
    column = gram.diagonal(dim1=1, dim2=2).argmax(1)
    pivot = gram.diagonal(dim1=1, dim2=2).amax(1).clamp_min(1e-290)
    kernel = gram[torch.arange(len(gram), device=gram.device), column] / pivot.sqrt()[:, None]
    rest = (gram - kernel[:, :, None] * kernel[:, None]).abs().amax((1, 2))
    return kernel.reshape(-1, k1, k2), rest <= RANK_TOLERANCE * pivot


def nuclear_norm(split: Split, bands: tuple[Band, Band]) -> Values:
    """The nuclear norm of channels that are a single kernel, exact to the quadrature (`torus.ACCURACY`).

    Args:
        split: tap Gram with the axes apart, of rank one.
        bands: of stride one, in either direction.

    Cost: O(cut^3) for each of the 21 shifts.
    """
    kernel, _ = single_kernels(split, bands)
    size = (_torus(bands[0].axis), _torus(bands[1].axis))
    out, inp = (
        torus.cut_positions(size, rows, split.device)
        for rows in zip(*((band.axis.outputs, band.axis.inputs) for band in bands))
    )
    symbol = _symbol(kernel, bands, size)
    scale = symbol.abs().square().amax((1, 2)).clamp_min(1e-290)
    symbol, split = symbol / scale.sqrt()[:, None, None], split / scale[:, None, None]

    node = torus.shifts(split.device)
    chunk = max(1, CHUNK_BYTES // (16 * len(node) * (math.prod(size) + len(out) ** 2 + len(inp) ** 2)))
    excess = torch.cat([_excess(part, out, inp, size, node.exp()) for part in symbol.split(chunk)])
    # Backward G is A'A: the same eigenvalues, but for zeros where it has more rows.
    excess = excess + (len(out) - math.prod(size) + bands[0].rows * bands[1].rows) * node
    return torus.Reference.of(split, bands, size, symbol.abs().square()).trace_root(excess) * scale.sqrt()


def work(bands: tuple[Band, Band]) -> float:
    """What it costs, in cubed rows of dense eigenvalues."""
    size = math.prod(_torus(band.axis) for band in bands)
    inputs, outputs = (math.prod(rows) for rows in zip(*((b.axis.inputs, b.axis.outputs) for b in bands)))
    return 50.0 * float(max(size - inputs, size - outputs)) ** 3


def _torus(axis: Axis) -> int:
    """The smallest on which what is read outside the map lies in the cut."""
    return max(axis.outputs, axis.inputs + max(axis.before, axis.after))


def _symbol(
    kernel: Kernel, bands: tuple[Band, Band], size: tuple[int, int]
) -> Complex128[Tensor, "channels torus1 half2"]:
    """`k^(w)`, with tap u at the distance u - before from its output."""
    laid = kernel.new_zeros(len(kernel), *size)
    at1, at2 = (
        (band.axis.before - torch.arange(band.axis.kernel, device=kernel.device)) % count
        for band, count in zip(bands, size)
    )
    laid[:, at1[:, None], at2] = kernel
    transformed: Tensor = torch.fft.rfft2(laid)
    return transformed


def _excess(
    symbol: Complex128[Tensor, "channels torus1 half2"],
    out: Tensor,
    inp: Tensor,
    size: tuple[int, int],
    shift: Float64[Tensor, "shifts"],
) -> Float64[Tensor, "channels shifts"]:
    """`logdet(t + A A') - sum log(t + f)` at every shift t."""
    inverse = 1 / (symbol.abs().square()[:, None] + shift[:, None, None])
    g = torch.fft.irfft2(inverse.to(symbol.dtype), s=size)
    h = torch.fft.irfft2(symbol[:, None] * inverse, s=size)
    P, Q, H = torus.circulant_block(g, out, out), torus.circulant_block(g, inp, inp), torus.circulant_block(h, out, inp)
    factor = torch.linalg.cholesky(P)
    X = torch.linalg.solve_triangular(factor, H, upper=False)
    rest = torch.linalg.cholesky(shift[:, None, None] * Q + X.mT @ X)
    return torus.log_det(factor) + torus.log_det(rest)

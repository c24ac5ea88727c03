"""The reference: all singular values of A, from the dense eigenvalues of `G = A A^T`.

Exact to rounding (relative to sigma_1: a singular value below 1e-8 sigma_1 is lost in the square), and cubic in
the number of positions. Every faster path is tested against this one.
"""

from __future__ import annotations

import torch
from torch import Tensor

from reconv.conv import taps
from reconv.conv.shapes import Float64, Int64

CHUNK_BYTES = 1 << 26


def singular_values(
    split: Float64[Tensor, "channels pairs1 pairs2"],
    read1: Int64[Tensor, "rows1 k1"],
    read2: Int64[Tensor, "rows2 k2"],
) -> Float64[Tensor, "channels rows1*rows2"]:
    """Singular values of every channel's matrix, ascending.

    Args:
        split: tap Gram with the axes apart, `taps.split_axes(M, kernel)`.
        read1, read2: `taps.reads` of the two axes.

    Cost: O(rows^3) per channel, in chunks of 64 MB.
    """
    meet1, meet2 = taps.meetings(read1), taps.meetings(read2)
    rows = len(read1) * len(read2)
    chunk = max(1, CHUNK_BYTES // (8 * rows * rows))
    grams = (taps.dense_gram(part, meet1, meet2) for part in split.split(chunk))
    eigenvalues = torch.cat([torch.linalg.eigvalsh(gram) if rows > 1 else gram[:, 0] for gram in grams])
    return eigenvalues.clamp_min(0).sqrt()

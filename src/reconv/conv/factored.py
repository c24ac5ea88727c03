"""`G = A A^T` by two convolutions, for any geometry: first with A^T, then with A.

The norms depend on the weight through `M = W^T W` alone, so a factor of M with at most k1*k2 columns may take
its place. Slower than a `Stencil`, and needs nothing of the band: it is the operator where cells have several
rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from reconv.conv.bands import Band
from reconv.conv.geometry import ConvGeometry
from reconv.conv.matrix import ConvMatrix
from reconv.conv.shapes import Float, Float64
from reconv.conv.stencil import Maps


@dataclass(frozen=True, eq=False)
class Factored:
    """`factor * G + shift` of a batch of channels, on maps [vectors, rows1, rows2, channels].

    Attributes:
        weight: in place of the layer's, [channels, rank, k1, k2].
        bands: the axes; both seen from the same side.
        shift: a multiple of the identity.
    """

    weight: Float[Tensor, "channels rank k1 k2"]
    bands: tuple[Band, Band]
    shift: float = 0.0

    @classmethod
    def of(cls, split: Float64[Tensor, "channels pairs1 pairs2"], bands: tuple[Band, Band]) -> Factored:
        """From the tap Gram with the axes apart."""
        k1, k2 = (band.axis.kernel for band in bands)
        gram = split.reshape(-1, k1, k1, k2, k2).transpose(2, 3).reshape(-1, k1 * k2, k1 * k2)
        values, vectors = torch.linalg.eigh(gram)
        factor = vectors * values.clamp_min(0).sqrt()[:, None]
        return cls(factor.mT.reshape(len(split), -1, k1, k2), bands)

    def change(self, each: Callable[[Tensor], Tensor]) -> Factored:
        """The same with `each` applied to the coefficients: of a few channels, in another dtype."""
        return replace(self, weight=each(self.weight))

    def affine(self, factor: Float[Tensor, "channels"], shift: float) -> Factored:
        """`factor * G + shift`, one factor per channel."""
        return replace(self, weight=self.weight * factor.sqrt()[:, None, None, None], shift=shift)

    def __matmul__(self, maps: Maps) -> Maps:
        """G times every vector of every channel."""
        matrix = ConvMatrix(self.weight, self._geometry(), self.bands[0].direction)
        reads = [matrix.rmatvec(vector.permute(2, 0, 1)) for vector in maps]
        back = torch.stack([matrix.matvec(read).permute(1, 2, 0) for read in reads])
        return back + self.shift * maps

    def _geometry(self) -> ConvGeometry:
        one, two = (band.axis for band in self.bands)
        return ConvGeometry(
            (one.inputs, two.inputs),
            (one.kernel, two.kernel),
            (one.stride, two.stride),
            ((one.before, one.after), (two.before, two.after)),
        )

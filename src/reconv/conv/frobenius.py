"""The Frobenius norm, in closed form.

Every entry of A is a weight or zero, so `|A|_F^2 = sum_u M[u,u] * count(u)`: the energy of tap u over the input
channels, times the number of output positions at which tap u reads inside the map. The count is a product over
axes.
"""

from __future__ import annotations

import torch
from jaxtyping import Float64
from torch import Tensor

from reconv.conv import taps
from reconv.conv.geometry import Axis, ConvGeometry


def frobenius_norm(energy: Float64[Tensor, "channels taps"], geometry: ConvGeometry) -> Float64[Tensor, "channels"]:
    """`|A|_F` of every channel, the same forward and backward, exact to rounding.

    Args:
        energy: of every tap, the diagonal of the tap Gram `M`: [channels, k1*k2], float64.
        geometry: of the convolution.

    Returns:
        [channels], float64: the norm itself, not its square.

    Cost: O(K) a channel.
    """
    vertical, horizontal = (_reads_inside(axis, energy.device) for axis in geometry.axes)
    count = torch.outer(vertical, horizontal).flatten()
    return (energy @ count).sqrt()


def _reads_inside(axis: Axis, device: torch.device) -> Float64[Tensor, "kernel"]:
    """How often each tap of the axis reads inside the map."""
    return (taps.reads(axis, "forward", device) >= 0).sum(0).to(torch.float64)

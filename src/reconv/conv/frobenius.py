"""The Frobenius norm, in closed form.

Every entry of A is a weight or zero, so `|A|_F^2 = sum_u M[u,u] * count(u)`: the energy of tap u over the input
channels, times the number of output positions at which tap u reads inside the map. The count is a product over
axes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from reconv.conv.geometry import Axis, ConvGeometry
from reconv.conv.shapes import Float64


def frobenius_norm(energy: Float64[Tensor, "channels taps"], geometry: ConvGeometry) -> Float64[Tensor, "channels"]:
    """`|A|_F` of every channel, the same forward and backward, exact to rounding.

    Args:
        energy: of every tap, the diagonal of the tap Gram `M`: [channels, k1*k2], float64.
        geometry: of the convolution.

    Returns:
        [channels], float64: the norm itself, not its square.

    Cost: O(K) per channel.
    """
    vertical, horizontal = map(_reads_inside, geometry.axes)
    count = torch.tensor([v * h for v in vertical for h in horizontal], dtype=torch.float64, device=energy.device)
    return (energy @ count).sqrt()


def _reads_inside(axis: Axis) -> list[int]:
    """How often each tap of the axis reads inside the map: `0 <= stride*y + ahead < inputs`."""
    result = []
    for tap in range(axis.kernel):
        ahead = axis.dilation * tap - axis.before
        first = max(0, -(ahead // axis.stride))
        last = min(axis.outputs - 1, (axis.inputs - 1 - ahead) // axis.stride)
        result.append(max(0, last - first + 1))
    return result

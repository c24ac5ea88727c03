"""Taps: the tap Gram of a channel, and where two taps meet. All three norms follow from these two.

Entry (y, y') of `G = A A^T` sums, over input channels c and input positions x, what rows y and y' both read:

    G[(y1,y2), (y1',y2')] = sum_{u,v} M[u,v] * P1[u1,v1; y1,y1'] * P2[u2,v2; y2,y2'],      M = W^T W

where `M [K, K]` holds the inner products of the taps over the input channels (after it, nothing depends on the
number of input channels any more), and `P[u,v; y,y'] = 1` where tap u of row y and tap v of row y' read the
same position inside the map.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from reconv.conv.geometry import Axis
from reconv.conv.shapes import Float, Float64, Int64

Direction = Literal["forward", "backward"]


def tap_gram(weight: Float[Tensor, "channels stacked k1 k2"]) -> Float64[Tensor, "channels k1*k2 k1*k2"]:
    """`M[c, u, v] = sum_i W[c, i, u] W[c, i, v]`, in float64 whatever the weight's dtype."""
    taps = weight.detach().flatten(2).to(torch.float64)
    return taps.mT @ taps


def tap_energy(weight: Float[Tensor, "channels stacked k1 k2"]) -> Float64[Tensor, "channels k1*k2"]:
    """The diagonal of the tap Gram alone: `sum_i W[c, i, u]^2`, in float64 whatever the weight's dtype."""
    taps = weight.detach().flatten(2)
    if taps.shape[2] == 1:  # in rows, which are summed fast as they are
        rows: Tensor = torch.linalg.vector_norm(taps, dim=1, dtype=torch.float64)
        return rows.square()
    return taps.to(torch.float64).square().sum(1)


def split_axes(
    gram: Float64[Tensor, "channels taps taps"], kernel: tuple[int, int]
) -> Float64[Tensor, "channels pairs1 pairs2"]:
    """`S[c, (u1,v1), (u2,v2)] = M[c, (u1,u2), (v1,v2)]`: the pair of taps on the one axis, and on the other."""
    k1, k2 = kernel
    split = gram.reshape(-1, k1, k2, k1, k2).permute(0, 1, 3, 2, 4)
    return split.reshape(-1, k1 * k1, k2 * k2)


def reads(axis: Axis, direction: Direction, device: torch.device) -> Int64[Tensor, "rows kernel"]:
    """What tap u of row y reads: a position, or -1 where that is outside the map.

    Forward, rows are output positions and read inputs. Backward it is the transpose: rows are input
    positions, and tap u of row x meets the one output y with `stride*y + dilation*u - before = x`, if there
    is one.
    """
    tap = torch.arange(axis.kernel, device=device)
    if direction == "forward":
        row = torch.arange(axis.outputs, device=device)
        position = axis.stride * row[:, None] + axis.dilation * tap - axis.before
        inside = (position >= 0) & (position < axis.inputs)
    else:
        row = torch.arange(axis.inputs, device=device)
        ahead = row[:, None] + axis.before - axis.dilation * tap
        position = torch.div(ahead, axis.stride, rounding_mode="floor")
        inside = (ahead % axis.stride == 0) & (position >= 0) & (position < axis.outputs)
    return position.where(inside, -1)


def meetings(read: Int64[Tensor, "rows kernel"]) -> Float64[Tensor, "kernel*kernel rows rows"]:
    """`P[(u,v), y, y'] = 1` where tap u of row y and tap v of row y' read the same position inside the map."""
    rows, kernel = read.shape
    first, second = read.T[:, None, :, None], read.T[None, :, None, :]
    return ((first == second) & (first >= 0)).reshape(kernel * kernel, rows, rows).to(torch.float64)


def dense_gram(
    split: Float64[Tensor, "channels pairs1 pairs2"],
    meet1: Float64[Tensor, "pairs1 rows1 rows1"],
    meet2: Float64[Tensor, "pairs2 rows2 rows2"],
) -> Float64[Tensor, "channels rows1*rows2 rows1*rows2"]:
    """`G = A A^T` itself: two small matrix products, then the axes are brought together."""
    n1, n2 = meet1.shape[1], meet2.shape[1]
    gram = meet1.flatten(1).T @ (split @ meet2.flatten(1))
    return gram.reshape(len(split), n1, n1, n2, n2).permute(0, 1, 3, 2, 4).reshape(len(split), n1 * n2, n1 * n2)

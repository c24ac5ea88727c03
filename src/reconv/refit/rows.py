"""A layer as a linear map of rows: `signal[position] = row(position) @ matrix`.

For a convolution the row of an output position holds the inputs under its taps, in the order of the flattened weight;
a linear layer's row is its input. Padding, stride, dilation, one to three axes and transposed convolutions differ only
in the table that says which input position each tap of each output position reads.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from reconv.refit.layer_use import LayerUse


def tap_table(use: LayerUse, output_size: Sequence[int]) -> Tensor:
    """Flat input position of every tap of every output position, [positions, taps].

    Taps outside the map read position `math.prod(input size)`, where the caller puts a zero.
    """
    input_size = tuple(use.input.shape[2:])
    axes = []
    for axis, n in enumerate(input_size):
        stride, dilation, kernel = (
            _entry(use, "stride", axis, 1),
            _entry(use, "dilation", axis, 1),
            use.weight.shape[2 + axis],
        )
        ahead = (torch.arange(kernel) * dilation - _padding(use, axis, kernel, dilation))[None]
        out = torch.arange(output_size[axis])[:, None]
        if use.kind == "conv_transposed":
            place = out - ahead
            inside = (place % stride == 0) & (place >= 0) & (place < n * stride)
            place = place // stride
        else:
            place = out * stride + ahead
            inside = (place >= 0) & (place < n)
        axes.append(torch.where(inside, place, -1))
    table = torch.zeros(1, 1, dtype=torch.long)
    outside = torch.zeros(1, 1, dtype=torch.bool)
    for n, place in zip(input_size, axes, strict=True):
        table = (table[:, None, :, None] * n + place[None, :, None, :]).flatten(2).flatten(0, 1)
        outside = (outside[:, None, :, None] | (place < 0)[None, :, None, :]).flatten(2).flatten(0, 1)
    return table.masked_fill(outside, math.prod(input_size))


def _entry(use: LayerUse, name: str, axis: int, default: int) -> int:
    value = use.arguments.get(name, default)
    return int(value if isinstance(value, int) else value[axis if len(value) > 1 else 0])


def _padding(use: LayerUse, axis: int, kernel: int, dilation: int) -> int:
    value = use.arguments.get("padding", 0)
    if isinstance(value, str):
        return dilation * (kernel - 1) // 2 if value == "same" else 0
    return _entry(use, "padding", axis, 0)


@dataclass(frozen=True)
class Sampler:
    """Which output positions of which layer are looked at: the same ones in both networks.

    Args:
        images: how many there are in all.
        points: positions an image.
        seed: of the draw.
    """

    images: int
    points: int
    seed: int
    _drawn: dict[tuple[str, int, int, int], Tensor] = field(default_factory=dict, repr=False, compare=False)

    def positions(self, layer: str, items: int, count: int, bounds: tuple[int, float] = (0, math.inf)) -> Tensor:
        """Positions of every item of a layer, [items, points], ascending.

        Args:
            items: leading size of the layer's output for all images. count: positions of one item.
            bounds: rows that the layer needs, in all, if it has as many, and at most.
        """
        least, most = bounds
        points = max(math.ceil(self.points * self.images / items), math.ceil(least / items))
        points = math.ceil(min(points * items, most) / items)
        if points >= count:
            return torch.arange(count).expand(items, count)
        key = (layer, items, count, points)
        if key not in self._drawn:
            self._drawn[key] = self._draw(*key)
        return self._drawn[key]

    def _draw(self, layer: str, items: int, count: int, points: int) -> Tensor:
        generator = torch.Generator().manual_seed((zlib.crc32(layer.encode()) << 20) + self.seed)
        if count > 64 * points:  # a repeated position among so many does no harm
            drawn = torch.randint(count, (items, points), generator=generator)
        else:
            drawn = torch.rand(items, count, generator=generator).topk(points, 1).indices
        return drawn.sort(1).values


def signal_rows(signal: Tensor, kind: str, positions: Tensor) -> Tensor:
    """The signal at the sampled positions, [items * points, channels]."""
    if kind == "linear":
        flat = signal.reshape(len(signal), -1, signal.shape[-1])
        index = positions[..., None].expand(-1, -1, flat.shape[2])
        return flat.gather(1, index).flatten(0, 1)
    flat = signal.flatten(2)
    index = positions[:, None].expand(-1, flat.shape[1], -1)
    return flat.gather(2, index).transpose(1, 2).flatten(0, 1)


def input_rows(use: LayerUse, table: Tensor | None, positions: Tensor, constant: bool) -> Tensor:
    """What the layer reads at the sampled positions, [items * points, groups, inputs (+ 1)].

    Args:
        table: from `tap_table`; None for a linear layer.
        positions: [items, points].
        constant: append a column of ones, for the bias.
    """
    x = use.input
    if table is None:
        rows = signal_rows(x, "linear", positions)[:, None]
    else:
        items, channels = x.shape[:2]
        flat = x.flatten(2).transpose(1, 2)
        flat = torch.cat([flat, flat.new_zeros(items, 1, channels)], 1).flatten(0, 1)
        first = torch.arange(items, device=x.device)[:, None, None] * (len(flat) // items)
        taps = flat[(table[positions] + first).flatten(0, 1)]  # [rows, taps, channels]
        rows = taps.transpose(1, 2).reshape(len(taps), use.groups, -1)
    if constant:
        rows = torch.cat([rows, rows.new_ones(*rows.shape[:2], 1)], 2)
    return rows


def to_matrix(weight: Tensor, kind: str, groups: int) -> Tensor:
    """A weight as the matrix that rows are multiplied with, [groups, inputs, outputs]."""
    if kind == "conv_transposed":
        by_group = weight.reshape(groups, weight.shape[0] // groups, weight.shape[1], -1)
        return by_group.transpose(2, 3).flatten(1, 2)
    return weight.reshape(groups, weight.shape[0] // groups, -1).transpose(1, 2)


def from_matrix(matrix: Tensor, like: Tensor, kind: str) -> Tensor:
    """The inverse of `to_matrix`."""
    groups = len(matrix)
    if kind == "conv_transposed":
        split = matrix.reshape(groups, like.shape[0] // groups, -1, like.shape[1])
        return split.transpose(2, 3).reshape(like.shape)
    return matrix.transpose(1, 2).reshape(like.shape)


def split_outputs(values: Tensor, groups: int) -> Tensor:
    """[rows, outputs] -> [rows, groups, outputs / groups]."""
    return values.reshape(len(values), groups, -1)


def needed_rows(weight: Tensor, kind: str, groups: int) -> tuple[int, float]:
    """Rows for which least squares is well posed, and those beyond which more tell nothing.

    Four for each input of one output. A layer of many groups has as many rows as others and few inputs in each group,
    so that a depthwise one would take more memory than the rest of the network: two hundred an input are enough.
    """
    inputs = (weight[:, 0] if kind == "conv_transposed" else weight[0]).numel()
    return 4 * inputs, math.inf if groups == 1 else 200 * inputs


def output_positions(signal: Tensor | Sequence[int], kind: str) -> torch.Size:
    """The axes of a signal that count positions."""
    shape = torch.Size(signal.shape if isinstance(signal, Tensor) else signal)
    return shape[1:-1] if kind == "linear" else shape[2:]

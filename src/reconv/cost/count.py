"""Multiply-adds and parameters, counted.

We count one fused multiply-add as one. MACs are those of convolutions and linear layers, for one image; operators
that multiply elsewhere (attention's products) are named, not counted. Parameters are all of the model's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reconv.graph.channels import ChannelGraph, Layer, Mask


@dataclass(frozen=True)
class LayerCost:
    """MACs for one image, parameters (weight and bias), and widths of one layer."""

    name: str
    macs: int
    parameters: int
    in_channels: int
    out_channels: int


@dataclass(frozen=True)
class Profile:
    """The cost of a network.

    Args:
        layers: layer by layer.
        macs: multiply-adds of convolutions and linear layers for one image.
        parameters: of the whole model.
        uncounted: operators that multiply but belong to no layer, with how often they run.
    """

    layers: tuple[LayerCost, ...]
    macs: int
    parameters: int
    uncounted: Mapping[str, int]


def profile(graph: ChannelGraph, keep: Mask | None = None) -> Profile:
    """Count a network, or what is left of it when only the channel classes in `keep` stay."""
    sizes = {name: _size(graph, name, keep) for name in graph.trained}
    rows = []
    for layer in graph.layers:
        prefix = f"{layer.name}." if layer.weight is None or layer.weight.endswith(".weight") else layer.name
        own = sum(size for name, size in sizes.items() if name.startswith(prefix))
        if keep is None:
            widths = layer.in_channels, layer.out_channels
        else:
            widths = int(keep[layer.inputs].sum()), int(keep[layer.outputs].sum())
        rows.append(LayerCost(layer.name, layer.macs(keep), own, *widths))
    return Profile(tuple(rows), sum(row.macs for row in rows), sum(sizes.values()), graph.uncounted)


def _size(graph: ChannelGraph, parameter: str, keep: Mask | None) -> int:
    return math.prod(graph.shape(parameter, keep))


def total_macs(layers: Sequence[Layer], keep: Mask | None = None) -> int:
    """MACs of these layers for one image."""
    return sum(layer.macs(keep) for layer in layers)


def total_parameters(graph: ChannelGraph, keep: Mask | None = None) -> int:
    """Parameters of the model when only the channel classes in `keep` stay."""
    return sum(_size(graph, name, keep) for name in graph.trained)

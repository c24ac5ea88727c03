"""Multiply-adds and parameters, counted.

We count one fused multiply-add as one. MACs are those of convolutions and linear layers, for one image; operators
that multiply elsewhere (attention's products) are named, not counted. Parameters are all of the model's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from reconv.errors import ConfigError, check_kind
from reconv.graph import trace
from reconv.graph.channels import ChannelGraph, Layer, Mask


@dataclass(frozen=True)
class LayerCost:
    """MACs for one image, parameters (weight and bias), and widths of one layer."""

    name: str
    macs: int
    parameters: int
    in_channels: int
    out_channels: int


@dataclass(frozen=True, repr=False)
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

    def __repr__(self) -> str:
        layers = f"{len(self.layers)} layer{'s' * (len(self.layers) != 1)}"
        return f"Profile({layers}, {self.macs:,} MACs, {self.parameters:,} parameters)"


def profile(network: nn.Module | ChannelGraph, example: Any = None, *, keep: Mask | None = None) -> Profile:
    """Count a network, or what is left of it when only some channels stay.

    Args:
        network: a model, or its traced graph.
        example: what the model is called with: one tensor, a tuple of positional arguments, or a mapping of keywords.
            A graph has its own.
        keep: of a graph, which channel classes stay, as `plan.keep` says; None: all.

    Returns:
        MACs and parameters, in all and layer by layer.

    Raises:
        ConfigError: neither a graph nor a model with its example. GraphError: the model cannot be traced.

    Example:
        >>> import torch, reconv
        >>> reconv.profile(torch.nn.Conv2d(3, 8, 1), torch.zeros(1, 3, 4, 4))
        Profile(1 layer, 384 MACs, 32 parameters)
    """
    check_kind("profile: network", network, (nn.Module, ChannelGraph), "a model and its example, or a traced graph")
    if isinstance(network, ChannelGraph):
        return _profile(network, keep)
    if example is None or keep is not None:
        raise ConfigError(
            f"profile: got {type(network).__name__} {'without an example' if example is None else 'with keep='}; "
            "give profile(model, example) or profile(graph, keep=plan.keep)"
        )
    return _profile(trace(network, example), None)


def _profile(graph: ChannelGraph, keep: Mask | None) -> Profile:
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

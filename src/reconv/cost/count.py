"""Multiply-adds and parameters, counted.

We count one fused multiply-add as one. MACs are those of convolutions (deformable ones among them), linear and
recurrent layers, and products of two signals such as an attention's, for one image. What multiplies matrices and is
not known is named, not counted; so is no arithmetic element by element (norms, activations, additions, resampling).
Parameters are all of the model's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from reconv.errors import ConfigError, check_kind
from reconv.graph import trace
from reconv.graph.channels import ChannelGraph, Mask, SignalProduct


@dataclass(frozen=True)
class LayerCost:
    """MACs for one image, parameters (weight and bias), and widths of one layer."""

    name: str
    macs: int
    parameters: int
    in_channels: int
    out_channels: int


@dataclass(frozen=True)
class ProductCost:
    """MACs for one image of an operator that belongs to no layer, in one module."""

    operator: str
    module: str
    macs: int


@dataclass(frozen=True, repr=False)
class Profile:
    """The cost of a network.

    Args:
        layers: layer by layer.
        macs: multiply-adds of layers and products for one image.
        parameters: of the whole model.
        uncounted: operators that multiply matrices, nobody knows how often, and how often they run.
        products: operators that belong to no layer, such as an attention's products.
    """

    layers: tuple[LayerCost, ...]
    macs: int
    parameters: int
    uncounted: Mapping[str, int]
    products: tuple[ProductCost, ...] = ()

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
    products = tuple(ProductCost(p.operator, p.module, _macs_of(graph, p, keep)) for p in graph.products)
    macs = sum(row.macs for row in rows) + sum(product.macs for product in products)
    return Profile(tuple(rows), macs, sum(sizes.values()), graph.uncounted, products)


def _size(graph: ChannelGraph, parameter: str, keep: Mask | None) -> int:
    return math.prod(graph.shape(parameter, keep))


def total_macs(graph: ChannelGraph, keep: Mask | None = None) -> int:
    """MACs of the network for one image when only the channel classes in `keep` stay."""
    layers = sum(layer.macs(keep) for layer in graph.layers)
    return layers + sum(_macs_of(graph, product, keep) for product in graph.products)


def _macs_of(graph: ChannelGraph, product: SignalProduct, keep: Mask | None) -> int:
    if keep is None:
        return round(product.entry * math.prod(plane.size for plane in product.planes))
    if not keep[graph.needs_of(product.operation)].all():
        return 0
    return round(product.entry * math.prod(int(keep[plane].sum()) for plane in product.planes))


def total_parameters(graph: ChannelGraph, keep: Mask | None = None) -> int:
    """Parameters of the model when only the channel classes in `keep` stay."""
    return sum(_size(graph, name, keep) for name in graph.trained)

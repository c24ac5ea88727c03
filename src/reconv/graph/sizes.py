"""The attributes of modules that repeat sizes: of their own parameters, or of channels that they count."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.modules.instancenorm import _InstanceNorm

from reconv.graph.channels import ChannelGraph, Mask
from reconv.graph.labels import Plane
from reconv.provenance import Edit

Edits = dict[str, Edit]


def _conv_sizes(module: Any) -> Edits:
    first, second = module.weight.shape[:2]
    # Groups go only where each has one input channel; then as many stay as there are inputs.
    groups = module.groups
    if groups > 1 and groups == module.in_channels:
        groups = first if isinstance(module, _ConvTransposeNd) else first // (module.out_channels // module.in_channels)
    if isinstance(module, _ConvTransposeNd):
        return {"in_channels": first, "out_channels": second * groups, "groups": groups}
    return {"in_channels": second * groups, "out_channels": first, "groups": groups}


def _linear_sizes(module: Any) -> Edits:
    return {"out_features": module.weight.shape[0], "in_features": module.weight.shape[1]}


def _first_size(attribute: str) -> Callable[[Any], Edits]:
    def sizes(module: Any) -> Edits:
        tensors = [getattr(module, name, None) for name in ("weight", "bias", "running_mean")]
        tensor = next((t for t in tensors if t is not None), None)
        return {} if tensor is None else {attribute: len(tensor)}

    return sizes


def _normalized_shape(module: Any) -> Edits:
    return {} if module.weight is None else {"normalized_shape": tuple(module.weight.shape)}


def _attention_sizes(module: Any) -> Edits:
    """Heads go as a whole: their size stays."""
    joint = module.in_proj_weight is not None
    q, k, v = (module.in_proj_weight if joint else getattr(module, f"{name}_proj_weight") for name in "qkv")
    sizes = {"embed_dim": q.shape[1], "kdim": k.shape[1], "vdim": v.shape[1]}
    return sizes | {"num_heads": q.shape[1] // module.head_dim}


def _recurrent_sizes(module: Any) -> Edits:
    """What it reads may have shrunk; its hidden size stays."""
    return {"input_size": module.weight_ih_l0.shape[1]}


# Module kind -> the sizes that its parameters imply. Subclasses follow their base; the first row that fits counts.
SIZES: list[tuple[type[nn.Module], Callable[[Any], Edits]]] = [
    (_ConvNd, _conv_sizes),
    (nn.Linear, _linear_sizes),
    (_BatchNorm, _first_size("num_features")),
    (_InstanceNorm, _first_size("num_features")),
    (nn.GroupNorm, _first_size("num_channels")),
    (nn.LayerNorm, _normalized_shape),
    (nn.RMSNorm, _normalized_shape),
    (nn.MultiheadAttention, _attention_sizes),
    (nn.PReLU, _first_size("num_parameters")),
    (nn.RNNBase, _recurrent_sizes),
]


def register_adapter(kind: type[nn.Module], sizes_of: Callable[[Any], Edits]) -> None:
    """Say which attributes of a module repeat sizes of its parameters, so that they follow a cut.

    Args:
        kind: of the module; it comes before the kinds in the table.
        sizes_of: from a module whose parameters have been cut, and those of its children, to what its attributes
            have to be: `lambda m: {"width": m.weight.shape[0]}`.

    Example:
        >>> import torch, reconv
        >>> class Scale(torch.nn.Module):
        ...     def __init__(self, width):
        ...         super().__init__()
        ...         self.width, self.weight = width, torch.nn.Parameter(torch.ones(width))
        >>> reconv.register_adapter(Scale, lambda module: {"width": len(module.weight)})
    """
    SIZES.insert(0, (kind, sizes_of))


def size_at(module: nn.Module, name: str) -> Any:
    """What an attribute holds, or an entry of the lists and mappings in it: `feature_info.2.num_chs`; None: nothing."""
    first, *path = name.split(".")
    value = vars(module).get(first)
    for part in path:
        if isinstance(value, list):
            value = value[int(part)] if part in map(str, range(len(value))) else None
        else:
            value = value.get(part) if isinstance(value, dict) else None
    return value


def set_size(module: nn.Module, name: str, value: Edit) -> None:
    """Set an attribute, or an entry in a copy of its lists and mappings, which other modules may hold too."""
    first, *path = name.split(".")
    if path:
        entry = holder = copy.deepcopy(vars(module)[first])
        for part in path[:-1]:
            entry = entry[int(part)] if isinstance(entry, list) else entry[part]
        entry[int(path[-1]) if isinstance(entry, list) else path[-1]] = value
    setattr(module, first, holder if path else value)


def follow_sizes(module: nn.Module, path: str, graph: ChannelGraph, keep: Mask) -> Edits:
    """Set the attributes that repeat a size which has changed; returns what was set."""
    edits: Edits = {}
    for kind, sizes_of in SIZES:
        if isinstance(module, kind):
            edits = {k: v for k, v in sizes_of(module).items() if getattr(module, k, v) != v}
            break
    for attribute, counted in graph.sizes.get(path, {}).items():
        old = getattr(module, attribute)
        new = tuple(_count(p, keep) for p in counted) if isinstance(counted, tuple) else _count(counted, keep)
        if new != old:
            edits[attribute] = new
    for attribute, value in edits.items():
        setattr(module, attribute, value)
    return edits


def _count(counted: Plane | int, keep: Mask) -> int:
    return counted if isinstance(counted, int) else int(keep[counted].sum())

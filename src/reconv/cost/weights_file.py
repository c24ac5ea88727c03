"""How many bytes the saved weights take, before they are saved."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Mapping

import torch
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from reconv.files import tensors_size
from reconv.graph.bypass import is_within, vanishing
from reconv.graph.channels import ChannelGraph, Mask
from reconv.graph.copies import copy_model, parameters_and_buffers
from reconv.graph.sizes import Edits, follow_sizes
from reconv.provenance import file_metadata, provenance_of


def file_size(graph: ChannelGraph, keep: Mask | None = None) -> int:
    """Bytes of the safetensors file that `reconv.save` writes, header included.

    Args:
        graph: of the network. keep: which channel classes stay; None: all.
    """
    model = graph.model
    names = _names(model)
    tensors = {}
    for path, module in model.named_modules(remove_duplicate=False):  # a file holds a module once for each of its names
        for store in (module._parameters, module._buffers):
            for attribute, tensor in store.items():
                if tensor is None or (keep is not None and not graph.has(names[id(tensor)], keep)):
                    continue
                shape = tuple(tensor.shape)
                if keep is not None and names[id(tensor)] in graph.parameters:
                    shape = graph.shape(names[id(tensor)], keep)
                # What the class builds anew is not saved, as long as it would build it right.
                if attribute not in module._non_persistent_buffers_set or shape != tuple(tensor.shape):
                    tensors[f"{path}.{attribute}" if path else attribute] = (tensor.dtype, shape)
    edits = {} if keep is None else _edits(graph, keep)
    removed = {} if keep is None else graph.stand_ins(keep)
    return tensors_size(tensors, file_metadata(provenance_of(model).without(removed).edited(edits)))


def times_saved(model: nn.Module) -> Counter[int]:
    """How often a file holds each parameter and buffer, by its id: once for each name that leads to it."""
    return Counter(
        id(tensor)
        for _, module in model.named_modules(remove_duplicate=False)
        for tensor in (*module._parameters.values(), *module._buffers.values())
        if tensor is not None
    )


def _edits(graph: ChannelGraph, keep: Mask) -> dict[str, Edits]:
    """The attributes that a cut sets, by module, computed on stand-ins that have shapes and no data."""
    names = _names(graph.model)
    edits: dict[str, Edits] = {}
    removed = vanishing(graph.stand_ins(keep))
    for path, module in graph.model.named_modules():
        if any(is_within(path, other) for other in removed):
            continue
        if is_parametrized(module):
            if sizes_set := _edits_of_parametrized(module, names, path, graph, keep):
                edits[path] = sizes_set
            continue
        if not module._parameters and not module._buffers and path not in graph.sizes:
            continue
        stand_in = copy.copy(module)
        for store in ("_parameters", "_buffers"):
            tensors = {}
            for attribute, tensor in getattr(module, store).items():
                known = tensor is not None and names[id(tensor)] in graph.parameters
                shape = graph.shape(names[id(tensor)], keep) if known else () if tensor is None else tensor.shape
                tensors[attribute] = None if tensor is None else torch.empty(shape, device="meta")
            stand_in.__dict__[store] = tensors
        sizes_set = follow_sizes(stand_in, path, graph, keep)
        if sizes_set:
            edits[path] = sizes_set
    return edits


def _names(model: nn.Module) -> dict[int, str]:
    """The first name of every parameter and buffer, by its id."""
    return {id(tensor): name for name, tensor in [*model.named_parameters(), *model.named_buffers()]}


def _edits_of_parametrized(
    module: nn.Module, names: Mapping[int, str], path: str, graph: ChannelGraph, keep: Mask
) -> Edits:
    """A weight that is computed from others is computed without data too."""
    tensors = {}
    for tensor in (t for part in parameters_and_buffers(module) for t in part.values()):
        name = names[id(tensor)]
        shape = graph.shape(name, keep) if name in graph.parameters else tuple(tensor.shape)
        empty = torch.empty(shape, device="meta")
        tensors[id(tensor)] = nn.Parameter(empty, False) if isinstance(tensor, nn.Parameter) else empty
    return follow_sizes(copy_model(module, tensors), path, graph, keep)

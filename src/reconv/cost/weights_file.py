"""How many bytes the saved weights take, before they are saved."""

from __future__ import annotations

import copy

import torch

from reconv.files import tensors_size
from reconv.graph.channels import ChannelGraph, Mask
from reconv.graph.sizes import Edits, follow_sizes
from reconv.provenance import file_metadata, provenance_of


def file_size(graph: ChannelGraph, keep: Mask | None = None) -> int:
    """Bytes of the safetensors file that `reconv.save` writes, header included.

    Args:
        graph: of the network. keep: which channel classes stay; None: all.
    """
    model = graph.model
    names = {id(tensor): name for name, tensor in [*model.named_parameters(), *model.named_buffers()]}
    tensors = {}
    for path, module in model.named_modules():
        for store in (module._parameters, module._buffers):
            for attribute, tensor in store.items():
                if tensor is None:
                    continue
                shape = tuple(tensor.shape)
                if keep is not None and names[id(tensor)] in graph.parameters:
                    shape = graph.shape(names[id(tensor)], keep)
                # What the class builds anew is not saved, as long as it would build it right.
                if attribute not in module._non_persistent_buffers_set or shape != tuple(tensor.shape):
                    tensors[f"{path}.{attribute}" if path else attribute] = (tensor.dtype, shape)
    edits = {} if keep is None else _edits(graph, keep)
    return tensors_size(tensors, file_metadata(provenance_of(model).edited(edits)))


def _edits(graph: ChannelGraph, keep: Mask) -> dict[str, Edits]:
    """The attributes that a cut sets, by module, computed on stand-ins that have shapes and no data."""
    edits = {}
    for path, module in graph.model.named_modules():
        sizes = {a: f"{path}.{a}" if path else a for a in (*module._parameters, *module._buffers)}
        if not sizes and path not in graph.sizes:
            continue
        stand_in = copy.copy(module)
        for store in ("_parameters", "_buffers"):
            tensors = {}
            for attribute, tensor in getattr(module, store).items():
                is_parameter = tensor is not None and sizes[attribute] in graph.parameters
                shape = graph.shape(sizes[attribute], keep) if is_parameter else () if tensor is None else tensor.shape
                tensors[attribute] = None if tensor is None else torch.empty(shape, device="meta")
            stand_in.__dict__[store] = tensors
        sizes_set = follow_sizes(stand_in, path, graph, keep)
        if sizes_set:
            edits[path] = sizes_set
    return edits

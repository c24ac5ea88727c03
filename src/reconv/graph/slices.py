"""What stays of a parameter when channels go."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from reconv.graph.channels import Mask
from reconv.graph.copies import memory_format_of
from reconv.graph.labels import Plane, axes_of


def cut_tensor(tensor: Tensor, planes: tuple[Plane, ...], keep: Mask) -> Tensor:
    """The entries whose channels all stay, as a parameter if it was one, laid out in memory as before."""
    result = whole = tensor.detach()
    if any(len(axes_of(p)) > 1 for p in planes):
        result = _cut_crossed(result, planes, keep)
    else:
        for plane in planes:
            kept = keep[plane].ravel()
            if not kept.all():
                result = result.index_select(axes_of(plane)[0], _indices(kept, tensor.device))
    laid_out = memory_format_of(tensor)
    result = whole.clone(memory_format=laid_out) if result is whole else result.contiguous(memory_format=laid_out)
    return nn.Parameter(result, requires_grad=tensor.requires_grad) if isinstance(tensor, nn.Parameter) else result


def _indices(kept: Mask, device: torch.device) -> Tensor:
    return torch.from_numpy(np.flatnonzero(kept)).to(device)


def _cut_crossed(tensor: Tensor, planes: tuple[Plane, ...], keep: Mask) -> Tensor:
    """A grouped convolution's weight: each output channel keeps the inputs of its own group, equally many."""
    mask = np.ones(tuple(tensor.shape), dtype=np.bool_)
    shape = list(tensor.shape)
    for plane in planes:
        if len(axes_of(plane)) == 1:
            shape[axes_of(plane)[0]] = int(keep[plane].sum())
        else:
            row, column = axes_of(plane)
            shape[column] = int(keep[plane].reshape(tensor.shape[row], -1).sum(1)[0])
        mask &= np.broadcast_to(keep[plane], mask.shape)
    return tensor.flatten().index_select(0, _indices(mask, tensor.device)).reshape(shape)

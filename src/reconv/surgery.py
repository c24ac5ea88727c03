"""Cut a copy of the model as a plan says, and prove that the cut is right.

The edited thing is the user's own module: every parameter keeps the indices whose channels stay, and the attributes
that repeat a size (`out_channels`, `num_features`, ...) follow. The oracle: zero exactly those entries in the big
network instead of removing them; both must compute the same.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from reconv.errors import GraphError
from reconv.graph.channels import Mask
from reconv.graph.labels import Plane, axes_of
from reconv.plan import Plan
from reconv.provenance import Edit, attach, provenance_of

Edits = dict[str, Edit]


def prune(model: nn.Module, plan: Plan) -> nn.Module:
    """Remove the plan's channels from a copy of the model.

    Args:
        model: the traced model, or another checkpoint of its architecture; it is not touched.
        plan: from `choose`.

    Returns:
        A new model on the same device, in the same mode, with the same trainable flags; it carries its provenance.

    Raises:
        GraphError: the model's parameters are not those that the plan is for.
    """
    _check_same_architecture(model, plan)
    small = copy.deepcopy(model)
    keep = plan.keep
    cut: dict[int, Tensor] = {}  # tied parameters stay tied
    for path, module in small.named_modules():
        for store in (module._parameters, module._buffers):
            for attribute, tensor in store.items():
                name = f"{path}.{attribute}" if path else attribute
                if tensor is None or (id(tensor) not in cut and name not in plan.graph.parameters):
                    continue
                if id(tensor) not in cut:
                    cut[id(tensor)] = _cut(tensor, plan.graph.parameters[name], keep)
                store[attribute] = cut[id(tensor)]
    edits = {}
    for path, module in small.named_modules():
        changed = _follow_sizes(module, path, plan, keep)
        if changed:
            edits[path] = changed
    return attach(small, provenance_of(model).edited(edits))


def _check_same_architecture(model: nn.Module, plan: Plan) -> None:
    here = {name: tuple(t.shape) for name, t in [*model.named_parameters(), *model.named_buffers()]}
    graph = plan.graph
    everything = np.ones(graph.classes, dtype=np.bool_)
    for name in graph.parameters:
        if name not in here or here[name] != graph.shape(name, everything):
            raise GraphError(
                f"{name}: the plan is for the shape {graph.shape(name, everything)}, the model has "
                f"{here.get(name, 'no such parameter')}; give the model that was traced, or one of its architecture"
            )


def _cut(tensor: Tensor, planes: tuple[Plane, ...], keep: Mask) -> Tensor:
    """The entries whose channels all stay, as a parameter if it was one."""
    result = tensor.detach()
    crossed = [p for p in planes if len(axes_of(p)) > 1]
    if crossed:
        result = _cut_crossed(result, planes, keep)
    else:
        for plane in planes:
            kept = keep[plane].ravel()
            if not kept.all():
                index = torch.from_numpy(np.flatnonzero(kept)).to(tensor.device)
                result = result.index_select(axes_of(plane)[0], index)
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(result.clone(), requires_grad=tensor.requires_grad)
    return result.clone()


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
    return tensor[torch.from_numpy(mask).to(tensor.device)].reshape(shape)


def _follow_sizes(module: nn.Module, path: str, plan: Plan, keep: Mask) -> Edits:
    """Set the attributes that repeat a size which has changed; returns what was set."""
    edits: Edits = {}
    for kind, sizes_of in SIZES:
        if isinstance(module, kind):
            edits = {k: v for k, v in sizes_of(module).items() if getattr(module, k, v) != v}
            break
    if path in plan.graph.paddings:
        for attribute, classes in zip(module.channel_padding, plan.graph.paddings[path], strict=True):  # type: ignore[arg-type]
            left = int(keep[classes].sum())
            if left != len(classes):
                edits[attribute] = left
    for attribute, value in edits.items():
        setattr(module, attribute, value)
    return edits


def _conv_sizes(module: Any) -> Edits:
    first, second = module.weight.shape[:2]
    # Groups go only where each has one input channel; then as many are left as there are inputs.
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
        found = next((t for t in tensors if t is not None), None)
        return {} if found is None else {attribute: len(found)}

    return sizes


def _normalized_shape(module: Any) -> Edits:
    return {} if module.weight is None else {"normalized_shape": tuple(module.weight.shape)}


# Module kind -> the sizes that its parameters imply. Subclasses follow their base.
SIZES: tuple[tuple[type[nn.Module], Callable[[Any], Edits]], ...] = (
    (_ConvNd, _conv_sizes),
    (nn.Linear, _linear_sizes),
    (_BatchNorm, _first_size("num_features")),
    (nn.GroupNorm, _first_size("num_channels")),
    (nn.LayerNorm, _normalized_shape),
    (nn.PReLU, _first_size("num_parameters")),
)


# ------------------------------------------------------------------ the proof


def verify(model: nn.Module, small: nn.Module, plan: Plan, seed: int = 0) -> float:
    """How far removing is from zeroing, in float64.

    The removed entries of every parameter are set to zero in a copy of `model`; both networks see the same random
    input of the traced shape. Norms over channels take their statistics over those that stay.

    Returns:
        Largest difference of the outputs, relative to the largest output. Rounding alone gives about 1e-15.
    """
    big = copy.deepcopy(model).double().eval()
    cut = copy.deepcopy(small).double().eval()
    keep = plan.keep
    masks: dict[int, Mask] = {}
    with torch.no_grad():
        for name, parameter in big.named_parameters():
            mask = np.ones(tuple(parameter.shape), dtype=np.bool_)
            for plane in plan.graph.parameters.get(name, ()):
                mask &= keep[plane]
            if not mask.all():
                parameter.mul_(torch.from_numpy(mask).to(parameter.device))
                masks[id(parameter)] = mask
        device = next(big.parameters()).device
        generator = torch.Generator().manual_seed(seed)
        inputs = [torch.randn(s, generator=generator, dtype=torch.float64).to(device) for s in plan.graph.example]
        with _StatisticsOfKept(masks):
            expected = pytree.tree_leaves(big(*inputs))
        found = pytree.tree_leaves(cut(*inputs))
    pairs = [(a, b) for a, b in zip(expected, found, strict=True) if isinstance(a, Tensor)]
    scale = max(float(a.abs().max()) for a, _ in pairs)
    return max(float((a - b).abs().max()) for a, b in pairs) / max(scale, 1e-300)


class _StatisticsOfKept(TorchFunctionMode):
    """Layer and group norms whose weight was masked see only the channels that stay."""

    def __init__(self, masks: Mapping[int, Mask]):
        super().__init__()
        self.masks = masks

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = dict(zip(("input", "groups", "weight", "bias", "eps"), args, strict=False)) | (kwargs or {})
        axis = {F.layer_norm: -1, F.group_norm: 1}.get(func)
        if axis is None or id(given.get("weight")) not in self.masks:
            return func(*args, **(kwargs or {}))
        signal = given["input"]
        kept = torch.from_numpy(np.flatnonzero(self.masks[id(given["weight"])])).to(signal.device)
        weight, bias = (None if given.get(k) is None else given[k][kept] for k in ("weight", "bias"))
        if func is F.layer_norm:
            part = F.layer_norm(signal[..., kept], (len(kept),), weight, bias, given["eps"])
        else:
            part = F.group_norm(signal[:, kept], given.get("groups") or given["num_groups"], weight, bias, given["eps"])
        return torch.zeros_like(signal).index_copy(axis, kept, part)

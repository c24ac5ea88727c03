"""Cut a copy of the model as a plan says.

The edited thing is the user's own module: every parameter keeps the indices whose channels stay, and the attributes
that repeat a size (`out_channels`, `num_features`, ...) follow.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor, nn

from reconv.errors import GraphError, check_kind, wrong_kind
from reconv.graph.bypass import bypass
from reconv.graph.channels import ChannelGraph, Mask
from reconv.graph.copies import copy_model, named_modules, parameters_and_buffers
from reconv.graph.feature_sizes import follow_features
from reconv.graph.sizes import follow_sizes
from reconv.graph.slices import cut_tensor as cut_tensor
from reconv.provenance import attach, provenance_of


class Removal(Protocol):
    """What a cut needs of a plan: the graph of the network, and which channel classes stay, [classes]."""

    @property
    def graph(self) -> ChannelGraph: ...
    @property
    def keep(self) -> Mask: ...


def check_plan(argument: str, plan: object) -> None:
    """Refuse what is no plan.

    Raises:
        WrongKindError: with what to pass.
    """
    if not isinstance(getattr(plan, "graph", None), ChannelGraph):
        raise wrong_kind(argument, plan, "the plan that reconv.choose(graph, scores, budget) returns")


def prune(model: nn.Module, plan: Removal) -> nn.Module:
    """Remove the plan's channels and branches from a copy of the model.

    Args:
        model: the traced model, or another checkpoint of its architecture; it is not touched.
        plan: from `choose`.

    Returns:
        A new model on the same device, in the same mode, with the same trainable flags; it carries its provenance.

    Raises:
        GraphError: the model's parameters are not those that the plan is for.

    Example:
        >>> import torch, reconv
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 16, 3), torch.nn.ReLU(), torch.nn.Conv2d(16, 8, 3))
        >>> graph = reconv.trace(model, torch.zeros(1, 3, 8, 8))
        >>> small = reconv.prune(model, reconv.choose(graph, reconv.score(graph), reconv.Budget(macs=0.5)))
        >>> small[0]
        Conv2d(3, 8, kernel_size=(3, 3), stride=(1, 1))
    """
    check_kind("prune: model", model, nn.Module)
    check_plan("prune: plan", plan)
    parameters, buffers = parameters_and_buffers(model)  # tied ones once, so that they stay tied
    tensors = parameters | buffers
    _check_same_architecture(tensors, plan)
    keep = plan.keep
    planes = plan.graph.parameters
    staying = [name for name in planes if plan.graph.has(name, keep)]
    small = copy_model(model, {id(tensors[name]): cut_tensor(tensors[name], planes[name], keep) for name in staying})
    removed = plan.graph.stand_ins(keep)
    bypass(small, removed)
    modules, originals = dict(named_modules(small)), dict(named_modules(model))
    for path, module in modules.items():
        before = originals.get(path, module)
        for attribute, buffer in module._buffers.items():
            old = before._buffers.get(attribute)
            if buffer is not None and old is not None and buffer.shape != old.shape:
                # What the class would build anew is no longer right.
                module._non_persistent_buffers_set.discard(attribute)
    edits = {}
    for path, module in modules.items():
        if path in removed:
            continue
        changed = follow_sizes(module, path, plan.graph, keep)
        if changed:
            edits[path] = changed
    for path, changed in follow_features(small, plan.graph, keep).items():
        edits[path] = {**edits.get(path, {}), **changed}
    if isinstance(small, nn.DataParallel):  # what is inside may be saved by itself
        inside = {path.removeprefix("module."): changed for path, changed in edits.items()}
        gone = {path.removeprefix("module."): outputs for path, outputs in removed.items()}
        attach(small.module, provenance_of(model).without(gone).edited(inside))
    return attach(small, provenance_of(model).without(removed).edited(edits))


def _check_same_architecture(tensors: Mapping[str, Tensor], plan: Removal) -> None:
    for name in plan.graph.parameters:
        tensor, shape = tensors.get(name), plan.graph.shape(name)
        if tensor is None or tuple(tensor.shape) != shape:
            raise GraphError(
                f"{name}: the plan is for the shape {shape}, the model has "
                f"{'no such parameter' if tensor is None else tuple(tensor.shape)}; "
                "give the model that was traced, or one of its architecture"
            )

"""A network as it would be after a cut, without data: shapes only."""

from __future__ import annotations

from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from reconv.graph.bypass import bypass
from reconv.graph.channels import ChannelGraph, Mask
from reconv.graph.copies import copy_model, fake_like, named_modules, parameters_and_buffers
from reconv.graph.sizes import follow_sizes


def cut_without_data(graph: ChannelGraph, keep: Mask | None, fake: FakeTensorMode) -> nn.Module:
    """A copy of the traced model from which all channel classes but those in `keep` are gone; None: it is whole.

    Parameters and buffers hold no data; the attributes of modules follow as they do when the model itself is cut.
    """
    parameters, buffers = parameters_and_buffers(graph.model)

    def has(name: str) -> bool:
        return keep is None or graph.has(name, keep)

    tensors = {
        # What has no channels has the shape that it has now: a forward may have filled it since the trace.
        id(tensor): fake_like(
            tensor, fake, graph.shape(name, keep) if graph.parameters.get(name) and has(name) else None
        )
        for name, tensor in (parameters | buffers).items()
    }
    copy = copy_model(graph.model, tensors, own_runs=True)
    if keep is not None:
        stand_ins = graph.stand_ins(keep)
        bypass(copy, stand_ins)
        for path, module in named_modules(copy):
            if path not in stand_ins:
                follow_sizes(module, path, graph, keep)
    return copy

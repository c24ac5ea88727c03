"""How much memory the activations of a forward pass take, counted while it runs: with data or without.

`peak_memory` says it for any cut at once, from the lifetimes and labels of one pass through the whole network. That
can be too much: where a cut leaves one channel along an axis, PyTorch copies less, and its attention layers may take a
fused path. A pass without data through the cut network itself says it to the byte.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from reconv.cost.lifetimes import FAILS, peak_memory
from reconv.errors import GraphError
from reconv.graph.channels import ChannelGraph, Mask
from reconv.graph.copies import without_data
from reconv.graph.meta_cut import cut_without_data
from reconv.graph.tracing import call_arguments
from reconv.modes import evaluating


def measure_memory(model: nn.Module, example: Any) -> int:
    """Bytes of live activations at the widest moment of one forward pass, on PyTorch's own storages.

    Args:
        model: run in evaluation mode, without gradients; its mode is restored.
        example: one tensor, a tuple of positional arguments, or a mapping of keyword arguments.

    Returns:
        Bytes, the input among them; parameters, buffers and what kernels use inside are not.
    """
    with evaluating(model):
        return _counted(model, example)


def predicted_memory(graph: ChannelGraph, keep: Mask | None = None) -> int | None:
    """What `measure_memory` will say of the cut network, on the graph's example.

    Args:
        graph: of the network. keep: which channel classes stay; None: all.

    Returns:
        Bytes; None where the network's forward looks at values, and a second pass runs other operators than the first.
    """
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    try:
        twin = cut_without_data(graph, keep, fake).eval()
        example = without_data(graph.inputs, fake)
        with torch.random.fork_rng(devices=[]), fake:
            return _counted(twin, example)
    except FAILS:  # a forward that needs data, as when it was traced
        pass
    try:
        return peak_memory(graph, keep)
    except GraphError:
        return None


def _counted(model: nn.Module, example: Any) -> int:
    args, kwargs = call_arguments(example)
    counter = _Alive([*model.parameters(), *model.buffers()])
    with torch.no_grad(), counter:
        model(*args, **kwargs)
    return counter.peak


class _Alive(TorchDispatchMode):
    """Counts what is alive after each operator: the storages of all tensors that it has seen, but some."""

    def __init__(self, others: Sequence[Tensor]) -> None:
        super().__init__()
        self.others = {StorageWeakRef(t.untyped_storage()) for t in others}
        self.seen: dict[StorageWeakRef, int] = {}
        self.peak = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in pytree.tree_leaves((args, kwargs, result)):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                self.seen[StorageWeakRef(storage)] = storage.nbytes()
        self.seen = {ref: size for ref, size in self.seen.items() if not ref.expired() and ref not in self.others}
        self.peak = max(self.peak, sum(self.seen.values()))
        return result

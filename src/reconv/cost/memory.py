"""How much memory the activations of a forward pass take, measured while it runs: what `peak_memory` predicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from reconv.graph.trace import call_arguments


def measure_memory(model: nn.Module, example: Any) -> int:
    """Bytes of live activations at the widest moment of one forward pass, on PyTorch's own storages.

    Args:
        model: run in evaluation mode, without gradients; its mode is restored.
        example: one tensor, a tuple of positional arguments, or a mapping of keyword arguments.

    Returns:
        Bytes, the input among them; parameters, buffers and what kernels use inside are not.
    """
    modes = {module: module.training for module in model.modules()}
    args, kwargs = call_arguments(example)
    counter = _Alive([*model.parameters(), *model.buffers()])
    try:
        model.eval()
        with torch.no_grad(), counter:
            model(*args, **kwargs)
    finally:
        for module, training in modes.items():
            module.training = training
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

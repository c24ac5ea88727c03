"""How much memory the activations of one forward pass take at its widest moment.

We count what is alive when an operator has just given its result: the network's input, and every tensor that the
pass has made and that the model's code still holds. A tensor lives as long as Python lets it: until the last variable
that holds it is gone, which may be later than its last use. Tensors that share memory (views, results in place)
count once; parameters, buffers, and what a kernel uses inside do not count. When a tensor is given up depends on the
model's code and not on its widths, so lifetimes are observed once, without data, and sizes follow from the labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from reconv.errors import GraphError
from reconv.graph.channels import ChannelGraph, Mask
from reconv.graph.copies import copy_without_data, without_data
from reconv.graph.labels import Plane
from reconv.graph.questions import NoFastPath
from reconv.graph.record import DETACH
from reconv.graph.tracing import call_arguments, in_one_line

FAILS = (RuntimeError, NotImplementedError, TypeError)  # what a forward that needs data raises without it


@dataclass(frozen=True, eq=False)
class Activation:
    """A piece of memory that lives for a part of the forward pass.

    Args:
        entry: bytes for each channel of every plane: the item's size times the axes that no channel varies along.
        planes: channel classes along its axes; () where its size is fixed.
        born, last: the first and the last operator at whose end it is alive.
    """

    entry: int
    planes: tuple[Plane, ...]
    born: int
    last: int

    def size(self, keep: Mask | None = None) -> int:
        """Bytes, of the channels that stay."""
        size = self.entry
        for plane in self.planes:
            size *= plane.size if keep is None else int(keep[plane].sum())
        return size


_known: WeakKeyDictionary[ChannelGraph, tuple[Activation, ...]] = WeakKeyDictionary()


def activations(graph: ChannelGraph) -> tuple[Activation, ...]:
    """The memory that a forward pass on the graph's example takes, piece by piece.

    Raises:
        GraphError: two passes of the model run different operators.
    """
    if graph not in _known:
        _known[graph] = _observed(graph)
    return _known[graph]


def peak_memory(graph: ChannelGraph, keep: Mask | None = None) -> int:
    """Bytes of live activations at the widest moment of one forward pass, for the example's batch.

    Args:
        graph: of the network. keep: which channel classes stay; None: all.
    """
    found = activations(graph)
    change = np.zeros(len(graph.forward) + 1, dtype=np.int64)
    for activation in found:
        size = activation.size(keep)
        change[activation.born] += size
        change[activation.last + 1] -= size
    return int(change.cumsum().max())


@dataclass
class _Life:
    memory: StorageWeakRef
    entry: int
    planes: tuple[Plane, ...]
    born: int
    last: int


class _Lifetimes(TorchDispatchMode):
    """Sees memory come and go, and keeps none of it alive."""

    def __init__(self, graph: ChannelGraph, others: Sequence[Tensor], inputs: Sequence[Tensor]):
        super().__init__()
        self.graph = graph
        self.place = 0
        self.done: list[_Life] = []
        self.others = {StorageWeakRef(t.untyped_storage()) for t in others}
        self.alive = {
            ref: _Life(ref, t.untyped_storage().nbytes(), (), 0, 0)
            for t in inputs
            if (ref := StorageWeakRef(t.untyped_storage())) not in self.others
        }

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        outputs = func(*args, **(kwargs or {}))
        if func.namespace == "prim":  # a question, which the trace does not count
            return outputs
        operator = f"{func.namespace}.{func._opname}"
        if operator == DETACH:
            return outputs
        if self.place >= len(self.graph.forward) or self.graph.forward[self.place].operator != operator:
            raise GraphError(
                f"{type(self.graph.model).__name__}: a second forward pass runs other operators than the first "
                f"({operator}), so its memory cannot be predicted; ask for no memory budget"
            )
        tensors = [t for t in pytree.tree_leaves(outputs) if isinstance(t, Tensor)]
        for life in self.ended():
            life.last = self.place - 1
        for tensor, output in zip(tensors, self.graph.forward[self.place].outputs, strict=True):
            storage = tensor.untyped_storage()
            ref = StorageWeakRef(storage)
            if ref not in self.alive and ref not in self.others:
                planes = tuple(self.graph.labels[plane] for plane in output.planes)
                labeled = int(np.prod([plane.size for plane in planes], dtype=np.int64))
                self.alive[ref] = _Life(ref, storage.nbytes() // max(labeled, 1), planes, self.place, self.place)
        self.place += 1
        return outputs

    def ended(self) -> list[_Life]:
        """Those that are gone by now."""
        gone = [self.alive.pop(ref) for ref in list(self.alive) if ref.expired()]
        self.done += gone
        return gone

    def result(self) -> tuple[Activation, ...]:
        for life in self.alive.values():
            life.last = self.place - 1
        lives = [*self.done, *self.alive.values()]
        return tuple(Activation(life.entry, life.planes, life.born, life.last) for life in lives)


def _observed(graph: ChannelGraph) -> tuple[Activation, ...]:
    try:
        return _run(graph, FakeTensorMode(allow_non_fake_inputs=True))
    except FAILS:  # a forward that needs data, as when it was traced
        pass
    try:
        return _run(graph, None)
    except FAILS as error:
        raise GraphError(
            f"{type(graph.model).__name__}: its memory cannot be predicted, since a second forward pass fails "
            f"({in_one_line(error)}); trace it anew where it is now, or ask for no memory budget"
        ) from error


def _run(graph: ChannelGraph, fake: FakeTensorMode | None) -> tuple[Activation, ...]:
    twin = copy_without_data(graph.model, fake).eval()
    example = without_data(graph.inputs, fake)
    inputs = [t for t in pytree.tree_leaves(example) if isinstance(t, Tensor)]
    args, kwargs = call_arguments(example)
    lifetimes = _Lifetimes(graph, [*twin.parameters(), *twin.buffers()], inputs)
    with torch.random.fork_rng(devices=[]), torch.no_grad(), fake or nullcontext(), NoFastPath(), lifetimes:
        outputs = twin(*args, **kwargs)
        del outputs
    return lifetimes.result()

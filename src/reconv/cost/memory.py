"""How much memory the activations of one forward pass take at its widest moment.

We count what is alive when an operator has just given its result: the network's input, and every tensor that the
pass has made and that the model's code still holds. A tensor lives as long as Python lets it: until the last variable
that holds it is gone, which may be later than its last use. Tensors that share memory (views, results in place)
count once; parameters, buffers, and what a kernel uses inside do not count.

When a tensor is given up depends on the model's code and not on its widths, so lifetimes are observed once, without
data, and sizes of any cut follow from the labels (`peak_memory`). That can be too much: where a cut leaves one channel
along an axis, PyTorch copies less, and its attention layers may take a fused path. A pass without data through the cut
network itself says it to the byte (`predicted_memory`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from reconv.errors import GraphError, check_kind
from reconv.graph.channels import ChannelGraph, Mask
from reconv.graph.copies import copy_without_data, without_data
from reconv.graph.labels import Plane
from reconv.graph.leftovers import leftovers_removed
from reconv.graph.meta_cut import cut_without_data
from reconv.graph.questions import NoFastPath
from reconv.graph.record import DETACH
from reconv.graph.tracing import call_arguments, in_one_line
from reconv.modes import evaluating

_NEEDS_DATA = (RuntimeError, NotImplementedError, TypeError)  # what a forward that needs data raises without it


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


def measure_memory(model: nn.Module, example: Any) -> int:
    """Bytes of live activations at the widest moment of one forward pass, on PyTorch's own storages.

    Args:
        model: run in evaluation mode, without gradients; its mode is restored.
        example: one tensor, a tuple of positional arguments, or a mapping of keyword arguments.

    Returns:
        Bytes, the input among them; parameters, buffers and what kernels use inside are not.

    Raises:
        WrongKindError: `model` is not a module.

    Example:
        >>> import torch, reconv
        >>> reconv.measure_memory(torch.nn.Conv2d(3, 8, 1), torch.zeros(1, 3, 4, 4))  # 4 bytes x 16 x (3 + 8)
        704
    """
    check_kind("measure_memory: model", model, nn.Module)
    with evaluating(model):
        return _widest(_observe(model, example).storages)


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
        with torch.random.fork_rng(devices=[]), leftovers_removed(graph.model), fake:
            return _widest(_observe(twin, without_data(graph.inputs, fake)).storages)
    except _NEEDS_DATA:
        pass
    try:
        return peak_memory(graph, keep)
    except GraphError:
        return None


def peak_memory(graph: ChannelGraph, keep: Mask | None = None) -> int:
    """Bytes of live activations at the widest moment of one forward pass, for the example's batch.

    Args:
        graph: of the network. keep: which channel classes stay; None: all.
    """

    def size(activation: Activation) -> int:
        gone = keep is not None and not keep[graph.needs_of(activation.born, memory=True)].all()
        return 0 if gone else activation.size(keep)

    return _widest([_Storage(size(a), a.born, a.last) for a in activations(graph)])


_activations: WeakKeyDictionary[ChannelGraph, tuple[Activation, ...]] = WeakKeyDictionary()


def activations(graph: ChannelGraph) -> tuple[Activation, ...]:
    """The memory that a forward pass on the graph's example takes, piece by piece.

    Raises:
        GraphError: two passes of the model run different operators.
    """
    if graph not in _activations:
        _activations[graph] = _label_storages(graph, _second_pass(graph))
    return _activations[graph]


@dataclass
class _Storage:
    """Memory: bytes, the first and last operator at whose end it was alive, and the number of the first one's outputs
    that it is; None: it is of the network's input."""

    size: int
    born: int
    last: int
    output: int | None = None


class _Liveness(TorchDispatchMode):
    """Sees memory come and go during a forward pass, and keeps none of it alive."""

    def __init__(self, fixed: Sequence[Tensor], inputs: Sequence[Tensor]):
        super().__init__()
        self.operators: list[str] = []
        self._fixed = {_reference(t) for t in fixed}
        sizes = _input_bytes(inputs)
        self._alive = {ref: _Storage(size, 0, 0) for ref, size in sizes.items() if ref not in self._fixed}
        self.storages = [*self._alive.values()]

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        results = func(*args, **(kwargs or {}))
        operator = f"{func.namespace}.{func._opname}"
        if func.namespace == "prim" or operator == DETACH:  # these make no memory, and the trace leaves them out
            return results
        number = len(self.operators)
        self.operators.append(operator)
        self._alive = {ref: storage for ref, storage in self._alive.items() if not ref.expired()}
        for i, tensor in enumerate(t for t in pytree.tree_leaves(results) if isinstance(t, Tensor)):
            ref = _reference(tensor)
            if ref not in self._alive and ref not in self._fixed:
                self._alive[ref] = _Storage(_bytes(operator, args, tensor), number, number, i)
                self.storages.append(self._alive[ref])
        for storage in self._alive.values():
            storage.last = number
        return results


def _input_bytes(inputs: Sequence[Tensor]) -> dict[StorageWeakRef, int]:
    """Of the network's inputs, by their memory: of a slice of more images its own bytes, not those of all."""
    parts: dict[StorageWeakRef, set[tuple[int, torch.Size]]] = {}
    sizes: dict[StorageWeakRef, int] = {}
    for tensor in inputs:
        part, seen = (int(tensor.storage_offset()), tensor.shape), parts.setdefault(_reference(tensor), set())
        if part not in seen:
            seen.add(part)
            own = sizes.get(_reference(tensor), 0) + tensor.numel() * tensor.element_size()
            sizes[_reference(tensor)] = min(own, tensor.untyped_storage().nbytes())
    return sizes


def _bytes(operator: str, args: Sequence[Any], tensor: Tensor) -> int:
    """Of the memory of a result. `fold` writes into memory as large as what it reads, which shows with data only."""
    size = tensor.untyped_storage().nbytes()
    return max(size, args[0].numel() * args[0].element_size()) if operator == "aten.col2im" else size


def _reference(tensor: Tensor) -> StorageWeakRef:
    return StorageWeakRef(tensor.untyped_storage())


def _observe(model: nn.Module, example: Any) -> _Liveness:
    """One forward pass."""
    args, kwargs = call_arguments(example)
    inputs = [t for t in pytree.tree_leaves(example) if isinstance(t, Tensor)]
    liveness = _Liveness([*model.parameters(), *model.buffers()], inputs)
    with torch.no_grad(), liveness:
        model(*args, **kwargs)
    return liveness


def _widest(storages: Sequence[_Storage]) -> int:
    """Bytes alive at the end of the operator where they are most."""
    change = np.zeros(max((storage.last for storage in storages), default=0) + 2, dtype=np.int64)
    for storage in storages:
        change[storage.born] += storage.size
        change[storage.last + 1] -= storage.size
    return int(change.cumsum().max())


def _second_pass(graph: ChannelGraph) -> _Liveness:
    for fake in (FakeTensorMode(allow_non_fake_inputs=True), None):
        try:
            twin = copy_without_data(graph.model, fake).eval()
            with torch.random.fork_rng(devices=[]), leftovers_removed(twin), fake or nullcontext(), NoFastPath():
                return _observe(twin, without_data(graph.inputs, fake))
        except _NEEDS_DATA as error:  # as when it was traced
            reason = in_one_line(error)
    raise GraphError(
        f"{type(graph.model).__name__}: its memory cannot be predicted, since a second forward pass fails "
        f"({reason}); trace it anew where it is now, or ask for no memory budget"
    )


def _label_storages(graph: ChannelGraph, liveness: _Liveness) -> tuple[Activation, ...]:
    """Which channels each piece of memory varies along."""
    expected = [operation.operator for operation in graph.forward]
    if liveness.operators != expected:
        pairs = zip(liveness.operators, [*expected, *[""] * len(liveness.operators)], strict=False)
        other = next((a for a, b in pairs if a != b), "fewer of them")
        raise GraphError(
            f"{type(graph.model).__name__}: a second forward pass runs other operators than the first "
            f"({other}), so its memory cannot be predicted; ask for no memory budget"
        )
    pieces = []
    for storage in liveness.storages:
        planes: tuple[Plane, ...] = ()
        if storage.output is not None:
            output = graph.forward[storage.born].outputs[storage.output]
            planes = tuple(graph.labels[plane] for plane in output.planes)
        labeled = int(np.prod([plane.size for plane in planes], dtype=np.int64))
        pieces.append(Activation(storage.size // max(labeled, 1), planes, storage.born, storage.last))
    return tuple(pieces)

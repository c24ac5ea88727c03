"""Sums over channels lose nothing only where what goes is zero.

A channel whose weights, scale and shift are zero gives zeros, until an operator makes something else of them: a
sigmoid, an added constant, a norm whose shift is a buffer. Where channels are then summed over (by `sum`, by a product
of two signals, by weights that are computed), removing one is not the same as zeroing it: these channels stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from reconv.graph.labels import Plane, axes_of, lift_plane
from reconv.graph.record import Call, Record, tensors_among

# What moves elements about, or sums them: zeros give zeros.
_MOVES = frozenset(
    f"aten.{name}"
    for name in (
        *("view", "_unsafe_view", "reshape", "_reshape_alias", "_reshape_copy", "view_copy", "permute", "permute_copy"),
        *("t", "transpose", "numpy_T", "expand", "unsqueeze", "squeeze", "flip", "roll", "pixel_shuffle", "repeat"),
        *("pixel_unshuffle", "channel_shuffle", "native_channel_shuffle", "slice", "select", "split", "unbind"),
        *("split_with_sizes", "narrow", "glu", "cat", "stack", "index", "index_select", "unfold", "im2col", "col2im"),
        *("clone", "alias", "detach", "_to_copy", "contiguous", "lift_fresh", "to", "as_strided", "zeros_like", "zero"),
        *("zeros", "new_zeros"),
        *("sum", "mean", "amax", "amin", "max", "min", "cumsum", "linalg_vector_norm", "var", "std"),
        *("max_pool1d_with_indices", "max_pool2d_with_indices", "max_pool3d_with_indices"),
        *("avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool1d", "_adaptive_avg_pool2d"),
        *("_adaptive_avg_pool3d", "adaptive_max_pool2d", "adaptive_max_pool3d"),
        *("upsample_nearest1d", "upsample_linear1d", "upsample_nearest2d", "_upsample_nearest_exact2d"),
        *("upsample_bilinear2d", "_upsample_bilinear2d_aa", "upsample_bicubic2d", "_upsample_bicubic2d_aa"),
        *("upsample_nearest3d", "upsample_trilinear3d", "reflection_pad1d", "reflection_pad2d", "reflection_pad3d"),
        *("replication_pad1d", "replication_pad2d", "replication_pad3d", "native_dropout", "_weight_norm_interface"),
    )
)
_NORMS = frozenset(
    f"aten.{name}"
    for name in (
        *("native_layer_norm", "native_group_norm", "native_batch_norm", "_native_batch_norm_legit"),
        *("_native_batch_norm_legit_no_training", "cudnn_batch_norm", "miopen_batch_norm", "_batch_norm_with_update"),
        "_batch_norm_no_update",
    )
)
_POINTWISE = frozenset({"aten.masked_fill", "aten._prelu_kernel", "aten.hardswish"})  # not tagged so
_PROBES = (0.7, -1.3)


@dataclass(frozen=True)
class _Sum:
    """Channels that an operator sums over, and the tensors in which they lie: one that is zero is enough."""

    call: Call
    planes: tuple[Plane, ...]
    tensors: tuple[Tensor, ...]


def freeze_lossy_sums(record: Record) -> None:
    """Channels that are summed over where what goes of them is not zero stay, for this reason."""
    sums = [found for call in record.operations for found in _sums(call)]
    if sums:
        zeros = _Zeros(record)
        by_call = {id(found.call): found for found in sums}
        for call in record.operations:
            found = by_call.get(id(call))
            if found is not None and not any(map(zeros.holds, found.tensors)):
                call.freeze(found.planes, f"summed over, though what goes is not zero there{zeros.why(found.tensors)}")
            zeros.follow(call)


def _sums(call: Call) -> list[_Sum]:
    """Where an operator sums over channels, but for plain weights, which are zero where they are not needed."""
    name = call.operator
    if name in ("aten.sum", "aten.linalg_vector_norm"):
        gone = _reduced(call)
        reduced = tuple(p for p in call.before[0].planes if axes_of(p) and set(axes_of(p)) <= gone)
        return [_Sum(call, reduced, (call.tensors[0],))] if reduced else []
    pair = _factors(call)
    if pair is None:
        return []
    (a, left), (b, right) = pair
    known = [call.value(t) for t in (a, b)]
    if any(value.parameter in call.record.trained for value in known):
        return []
    # Channels that lie on another axis too, such as heads, go with all that they are summed over.
    sides = zip(known, (left, right), strict=True)
    planes = tuple(p for value, axis in sides for p in value.planes if axes_of(p) == (axis,))
    return [_Sum(call, planes, (a, b))] if planes else []


def _reduced(call: Call) -> set[int]:
    rank, dims = call.tensors[0].dim(), call.arguments.get("dim")
    dims = list(range(rank)) if dims is None or dims == [] else [dims] if isinstance(dims, int) else dims
    return {d % max(rank, 1) for d in dims}


def _factors(call: Call) -> tuple[tuple[Tensor, int], tuple[Tensor, int]] | None:
    """The two tensors that an operator multiplies, and the axis of each that it sums over; None: it does not."""
    arguments, name = call.arguments, call.operator
    if name == "aten.convolution":
        signal, weight = arguments["input"], arguments["weight"]
        if arguments["groups"] > 1 and weight.shape[1] == 1:
            return None  # every channel by itself
        return (signal, signal.dim() - weight.dim() + 1), (weight, 0 if arguments["transposed"] else 1)
    if name in ("aten.bmm", "aten.baddbmm", "aten.mm", "aten.addmm", "aten.mv", "aten.dot", "aten.vdot"):
        a, b = call.tensors[-2:] if name in ("aten.addmm", "aten.baddbmm") else call.tensors[:2]
        return (a, a.dim() - 1), (b, max(b.dim() - 2, 0))
    return None


class _Zeros:
    """Which tensors of a pass are zero wherever one of their channels goes.

    Views share what is known of their memory.
    """

    def __init__(self, record: Record):
        self.record = record
        self.memory: dict[int, int] = {}
        self.zero = {id(tensor): True for tensor in record.tensors_of_parameters()}
        self.broken: dict[int, Call] = {}  # the operator that made something else of zeros

    def _root(self, tensor: Tensor) -> int:
        return self.memory.get(id(tensor), id(tensor))

    def holds(self, tensor: Tensor) -> bool:
        return self.zero.get(self._root(tensor), False)

    def why(self, tensors: Sequence[Tensor]) -> str:
        calls = [self.broken[self._root(t)] for t in tensors if self._root(t) in self.broken]
        return f" behind {calls[0].where}" if calls else ""

    def follow(self, call: Call) -> None:
        zero = self._gives_zeros(call)
        schema = call.func._schema
        shared = [call.arguments.get(a.name) for a in schema.arguments if a.alias_info is not None]
        origin = next((self._root(t) for t in shared if isinstance(t, Tensor)), None)
        whole = bool(shared) and isinstance(shared[0], Tensor) and self._root(shared[0]) == id(shared[0])
        for tensor in call.outputs:
            root = id(tensor) if origin is None else origin
            self.memory[id(tensor)] = root
            if schema.is_mutable:  # what is written in part stays what it was elsewhere
                self.zero[root] = zero and (whole or self.holds(tensor))
            elif origin is None:
                self.zero[root] = zero
            if not zero and (origin is None or schema.is_mutable):
                before = next((self.broken[self._root(t)] for t in call.tensors if self._root(t) in self.broken), None)
                self.broken[root] = before or call

    def _gives_zeros(self, call: Call) -> bool:
        """Whether an operator gives zero wherever a channel of what it gives goes."""
        name = call.operator.removesuffix("_") if call.operator.endswith("_") else call.operator
        labelled = [t for t, value in zip(call.tensors, call.before, strict=True) if value.planes]
        if name in _MOVES:
            return all(map(self.holds, labelled))
        if name in _NORMS:
            scale, shift = call.arguments["weight"], call.arguments.get("bias")
            if scale is None:  # a weight that is standardized over what stays of it
                return self.record.value_of(call.tensors[0]).static and self.holds(call.tensors[0])
            return self.holds(scale) and (shift is None or self.holds(shift))
        if name == "aten.copy":
            source = call.arguments["src"]
            return bool(call.value(source).planes) and self.holds(source)
        if name == "aten.constant_pad_nd":
            return self.holds(call.tensors[0]) and not call.arguments.get("value")
        if "attention" in name:
            return self.holds(call.arguments["value"])
        if name == "aten.embedding":
            return self.holds(call.arguments["weight"])
        factors = _factors(call)
        if factors is not None:
            return self._is_plain(call) and self._gives_zeros_of_product(call, *factors)
        if name == "aten.convolution":
            return self._is_plain(call) and any(map(self.holds, call.tensors[:2]))
        if torch.Tag.pointwise in call.func.tags or name in (
            "aten.masked_fill",
            "aten._prelu_kernel",
            "aten.hardswish",
        ):
            return self._keeps_zero(call, labelled)
        return False

    def _is_plain(self, call: Call) -> bool:
        """Whether nothing is added to a product but what goes with its channels."""
        added = call.arguments.get("bias" if call.operator == "aten.convolution" else "self")
        if added is None or call.operator not in ("aten.convolution", "aten.addmm", "aten.baddbmm"):
            return True
        planes = _lifted(call, added, call.outputs[0].dim())
        if call.operator == "aten.convolution" or not planes or not self.holds(added):
            return bool(planes) and self.holds(added)
        # Channels along another axis than its own, such as those of a map whose places are mixed, get all of it.
        return {axes_of(p) for p in call.after[0].planes} <= {axes_of(p) for p in planes}

    def _gives_zeros_of_product(self, call: Call, a: tuple[Tensor, int], b: tuple[Tensor, int]) -> bool:
        """For channels that one of the two has, that one has to be zero; for those of both, either."""
        rank = max(t.dim() for t, _ in (a, b))
        of_a, of_b = ({axes_of(p) for p in _lifted(call, t, rank)} - {(axis + rank - t.dim(),)} for t, axis in (a, b))
        if call.operator == "aten.convolution":
            of_a, of_b = of_a - {(1,)}, {(0,)}  # the axes of signal and weight are not the same ones
        zero_a, zero_b = self.holds(a[0]), self.holds(b[0])
        alone = (zero_a or not of_a - of_b) and (zero_b or not of_b - of_a)
        return alone and (zero_a or zero_b or not of_a & of_b)

    def _keeps_zero(self, call: Call, labelled: Sequence[Tensor]) -> bool:
        """Whether an element-wise operator gives zero of the zeros among its tensors, whatever the others are."""
        zero = [t for t in labelled if self.holds(t)]
        rank = max((t.dim() for t in call.tensors), default=0)
        axes = {tuple(axes_of(p)) for t in zero for p in _lifted(call, t, rank)}
        together = [zero] if len(axes) < 2 else [[t] for t in zero]
        return bool(zero) and all(self._probe(call, {id(t) for t in group}) for group in together)

    def _probe(self, call: Call, zero: set[int]) -> bool:
        known = dict(zip(map(id, call.tensors), call.known, strict=False))

        def stand_in(value: Any) -> Any:
            if isinstance(value, (list, tuple)):
                return tuple(map(stand_in, value))
            if not isinstance(value, Tensor):
                return value
            number = known.get(id(value))
            single = number if number is not None and number.numel() == 1 and not number.is_meta else None
            return _StandIn(value.dtype, id(value) in zero, None if single is None else single.item())

        try:
            return _gives_zero(call.func, tuple((name, stand_in(value)) for name, value in call.arguments.items()))
        except TypeError:  # an argument that cannot be looked up
            return False


@dataclass(frozen=True)
class _StandIn:
    """A tensor of zeros, of a known number, or of any numbers."""

    dtype: torch.dtype
    zero: bool
    number: float | None

    def filled(self, probe: float) -> Tensor:
        if self.zero or self.number is not None:
            return torch.full((2,), 0 if self.zero or self.number is None else self.number, dtype=self.dtype)
        return torch.full((2,), probe if self.dtype.is_floating_point else int(probe > 0), dtype=self.dtype)


@lru_cache(maxsize=4096)
def _gives_zero(func: Any, arguments: tuple[tuple[str, Any], ...]) -> bool:
    """Whether an element-wise operator gives zeros of these, whatever the numbers that are not known."""
    for probe in _PROBES:
        given = {n: v.filled(probe) if isinstance(v, _StandIn) else v for n, v in arguments}
        try:
            outputs = tensors_among((func(**given),))
        except (RuntimeError, TypeError, ValueError):
            return False
        if not outputs or any(bool((out != 0).any()) for out in outputs):  # what is not a number is not zero
            return False
    return True


def _lifted(call: Call, tensor: Tensor, rank: int) -> list[Plane]:
    return [lift_plane(p, rank) for p in call.value(tensor).planes]

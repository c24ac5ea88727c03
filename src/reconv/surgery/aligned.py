"""Two forward passes that agree to rounding, though they draw random numbers, take decisions, or compute in float32.

The first pass, of the network whose removed channels are zero, is recorded: which random numbers it drew, and how it
decided (an order, a comparison, a suppression of boxes). In the second pass, of the pruned network,

- random numbers are drawn for the shape of the first, and those of the channels that stay are taken;
- a decision whose inputs agree to rounding with those of the first pass is taken as there, for it may hang on the last
  bit. Where the inputs differ by more, the network decides for itself, and the difference shows.
- In both passes, whatever the model's code casts to a lower precision is computed in float64.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from reconv.graph.record import Operation
from reconv.graph.tracing import bind_arguments
from reconv.surgery.cut import Removal
from reconv.surgery.outputs import difference
from reconv.surgery.over_kept import OtherPassError, operations_by_name

_LOW = (torch.float16, torch.bfloat16, torch.float32)
# What makes steps of a continuous number and gives floats still.
_STEPS = frozenset(
    f"aten.{name}"
    for name in (
        *("floor", "ceil", "round", "trunc", "sign", "sgn"),
        *("frac", "heaviside", "remainder", "fmod", "floor_divide"),
    )
)


@dataclass(frozen=True)
class _Drawn:
    """A random operator of the first pass: what it was given, and the shapes of what it gave."""

    arguments: Mapping[str, Any]
    shapes: list[torch.Size]


@dataclass(frozen=True)
class _Decided:
    """A decision of the first pass."""

    inputs: list[Tensor]
    outputs: Any


class Recording:
    """What the first pass did, by the names of its operators, each in order.

    Args:
        plan: of the cut. seed: of all random numbers. tolerance: relative, of rounding.
    """

    def __init__(self, plan: Removal, seed: int, tolerance: float):
        self.plan, self.seed, self.tolerance = plan, seed, tolerance
        self.drawn: dict[str, list[_Drawn]] = defaultdict(list)
        self.decided: dict[str, list[_Decided]] = defaultdict(list)
        self.moved = 0  # decisions that hung on rounding


class Aligned(TorchDispatchMode):
    """Records a first pass, or repeats its random numbers and close decisions in a second one.

    Args:
        recording: of the first pass. repeats: whether this is the second. double: compute in float64 throughout.
    """

    def __init__(self, recording: Recording, *, repeats: bool, double: bool):
        super().__init__()
        self.recording, self.repeats, self.double = recording, repeats, double
        self.draws = 0
        if repeats:
            recording.moved = 0
        self.drawn = {name: iter(several) for name, several in recording.drawn.items()} if repeats else {}
        self.decided = {name: iter(several) for name, several in recording.decided.items()} if repeats else {}
        self.traced = operations_by_name(tuple(o for o in recording.plan.graph.forward if _draws(o.operator)))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if self.double:
            args, kwargs = _in_double(func, args, kwargs)
        name = f"{func.namespace}.{func._opname}"
        if _is_random(func):
            outputs = self._draw(name, func, bind_arguments(func, args, kwargs))
        else:
            outputs = func(*args, **kwargs)
            inputs = [] if func._schema.is_mutable or _is_view(func) else _floats((args, kwargs))
            if inputs and (_gives_whole_numbers(outputs) or _makes_steps(name, kwargs)):
                outputs = self._decide(name, inputs, outputs)
        if self.double and not func._schema.is_mutable and not _is_view(func):
            outputs = pytree.tree_map_only(Tensor, _double, outputs)
        return outputs

    # ---------------------------------------------------------------- random numbers

    def _draw(self, name: str, func: Any, arguments: dict[str, Any]) -> Any:
        if arguments.get("generator") is not None:
            arguments["generator"] = None
        self.draws += 1
        operation = next(self.traced[name], None)
        if not self.repeats:
            outputs = self._seeded(func, arguments)
            kept = pytree.tree_map_only(Tensor, lambda t: t.shape, arguments)
            self.recording.drawn[name].append(_Drawn(kept, [t.shape for t in _tensors(outputs)]))
            return outputs
        first = next(self.drawn.get(name, iter(())), None)
        if first is None:
            raise OtherPassError(f"{name}: the pruned network draws random numbers that the whole one does not draw")
        shapes = [t.shape for t in _tensors(self._without_data(func, arguments))]
        if shapes == first.shapes or not _is_a_draw(arguments):
            return self._seeded(func, arguments)
        return self._draw_for_whole(name, func, arguments, first, operation)

    def _without_data(self, func: Any, arguments: dict[str, Any]) -> Any:
        """What it gives, in shape: random numbers in place are as large as what they are written into."""
        return arguments["self"] if func._schema.is_mutable else self._seeded(func, arguments)

    def _seeded(self, func: Any, arguments: Mapping[str, Any]) -> Any:
        torch.manual_seed(self.recording.seed + self.draws)
        return _call(func, arguments)

    def _draw_for_whole(
        self, name: str, func: Any, arguments: dict[str, Any], first: _Drawn, operation: Operation | None
    ) -> Any:
        """Draw for the whole network, and take what belongs to the channels that stay."""
        places = None if operation is None else self._places(operation, first.shapes[0])
        sizes = [t.shape for t in _tensors((arguments,)) if t.shape != ()]
        small = None if places is None else torch.Size(p.numel() for p in places)
        if places is None or any(size != small for size in sizes):
            raise OtherPassError(f"{name}: nobody knows which of its random numbers belong to the channels that stay")

        def widened(argument: Any, before: Any) -> Any:
            if not isinstance(argument, Tensor):
                return before
            if argument.shape == ():
                return argument
            whole = argument.new_zeros(before)
            whole[_grid(places, argument.device)] = argument
            return whole

        whole = {key: widened(value, first.arguments[key]) for key, value in arguments.items()}
        outputs = self._seeded(func, whole)
        if func._schema.is_mutable:
            target: Tensor = arguments["self"]
            return target.copy_(outputs[_grid(places, target.device)])
        return pytree.tree_map_only(
            Tensor, lambda t: t[_grid(places, t.device)] if t.shape == first.shapes[0] else t, outputs
        )

    def _places(self, operation: Operation, shape: torch.Size) -> list[Tensor] | None:
        """For every axis of what an operator gives the positions of the channels that stay."""
        if not operation.outputs or operation.outputs[0].shape != tuple(shape):
            return None
        plan = self.recording.plan
        places = [torch.arange(size) for size in shape]
        for plane in operation.outputs[0].planes:
            kept = plan.keep[plan.graph.labels[plane]]
            for axis in range(plane.ndim):
                if plane.shape[axis] > 1:
                    beside = tuple(a for a in range(plane.ndim) if a != axis)
                    places[axis] = torch.from_numpy(np.flatnonzero(kept.any(axis=beside)))
        return places

    # ---------------------------------------------------------------- decisions

    def _decide(self, name: str, inputs: list[Tensor], outputs: Any) -> Any:
        if not self.repeats:
            # Both may be overwritten before they are compared.
            decided = _Decided([t.clone() for t in inputs], pytree.tree_map_only(Tensor, torch.clone, outputs))
            self.recording.decided[name].append(decided)
            return outputs
        first = next(self.decided.get(name, iter(())), None)
        if first is None or difference(first.inputs, inputs) > self.recording.tolerance:
            return outputs
        if difference(_tensors(first.outputs), _tensors(outputs)) > self.recording.tolerance:
            self.recording.moved += 1
        return pytree.tree_map_only(Tensor, torch.clone, first.outputs)


def _call(func: Any, arguments: Mapping[str, Any]) -> Any:
    schema = func._schema.arguments
    args = [arguments[a.name] for a in schema if not a.kwarg_only and a.name in arguments]
    kwargs = {a.name: arguments[a.name] for a in schema if a.kwarg_only and a.name in arguments}
    return func(*args, **kwargs)


def _tensors(value: Any) -> list[Tensor]:
    return [t for t in pytree.tree_leaves(value) if isinstance(t, Tensor)]


def _floats(value: Any) -> list[Tensor]:
    return [t for t in _tensors(value) if t.is_floating_point()]


def _grid(places: list[Tensor], device: torch.device) -> tuple[Tensor, ...]:
    """Indices of a block of a tensor."""
    rank = len(places)
    return tuple(p.to(device).reshape([-1 if i == axis else 1 for i in range(rank)]) for axis, p in enumerate(places))


def _is_random(func: Any) -> bool:
    return torch.Tag.nondeterministic_seeded in func.tags


@lru_cache(maxsize=1024)
def _draws(operator: str) -> bool:
    """Whether an operator, by its name, draws random numbers."""
    namespace, _, name = operator.partition(".")
    packet = getattr(getattr(torch.ops, namespace), name, None)
    return packet is not None and any(_is_random(getattr(packet, overload)) for overload in packet.overloads())


def _is_a_draw(arguments: Mapping[str, Any]) -> bool:
    """An attention, say, draws nothing without dropout."""
    return arguments.get("dropout_p") != 0 and arguments.get("train") is not False


def _is_view(func: Any) -> bool:
    return any(a.alias_info is not None and not a.alias_info.is_write for a in func._schema.arguments)


def _gives_whole_numbers(outputs: Any) -> bool:
    return any(not (t.is_floating_point() or t.is_complex()) for t in _tensors(outputs))


def _makes_steps(name: str, kwargs: Mapping[str, Any]) -> bool:
    return name in _STEPS or (name == "aten.div" and bool(kwargs.get("rounding_mode")))


def _double(tensor: Tensor) -> Tensor:
    if tensor.dtype is torch.complex64:
        return tensor.to(torch.complex128)
    return tensor.double() if tensor.dtype in _LOW else tensor


def _in_double(func: Any, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """What is read is in float64, and so is what is asked for; what is written stays what it is."""
    if "dtype" in kwargs and kwargs["dtype"] in _LOW and not (func._opname.startswith("view")):
        kwargs["dtype"] = torch.float64
    if _is_view(func):
        return args, kwargs
    written = {a.name for a in func._schema.arguments if a.alias_info is not None and a.alias_info.is_write}
    names: Iterator[str] = iter(a.name for a in func._schema.arguments)
    args = tuple(
        a if n in written else pytree.tree_map_only(Tensor, _double, a) for a, n in zip(args, names, strict=False)
    )
    kwargs = {n: a if n in written else pytree.tree_map_only(Tensor, _double, a) for n, a in kwargs.items()}
    return args, kwargs

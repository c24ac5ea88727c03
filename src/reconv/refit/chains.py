"""From a layer's output to the place where its error shows.

`bn2(conv2(h)) + shortcut(x)`: what the network reads of conv2 is the sum, and a change of conv2 changes that sum by as
much. A layer's **chain** is the path from its output through a BatchNorm and through additions, as long as nothing
else reads what lies between. At its end the repaired layer is asked to restore what the original network has there,
so that it also makes up for the error that the other terms of the sum bring along (drift correction).

Chains are read off the operations of the trace; what an operator does is said by its row (`graph/rules`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from reconv.graph.channels import ChannelGraph, Layer
from reconv.graph.record import Operand, Operation
from reconv.graph.rules import Bounds, operator_named

# The functions whose calls a repair can replace.
_LAYER_FUNCTIONS = {"linear", *(f"conv{kind}{axes}d" for kind in ("", "_transpose") for axes in (1, 2, 3))}
RECURRENT = ("lstm", "gru", "rnn_tanh", "rnn_relu")
# Operators whose result is of places that values decide: which boxes, which entries, how many.
_SELECTING = {f"aten.{name}" for name in ("nonzero", "masked_select", "topk", "sort", "index", "gather", "unique_dim")}
_SELECTING |= {"torchvision.nms", "torchvision.roi_align", "torchvision.roi_pool", "torchvision.ps_roi_align"}


@dataclass(frozen=True)
class Chain:
    """What lies between a layer's output and the place where its error shows.

    Args:
        layer: its name.
        steps: "norm" (only the first) or "add", in order.
        norm: name of the BatchNorm module of a first step "norm".
        gate: between which values the activation behind passes its input on; None where there is none.
        numel: elements of the layer's input and output for one image of the traced size.
        follows: the layer whose signal alone this one reads, through `between` and through nothing else.
        mutated: the layer's input is overwritten later on.
        operation: index of the operator that multiplies, in the trace.
        axis: of the layer's input and output that counts images: 0, or 1 of steps that come first.
    """

    layer: str
    steps: tuple[str, ...] = ()
    norm: str | None = None
    gate: Bounds | None = None
    numel: int = 0
    follows: str | None = None
    between: tuple[Callable[[Tensor], Tensor], ...] = ()
    mutated: bool = False
    operation: int = 0
    axis: int = 0

    def images_first(self, signal: Tensor) -> Tensor:
        """A view of a signal whose first axis counts images."""
        return signal.movedim(self.axis, 0) if self.axis else signal

    def images_back(self, signal: Tensor) -> Tensor:
        """The view that `images_first` was made of."""
        return signal.movedim(0, self.axis) if self.axis else signal

    def through(self, signal: Tensor) -> Tensor:
        """What the layer reads, from the signal of the layer that it follows."""
        for function in self.between:
            signal = function(signal)
        return signal

    @property
    def adds(self) -> bool:
        return "add" in self.steps


@dataclass(frozen=True)
class _Use:
    """A call of a layer's function in the trace.

    Args:
        operation: index of the operator that multiplies. input: what the function reads.
        output: number of what it gives; -1 inside a recurrent layer. numel: elements of both for one image.
    """

    operation: int
    input: Operand
    output: int
    numel: int


@dataclass(frozen=True)
class _Signal:
    """A tensor on the way of a layer's output, after some steps."""

    layer: str
    steps: tuple[str, ...]
    norm: str | None = None


def find_chains(graph: ChannelGraph, model: nn.Module) -> tuple[dict[str, Chain], dict[str, str]]:
    """The chain of every layer that can be solved for, in the order of the forward pass.

    Args:
        graph: of the network before it was cut.
        model: the traced network, or the one that was cut from it; its parameters lie between layers, if any do.

    Returns:
        Chains by layer, and for every other layer why there is none.
    """
    pass_ = _Pass(graph, model)
    return {name: pass_.chain(name) for name in pass_.order}, pass_.unsolvable


class _Pass:
    """The operations of the traced forward pass, and which layer's signal each of its tensors is."""

    def __init__(self, graph: ChannelGraph, model: nn.Module):
        self.model = model
        self.images = max(graph.images, 1)
        self.operations = graph.forward
        self.producer = {output.number: i for i, row in enumerate(self.operations) for output in row.outputs}
        self.readers: dict[int, list[int]] = {}
        for i, operation in enumerate(self.operations):
            for number in dict.fromkeys(operand.number for operand in operation.operands):
                self.readers.setdefault(number, []).append(i)
        self.of_images = self._depending_on_images()
        self.selected = self._selected()
        self.unsolvable: dict[str, str] = {}
        self.uses: dict[str, _Use] = {}
        for layer in graph.layers:
            use = self._only_use(layer)
            if isinstance(use, str):
                self.unsolvable[layer.name] = use
            else:
                self.uses[layer.name] = use
        self.order = sorted(self.uses, key=lambda name: self.uses[name].operation)
        self.signals: dict[int, _Signal] = {}
        self.following: dict[int, int] = {}  # number of a signal -> of the same layer's signal one step on
        self._follow_signals()

    def _depending_on_images(self) -> set[int]:
        """Numbers of the tensors that depend on the network's input."""
        result: set[int] = set()
        for operation in self.operations:
            inputs = (o for o in operation.operands if o.number not in self.producer and o.parameter is None)
            result.update(operand.number for operand in inputs)
            if any(operand.number in result for operand in operation.operands):
                result.update(output.number for output in operation.outputs)
        return result

    def _selected(self) -> set[int]:
        """Numbers of the tensors whose places are decided by values that depend on images, as a detector's boxes."""
        result: set[int] = set()
        for operation in self.operations:
            read = [o.number for o in operation.operands if o.number in self.of_images]
            by_values = operation.operator in _SELECTING and (len(read) > 1 or not operation.operator.endswith("index"))
            if (by_values and read) or any(number in result for number in read):
                result.update(output.number for output in operation.outputs)
        return result

    def _only_use(self, layer: Layer) -> _Use | str:
        """The one call of a layer that can be solved, or why it cannot."""
        if layer.weight is None or layer.weight not in dict(self.model.named_parameters()):
            return "its weight is computed from other parameters"
        multiplying = [
            i
            for i, operation in enumerate(self.operations)
            if operator_named(operation.operator).multiplies
            and any(operand.parameter == layer.weight for operand in operation.operands)
        ]
        functions = {self.operations[i].function[1] for i in multiplying}
        recurrent = functions and functions <= set(RECURRENT)
        if recurrent and not layer.weight.rpartition(".")[2].startswith("weight_ih_l0"):
            return "it reads the state of a recurrent layer"
        if not functions or not (recurrent or functions <= _LAYER_FUNCTIONS):
            return "it runs inside a fused function"
        if not recurrent and not self._is_of_module(layer):
            return "its weight is no module's own"
        if len(multiplying) > 1:
            return f"its weight is used {len(multiplying)} times in one pass"
        use = self._use(multiplying[0])
        if use.input.number not in self.of_images or len(use.input.shape) < 2:
            return "its input has no axis of images"
        if use.input.number in self.selected:
            return "values decide which places it reads, as of boxes or of largest entries"
        return replace(use, output=-1) if recurrent else use

    def _is_of_module(self, layer: Layer) -> bool:
        try:
            return getattr(self.model.get_submodule(layer.name), "weight", None) is not None
        except AttributeError:
            return False

    def _use(self, index: int) -> _Use:
        """The function call around an operator that multiplies: what it reads from outside, and what it gives."""
        call = self.operations[index].function
        source = self._signal_operand(index)
        while source.number in self.producer and self.operations[self.producer[source.number]].function == call:
            source = self._signal_operand(self.producer[source.number])
        output = self.operations[index].outputs[0]
        while len(inside := [i for i in self._readers(output.number) if self.operations[i].function == call]) == 1:
            output = self.operations[inside[0]].outputs[0]
        numel = (math.prod(source.shape) + math.prod(output.shape)) // self.images
        return _Use(index, source, output.number, numel)

    def _signal_operand(self, index: int) -> Operand:
        operands = self.operations[index].operands
        return next((o for o in operands if o.number in self.of_images), operands[0])

    def _readers(self, number: int) -> list[int]:
        return self.readers.get(number, [])

    # ------------------------------------------------------------------ from a layer on

    def _follow_signals(self) -> None:
        """Follow every layer's output through norms and additions; of a sum, the last of its layers owns the result."""
        started = {self._last_operation(use): name for name, use in self.uses.items() if use.output >= 0}
        rank = {name: i for i, name in enumerate(self.order)}
        for i, operation in enumerate(self.operations):
            if i in started:
                self.signals[self.uses[started[i]].output] = _Signal(started[i], ())
                continue
            read = [o.number for o in operation.operands if o.number in self.signals]
            step = self._step(operation) if read else None
            if step is None:
                continue
            number = max(read, key=lambda n: rank[self.signals[n].layer])
            before, output = self.signals[number], operation.outputs[0].number
            norm = operation.arguments["running_mean"].parameter.rpartition(".")[0] if step == "norm" else before.norm
            self.signals[output] = _Signal(before.layer, (*before.steps, step), norm)
            self.following[number] = output

    def _last_operation(self, use: _Use) -> int:
        return self.producer[use.output]

    def _step(self, operation: Operation) -> str | None:
        """The kind of step that an operation is, or None."""
        arguments, result = operation.arguments, operation.outputs[0]
        if any(self.operations[i].function == operation.function for i in self._readers(result.number)):
            return None  # a part of a larger function
        mean = arguments.get("running_mean")
        if isinstance(mean, Operand):
            return "norm" if mean.parameter and not arguments.get("training", False) else None
        if operator_named(operation.operator).adds and arguments.get("alpha", 1) == 1:
            first, second = (*operation.operands, None, None)[:2]
            alike = first and second and first.shape == second.shape == result.shape and first.number != second.number
            return "add" if alike else None
        return None

    def chain(self, name: str) -> Chain:
        use = self.uses[name]
        if use.output < 0:
            return Chain(name, numel=use.numel, operation=use.operation)
        end = self._end(name)
        signal = self.signals[end]
        readers = self._readers(end)
        reader = self.operations[readers[0]] if len(readers) == 1 else None
        gate = None if reader is None else operator_named(reader.operator).gate(reader)
        overwritten = self._is_overwritten(use)
        chain = Chain(name, signal.steps, signal.norm, gate, use.numel, mutated=overwritten, operation=use.operation)
        source, between = self._origin(use.input.number)
        origin = self.signals.get(source)
        # Behind an addition it is no longer the signal of one layer.
        if (
            origin is None
            or len(self._readers(source)) != 1
            or "add" in origin.steps
            or source != self._end(origin.layer)
        ):
            return chain
        return replace(chain, follows=origin.layer, between=between)

    def _end(self, name: str) -> int:
        """Number of the last signal of a layer's chain."""
        number = self.uses[name].output
        while number in self.following and len(self._readers(number)) == 1:
            following = self.following[number]
            steps = self.signals[following].steps
            if steps[-1] == "norm" and (len(steps) > 1 or not self._is_alone(following)):
                break
            number = following
        return number

    def _is_alone(self, number: int) -> bool:
        """Whether the BatchNorm that gave this signal runs once, and is a module's."""
        norm = self.operations[self.producer[number]].arguments["running_mean"].parameter
        return self._norm_runs[norm] == 1 and norm.endswith("running_mean")

    @cached_property
    def _norm_runs(self) -> Counter[str]:
        means = (row.arguments.get("running_mean") for row in self.operations)
        return Counter(str(mean.parameter) for mean in means if isinstance(mean, Operand))

    def _is_overwritten(self, use: _Use) -> bool:
        """Whether the layer's input is written to after the layer has read it."""
        place = self.producer.get(use.input.number)
        memory = use.input.number
        if place is not None:
            memory = next(o.memory for o in self.operations[place].outputs if o.number == use.input.number)
        return any(row.overwritten == memory for row in self.operations[use.operation + 1 :])

    # ------------------------------------------------------------------ back to the layer in front

    def _origin(self, number: int) -> tuple[int, tuple[Callable[[Tensor], Tensor], ...]]:
        """The signal that this one is made of channel by channel, and how."""
        functions: list[Callable[[Tensor], Tensor]] = []
        while number in self.producer and number not in self.signals and len(self._readers(number)) == 1:
            operation = self.operations[self.producer[number]]
            function = self._channelwise(operation)
            if function is None:
                break
            functions.append(function)
            number = next(o.number for o in operation.operands if o.number in self.of_images)
        return number, tuple(reversed(functions))

    def _channelwise(self, operation: Operation) -> Callable[[Tensor], Tensor] | None:
        """What an operator makes of its signal, where it reads nothing else but constants and parameters."""
        if not operator_named(operation.operator).channelwise:
            return None
        signals = [o for o in operation.operands if o.number in self.of_images]
        others = [o for o in operation.operands if o.number not in self.of_images]
        if len(signals) != 1 or any(o.parameter is None or o.number in self.producer for o in others):
            return None
        return _Channelwise(operation, signals[0], self.model)


@dataclass(frozen=True)
class _Channelwise:
    """An operator as a function of its one signal; parameters are those of the network at hand."""

    operation: Operation
    signal: Operand
    model: nn.Module

    def __call__(self, signal: Tensor) -> Tensor:
        namespace, _, name = self.operation.operator.partition(".")
        function = getattr(getattr(torch.ops, namespace), name.removesuffix("_"))
        arguments = {key: self._value(value, signal) for key, value in self.operation.arguments.items()}
        result = function(**arguments)
        return result[0] if isinstance(result, tuple) else result  # type: ignore[no-any-return]

    def _value(self, value: Any, signal: Tensor) -> Any:
        if not isinstance(value, Operand):
            return value
        if value == self.signal:
            return signal
        module, _, name = str(value.parameter).rpartition(".")
        return getattr(self.model.get_submodule(module), name).detach()

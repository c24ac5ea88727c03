"""What one run of a model learns: its operator calls, what is known of every tensor, and where weights are used."""

from __future__ import annotations

import itertools
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from reconv.graph.labels import LabelSpace, Plane, along, axes_of

_OWN_FOLDERS = tuple(str(Path(file).parent) + os.sep for file in (torch.__file__, __file__))


@dataclass(frozen=True)
class Value:
    """What is known of one tensor.

    Args:
        planes: its label planes.
        parameter: the parameter or buffer that it is, or is a mere rearrangement of.
        static: it depends on parameters alone, not on the model's input.
    """

    planes: tuple[Plane, ...] = ()
    parameter: str | None = None
    static: bool = False


NOTHING = Value()


@dataclass(frozen=True)
class LayerCall:
    """One use of a weight: a convolution or a matrix product.

    Args:
        layer: dotted name. parameter: the weight's name, where it is a parameter itself.
        kind: "conv", "conv_transposed" or "linear".
        outputs: labels [C_out]. inputs: labels [groups, C_in / groups].
        positions: output positions of the whole example batch.
        window: stride, padding, dilation and kernel of a convolution, and its input's spatial size.
        rows: labels of the positions, where channels lie along the positions; else None.
        inputs_first: the parameter is [C_in, C_out], as in `x @ parameter`.
    """

    layer: str
    parameter: str | None
    kind: str
    outputs: Plane
    inputs: Plane
    positions: int
    window: Mapping[str, tuple[int, ...]] | None = None
    rows: Plane | None = None
    inputs_first: bool = False


@dataclass(frozen=True)
class ProductCall:
    """Multiply-adds of an operator that belongs to no layer, such as the products of an attention.

    Args:
        operator: its name. module: in which it ran. index: of its call.
        entry: multiply-adds for each combination of the planes' channels, of the whole example batch.
        planes: labels along the axes that it runs over; () where what it computes is of fixed size.
        static: it depends on parameters alone, so that it runs once and not for every image.
    """

    operator: str
    module: str
    index: int
    entry: float
    planes: tuple[Plane, ...] = ()
    static: bool = False


class Call:
    """One operator call, as a rule sees it."""

    def __init__(
        self,
        record: Record,
        func: torch._ops.OpOverload,
        arguments: dict[str, Any],
        outputs: Any,
        line: tuple[str, int] | None = None,
    ):
        self.record = record
        self.func = func
        self.arguments = arguments
        self.outputs = tensors_among((outputs,))
        self.tensors = tensors_among(arguments.values())
        self.space = record.space
        self.module = record.module
        self.index = len(record.operations)
        self.function = (0, "")  # the call of a PyTorch function that runs it: its number and the function's name
        self.line = line or line_of_the_model()
        self.known: tuple[Tensor | None, ...] = ()  # of `tensors`, those that are constants; () where none is
        self.constant = False  # what it gives is one
        self.before: list[Value] = [record.value_of(t) for t in self.tensors]
        self.after: list[Value] = []

    @property
    def operator(self) -> str:
        return f"{self.func.namespace}.{self.func._opname}"

    def __getitem__(self, argument: str) -> Any:
        return self.arguments[argument]

    def value(self, tensor: Tensor | None) -> Value:
        return NOTHING if tensor is None else self.record.value_of(tensor)

    @property
    def where(self) -> str:
        """The operator, the line of the model's code that ran it, and the module it stands in."""
        file, line = self.line
        return f"{self.func._opname} at {Path(file).name}:{line}, in {self.module or 'the model'}"

    def freeze(self, planes: Sequence[Plane], why: str) -> None:
        for plane in planes:
            self.space.freeze(plane, f"{why} ({self.where})")

    def doubt(self, planes: Sequence[Plane], why: str) -> None:
        for plane in planes:
            self.space.doubt(plane, f"{why} ({self.where})")

    def multiplies(self, times: int, planes: Sequence[Plane] = ()) -> None:
        """It does so many multiply-adds outside of layers, of which the channels along these planes take part."""
        entry = times / max(math.prod(plane.size for plane in planes), 1)
        static = all(value.static for value in self.before)
        self.record.products.append(ProductCall(self.operator, self.module, self.index, entry, tuple(planes), static))

    def fold(self, plane: Plane) -> None:
        """The plane's channels were laid out over several axes by this operator."""
        if len(axes_of(plane)) > 1:
            self.space.fold(plane, self.index)


def tensors_among(values: Iterable[Any]) -> list[Tensor]:
    """The tensors among an operator's arguments or results; some of these are lists."""
    tensors: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            tensors.append(value)
        elif isinstance(value, (list, tuple)):
            tensors += tensors_among(value)
    return tensors


def line_of_the_model() -> tuple[str, int]:
    """File and line of the innermost frame that is neither PyTorch's nor this package's."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_OWN_FOLDERS):
        frame = frame.f_back
    return frame.f_code.co_filename, frame.f_lineno


@dataclass(frozen=True, eq=False)
class Output:
    """A tensor that an operator gave.

    Args:
        shape: its sizes. itemsize: bytes of an entry. planes: its label planes.
        number: of the tensor in this pass, by which `Operand` names it; one that is overwritten gets a new number.
        memory: number of the tensor whose memory it shares.
    """

    shape: tuple[int, ...]
    itemsize: int
    planes: tuple[Plane, ...]
    number: int = -1
    memory: int = -1

    def bytes_apart(self) -> float:
        """Bytes for each combination of its planes' entries."""
        return self.itemsize * math.prod(self.shape) / max(math.prod(plane.size for plane in self.planes), 1)


@dataclass(frozen=True)
class Operand:
    """A tensor that an operator reads.

    Args:
        number: which one (see `Output`). shape: its sizes.
        parameter: the parameter or buffer that it is, or is a mere rearrangement of.
        static: it depends on parameters alone, not on the model's input.
    """

    number: int
    shape: tuple[int, ...]
    parameter: str | None
    static: bool


@dataclass(frozen=True, eq=False)
class Operation:
    """One operator of the forward pass.

    Args:
        operator: its name. module: in which it ran. outputs: what it gave.
        arguments: what it was given, by name; tensors as `Operand`, several as a tuple of them.
        function: the call of a PyTorch function that ran it: its number, and the function's name.
        overwritten: number of the tensor whose memory it writes, if any.
    """

    operator: str
    module: str
    outputs: tuple[Output, ...]
    arguments: Mapping[str, Any] = field(default_factory=dict, repr=False)
    function: tuple[int, str] = (0, "")
    overwritten: int | None = None

    @cached_property
    def operands(self) -> tuple[Operand, ...]:
        """The tensors among the arguments."""
        nested = (value if isinstance(value, tuple) else (value,) for value in self.arguments.values())
        return tuple(value for values in nested for value in values if isinstance(value, Operand))


# PyTorch runs it of itself when a tensor that it has just made is held by somebody else, such as a recording.
DETACH = "aten.detach"


def operations_of(calls: Iterable[Call]) -> tuple[Operation, ...]:
    """What is kept of the calls of one pass, but for `DETACH`: who reads what of whom, without the tensors."""
    numbers: dict[int, int] = {}  # by the tensor's id; the record holds all tensors
    memory: dict[int, int] = {}
    count = itertools.count()

    def number_of(tensor: Tensor) -> int:
        if id(tensor) not in numbers:
            numbers[id(tensor)] = next(count)
        return numbers[id(tensor)]

    def kept(value: Any, values: Iterator[Value]) -> Any:
        if isinstance(value, Tensor):
            known = next(values)
            return Operand(number_of(value), tuple(value.shape), known.parameter, known.static)
        return tuple(kept(v, values) for v in value) if isinstance(value, (list, tuple)) else value

    result = []
    for call in calls:
        if call.operator == DETACH:
            numbers[id(call.outputs[0])] = number_of(call.tensors[0])
            continue
        values = iter(call.before)
        arguments = {name: kept(value, values) for name, value in call.arguments.items()}
        schema = call.func._schema
        shared = [a.name for a in schema.arguments if a.alias_info is not None]
        origin = next((arguments[n].number for n in shared if isinstance(arguments[n], Operand)), None)
        origin = None if origin is None else memory.get(origin, origin)
        outputs = []
        for tensor, value in zip(call.outputs, call.after, strict=True):
            number = numbers[id(tensor)] = next(count)
            memory[number] = number if origin is None else origin
            outputs.append(Output(tuple(tensor.shape), tensor.element_size(), value.planes, number, memory[number]))
        overwritten = origin if schema.is_mutable else None
        result.append(Operation(call.operator, call.module, tuple(outputs), arguments, call.function, overwritten))
    return tuple(result)


Rule = Callable[[Call], "Value | list[Value]"]


@dataclass
class Record:
    """All that one run of the model learns.

    Args:
        space: the labels. parameters: the planes of every parameter and buffer. trained: names without the buffers.
        calls: uses of weights. norms: labels that a BatchNorm reads, and the name of its scale.
        sizes: module -> attribute -> labels that it counts (a tuple of them for a tuple of sizes).
        products: multiply-adds of operators that belong to no layer.
        uncounted: operators that multiply, nobody knows how often. used: parameters that were read.
        operations: every operator that ran. notes: what the user should know.
        forward: the operators of the pass in evaluation mode, but for `DETACH`.
        noticed: what in the model's code could notice a cut; "" where nothing could.
        images: how many the example holds.
        positions: tensors that hold positions among channels, by their ids, and the planes of these channels.
    """

    space: LabelSpace = field(default_factory=LabelSpace)
    parameters: dict[str, tuple[Plane, ...]] = field(default_factory=dict)
    trained: frozenset[str] = frozenset()
    calls: list[LayerCall] = field(default_factory=list)
    norms: list[tuple[Plane, str]] = field(default_factory=list)
    sizes: dict[str, dict[str, Plane | tuple[Plane | int, ...]]] = field(default_factory=dict)
    products: list[ProductCall] = field(default_factory=list)
    uncounted: dict[str, int] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    path: list[str] = field(default_factory=list)
    modules: dict[str, nn.Module] = field(default_factory=dict)
    operations: list[Call] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    forward: tuple[Operation, ...] = ()
    noticed: str = ""
    images: int = 1
    positions: dict[int, tuple[Plane, ...]] = field(default_factory=dict)
    _values: dict[int, tuple[Tensor, Value]] = field(default_factory=dict)

    @property
    def module(self) -> str:
        """The module whose forward is running."""
        return self.path[-1] if self.path else ""

    def value_of(self, tensor: Tensor) -> Value:
        return self._values.get(id(tensor), (tensor, NOTHING))[1]

    def use_positions(self, call: Call) -> None:
        """Where an operator reads positions among channels, these stay."""
        for tensor in call.tensors:
            planes = self.positions.get(id(tensor))
            if planes is not None and call.operator == DETACH:
                self.positions[id(call.outputs[0])] = planes
            elif planes is not None:
                call.freeze(planes, "its position among the channels is used")

    def tensors_of_parameters(self) -> list[Tensor]:
        """The parameters themselves, without buffers."""
        return [tensor for tensor, value in self._values.values() if value.parameter in self.trained]

    def remember(self, tensor: Tensor, value: Value) -> None:
        # Holding the tensor keeps its id from being given to another one.
        self._values[id(tensor)] = (tensor, value)

    def add_parameter(self, name: str, tensor: Tensor) -> None:
        """Every axis of a parameter gets labels of its own; integer tensors get none."""
        rank = tensor.dim()
        sizes = enumerate(tensor.shape) if tensor.is_floating_point() else ()
        planes = tuple(along(self.space.fresh(size), axis, rank) for axis, size in sizes if size > 1)
        self.set_parameter(name, tensor, planes)

    def set_parameter(self, name: str, tensor: Tensor, planes: tuple[Plane, ...]) -> None:
        """This tensor is the parameter of that name and has these labels."""
        self.parameters[name] = planes
        self.remember(tensor, Value(planes, parameter=name, static=True))

"""From a model and an example to what its operators say about channels.

The model's own forward runs once, on a copy without data (PyTorch's fake tensors: shapes and no arithmetic), under a
dispatch mode that sees every ATen operator. For each one a rule (`rules.py`) passes the labels of the inputs on to the
outputs. The trace is only the analysis: what is pruned later is the user's own module, never a traced program.
"""

from __future__ import annotations

import copy
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from reconv.errors import GraphError
from reconv.graph.labels import LabelSpace, Plane, along

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
    """

    layer: str
    parameter: str | None
    kind: str
    outputs: Plane
    inputs: Plane
    positions: int
    window: Mapping[str, tuple[int, ...]] | None = None


class Call:
    """One operator call, as a rule sees it."""

    def __init__(self, record: Record, func: torch._ops.OpOverload, arguments: dict[str, Any], outputs: Any):
        self.record = record
        self.func = func
        self.arguments = arguments
        self.outputs: list[Tensor] = [t for t in pytree.tree_leaves(outputs) if isinstance(t, Tensor)]
        self.space = record.space

    @property
    def operator(self) -> str:
        return f"{self.func.namespace}.{self.func._opname}"

    def __getitem__(self, argument: str) -> Any:
        return self.arguments[argument]

    def value(self, tensor: Tensor | None) -> Value:
        return NOTHING if tensor is None else self.record.value_of(tensor)

    @property
    def tensors(self) -> list[Tensor]:
        """Every tensor among the arguments, in order."""
        return [t for t in pytree.tree_leaves(self.arguments) if isinstance(t, Tensor)]

    @property
    def where(self) -> str:
        """The operator, the line of the model's code that ran it, and the module it stands in."""
        frame = sys._getframe(1)
        while frame.f_back is not None and frame.f_code.co_filename.startswith(_OWN_FOLDERS):
            frame = frame.f_back
        line = f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
        return f"{self.func._opname} at {line}, in {self.record.module or 'the model'}"

    def freeze(self, planes: Sequence[Plane], why: str) -> None:
        if planes:
            reason = f"{why} ({self.where})"
            for plane in planes:
                self.space.freeze(plane, reason)


Rule = Callable[[Call], "Value | list[Value]"]


@dataclass
class Record:
    """All that one trace learns."""

    space: LabelSpace = field(default_factory=LabelSpace)
    parameters: dict[str, tuple[Plane, ...]] = field(default_factory=dict)
    calls: list[LayerCall] = field(default_factory=list)
    norms: list[tuple[Plane, str]] = field(default_factory=list)
    paddings: dict[str, tuple[Plane, Plane]] = field(default_factory=dict)
    uncounted: dict[str, int] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    path: list[str] = field(default_factory=list)
    modules: dict[str, nn.Module] = field(default_factory=dict)
    _values: dict[int, tuple[Tensor, Value]] = field(default_factory=dict)

    @property
    def module(self) -> str:
        """The module whose forward is running."""
        return self.path[-1] if self.path else ""

    def value_of(self, tensor: Tensor) -> Value:
        return self._values.get(id(tensor), (tensor, NOTHING))[1]

    def remember(self, tensor: Tensor, value: Value) -> None:
        # Holding the tensor keeps its id from being given to another one.
        self._values[id(tensor)] = (tensor, value)

    def forget_tensors(self) -> None:
        self._values.clear()
        self.modules.clear()

    def bear(self, name: str, tensor: Tensor) -> None:
        """Every axis of a parameter is born with labels of its own."""
        rank = tensor.dim()
        planes = tuple(along(self.space.fresh(size), axis, rank) for axis, size in enumerate(tensor.shape) if size > 1)
        self.parameters[name] = planes
        self.remember(tensor, Value(planes, parameter=name, static=True))


class _Recorder(TorchDispatchMode):
    """Runs every operator as it is, then asks its rule what became of the labels."""

    def __init__(self, record: Record, rule_of: Callable[[torch._ops.OpOverload], Rule]):
        super().__init__()
        self.record = record
        self.rule_of = rule_of

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        outputs = func(*args, **(kwargs or {}))
        call = Call(self.record, func, _bound(func, args, kwargs or {}), outputs)
        self.record.used.update(v.parameter for v in map(call.value, call.tensors) if v.parameter)
        if call.outputs:
            values = self.rule_of(func)(call)
            values = [values] * len(call.outputs) if isinstance(values, Value) else values
            for tensor, value in zip(call.outputs, values, strict=True):
                self.record.remember(tensor, value)
        return outputs


def _bound(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments by the names of the operator's schema, defaults filled in."""
    schema = func._schema.arguments
    bound = {a.name: a.default_value for a in schema if a.has_default_value()}
    bound.update(zip((a.name for a in schema), args, strict=False))
    bound.update(kwargs)
    return bound


def record_forward(model: nn.Module, example: Any, rule_of: Callable[[torch._ops.OpOverload], Rule]) -> Record:
    """Run `model` on `example` without data and record what its operators say about channels.

    Args:
        model: any module; it is copied, not changed.
        example: one tensor, a tuple of positional arguments, or a mapping of keyword arguments.
        rule_of: gives the rule of an operator.

    Returns:
        The record.

    Raises:
        GraphError: the model does not run on the example.
    """
    try:
        return _record(model, example, rule_of, FakeTensorMode(allow_non_fake_inputs=True))
    except torch._subclasses.fake_tensor.UnsupportedFakeTensorException:
        return _record(model, example, rule_of, None)
    except RuntimeError as error:
        # A forward that looks at values cannot run without data: once more, with them.
        if "data-dependent" not in str(error).lower() and type(error).__name__ not in (
            "DataDependentOutputException",
            "DynamicOutputShapeException",
        ):
            raise _does_not_run(model, error) from error
        return _record(model, example, rule_of, None)
    except (TypeError, ValueError, IndexError, KeyError, AttributeError, NotImplementedError) as error:
        raise _does_not_run(model, error) from error


def _does_not_run(model: nn.Module, error: Exception) -> GraphError:
    line = " ".join(str(error).split())[:300]
    return GraphError(
        f"{type(model).__name__}: the model does not run on the example it was given ({type(error).__name__}: {line}); "
        "give an example input of the shape and type that its forward expects"
    )


def _record(
    model: nn.Module,
    example: Any,
    rule_of: Callable[[torch._ops.OpOverload], Rule],
    fake: FakeTensorMode | None,
) -> Record:
    record = Record()
    twin = _twin(model, fake)
    record.modules = dict(twin.named_modules())
    for name, tensor in [*twin.named_parameters(), *twin.named_buffers()]:
        record.bear(name, tensor)
    example = example if fake is None else pytree.tree_map_only(Tensor, fake.from_tensor, example)
    _run(twin.eval(), example, record, rule_of, fake)
    if any(name not in record.used for name, _ in twin.named_parameters()):
        # Parameters that only training uses (auxiliary classifiers) are cut with the channels they read.
        calls, uncounted = list(record.calls), dict(record.uncounted)
        two = pytree.tree_map_only(Tensor, lambda t: t.expand(2, *t.shape[1:]) if len(t) == 1 else t, example)
        with suppress(Exception):
            _run(twin.train(), two, record, rule_of, fake)
        record.calls, record.uncounted = calls, uncounted
    record.forget_tensors()
    return record


def _run(
    twin: nn.Module,
    example: Any,
    record: Record,
    rule_of: Callable[[torch._ops.OpOverload], Rule],
    fake: FakeTensorMode | None,
) -> None:
    args, kwargs = call_arguments(example)
    with _path_followed(twin, record), torch.no_grad(), fake or nullcontext(), _Recorder(record, rule_of):
        outputs = twin(*args, **kwargs)
    for tensor in pytree.tree_leaves(outputs):
        if isinstance(tensor, Tensor):
            for plane in record.value_of(tensor).planes:
                record.space.freeze(plane, "network output (classifier)")


def call_arguments(example: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and keyword arguments of a call of the model."""
    if isinstance(example, Mapping):
        return (), dict(example)
    return (tuple(example), {}) if isinstance(example, (tuple, list)) else ((example,), {})


def _twin(model: nn.Module, fake: FakeTensorMode | None) -> nn.Module:
    """A copy of the model whose parameters and buffers are fake: shapes without data."""
    if fake is None:
        return copy.deepcopy(model)
    tensors = [*model.parameters(), *model.buffers()]
    return copy.deepcopy(model, {id(t): fake.from_tensor(t) for t in tensors})


@contextmanager
def _path_followed(model: nn.Module, record: Record) -> Iterator[None]:
    """While it runs, `record.module` is the dotted name of the module whose forward runs."""
    handles = []
    for name, module in model.named_modules():

        def enter(_module: nn.Module, _args: Any, name: str = name) -> None:
            record.path.append(name)

        def leave(_module: nn.Module, _args: Any, _output: Any) -> None:
            record.path.pop()

        handles.append(module.register_forward_pre_hook(enter))
        handles.append(module.register_forward_hook(leave))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()

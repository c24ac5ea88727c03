"""From a model and an example to what its operators say about channels.

The model's own forward runs once, on a copy without data (PyTorch's fake tensors: shapes and no arithmetic), under a
dispatch mode that sees every ATen operator. For each one a rule (`rules/`) passes the labels of the inputs on to the
outputs. The trace is only the analysis: what is pruned later is the user's own module, never a traced program.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch._subclasses import fake_tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.modules.dropout import _DropoutNd
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from reconv.errors import GraphError, ReconvError
from reconv.graph.constants import Constants, FilledError, Place
from reconv.graph.constraints import label_classes
from reconv.graph.copies import copy_without_data, named_modules, parameters_and_buffers, without_data
from reconv.graph.labels import Plane
from reconv.graph.questions import FunctionCalls
from reconv.graph.record import NOTHING, Call, Record, Rule, Value, line_of_the_model, operations_of, tensors_among
from reconv.graph.rules import outputs_without_data
from reconv.graph.tensors import tensors_in

_DEVICE = torch.ops.prim.device.default
WITHOUT_DATA = (
    fake_tensor.DataDependentOutputException,
    fake_tensor.DynamicOutputShapeException,
    fake_tensor.UnsupportedFakeTensorException,
)
# What a forward raises that was given what it cannot take.
_OF_A_FORWARD = (RuntimeError, TypeError, ValueError, LookupError, AttributeError, AssertionError)

MOST_FILLED = 16

RuleOf = Callable[[torch._ops.OpOverload], Rule]
Check = Callable[[Call], None]
Fake: TypeAlias = "FakeTensorMode | None"  # the mode of a run without data


class _Recorder(TorchDispatchMode):
    """Runs every operator as it is, then asks its rule what became of the labels."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing is compiled here, and keeping the compiler away takes time at every operator

    def __init__(
        self,
        record: Record,
        rule_of: RuleOf,
        check: Check | None,
        functions: FunctionCalls,
        fake: Fake,
        constants: Constants,
    ):
        super().__init__()
        self.constants = constants
        self.record = record
        self.functions = functions
        self.fake = fake
        self.rule_of = rule_of
        self.check = check

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func.namespace == "prim":  # a question, such as for a tensor's device
            device = getattr(args[0], "fake_device", None) if func is _DEVICE else None
            return func(*args, **(kwargs or {})) if device is None else device
        arguments = bind_arguments(func, args, kwargs or {})
        tensors, line = tensors_among(arguments.values()), line_of_the_model()
        known, place = self.constants.known(tensors), (func._opname, line)
        outputs = None
        if known or not tensors:
            outputs = self.constants.compute(func, args, kwargs or {}, tensors, place)
        if outputs is None and self.fake is not None:
            outputs = outputs_without_data(func, arguments, self.fake)
        if outputs is None:
            outputs = func(*args, **(kwargs or {}))
        call = Call(self.record, func, arguments, outputs, line)
        call.known = known
        call.function = self.functions.current
        if known or not tensors or self.fake is None:
            self.constants.note(func, call.outputs, tensors, place)
            call.constant = bool(call.outputs) and all(map(self.constants.holds, call.outputs))
        self.record.used.update(v.parameter for v in call.before if v.parameter)
        if call.outputs:
            values = self._values(call)
            call.after = [values] * len(call.outputs) if isinstance(values, Value) else values
            for tensor, value in zip(call.outputs, call.after, strict=True):
                self.record.remember(tensor, value)
        if self.record.positions:
            self.record.use_positions(call)
        self.functions.note_operator(call.operator)
        if self.check is not None:
            self.check(call)
        self.record.operations.append(call)
        return outputs

    def _values(self, call: Call) -> Value | list[Value]:
        """What the operator's rule says; a rule that fails is a fault of its own, not of the model or its example."""
        try:
            return self.rule_of(call.func)(call)
        except Exception as error:
            if self.check is not None:  # in a dry run it may say that the cut copy departs
                raise
            for tensor in call.tensors:
                call.freeze(call.value(tensor).planes, f"the rule for {call.operator} fails here, {in_one_line(error)}")
            return NOTHING


def bind_arguments(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments by the names of the operator's schema, defaults filled in."""
    names, defaults = _schema_of(func)
    return {**defaults, **dict(zip(names, args, strict=False)), **kwargs}


@lru_cache(maxsize=4096)
def _schema_of(func: Any) -> tuple[tuple[str, ...], dict[str, Any]]:
    schema = func._schema.arguments
    return tuple(a.name for a in schema), {a.name: a.default_value for a in schema if a.has_default_value()}


@dataclass(frozen=True)
class Recording:
    """A recorded run, and what is needed to run a cut copy of the model the same way.

    Args:
        record: of the run.
        model: the user's. fake: the mode of copies, None where the model had to run with data.
        training: whether a second pass in training mode ran too.
        filled: places at which the model's code makes a tensor of numbers that it fills later (see `Constants`).
        given: the constants among the model's outputs, and None in place of the others.
        why_with_data: why the model had to run with data; "" where it did not.
    """

    record: Record
    model: nn.Module
    fake: FakeTensorMode | None
    training: bool
    filled: frozenset[Place] | None = frozenset()
    given: tuple[Tensor | None, ...] = ()
    why_with_data: str = ""

    @cached_property
    def meeting(self) -> Plane:
        """The class of every label, by those that meet alone: without ties, and without what lies in folds."""
        return label_classes(self.record.space.united, self.record.space.count)


def record_forward(model: nn.Module, example: Any, rule_of: RuleOf) -> Recording:
    """Run `model` on `example` without data and record what its operators say about channels.

    Args:
        model: any module; it is copied, not changed.
        example: one tensor, a tuple of positional arguments, or a mapping of keyword arguments.
        rule_of: gives the rule of an operator.

    Returns:
        The recording.

    Raises:
        GraphError: the model does not run on the example.
    """
    try:
        return _record_without_data(model, example, rule_of)
    except ReconvError:
        raise
    except Exception as error:  # of the model's code, which may look at values: a run with data decides
        without_data = error
    try:
        recording = _record(model, example, rule_of, None)
    except _OF_A_FORWARD as error:
        raise _does_not_run(model, error) from error
    return replace(recording, why_with_data=_why_with_data(without_data))


def _why_with_data(error: Exception) -> str:
    """Why a forward does not run without data."""
    if isinstance(error, WITHOUT_DATA) or "data-dependent" in str(error).lower():
        return f"looks at values ({str(error).split()[0] if str(error) else type(error).__name__})"
    return f"does not run without data ({in_one_line(error)})"


def _record_without_data(model: nn.Module, example: Any, rule_of: RuleOf) -> Recording:
    """Constants are computed, but for those that are filled with what depends on the input, which shows as it runs."""
    filled: frozenset[Place] | None = frozenset()
    while True:
        try:
            return _record(model, example, rule_of, FakeTensorMode(allow_non_fake_inputs=True), filled)
        except FilledError as error:
            filled = None if filled is None or len(filled) >= MOST_FILLED else filled | {error.place}


def _does_not_run(model: nn.Module, error: Exception) -> GraphError:
    return GraphError(
        f"{type(model).__name__}: the model does not run on the example it was given ({in_one_line(error)}); "
        "give an example input of the shape and type that its forward expects"
    )


def in_one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def _record(
    model: nn.Module,
    example: Any,
    rule_of: RuleOf,
    fake: FakeTensorMode | None,
    filled: frozenset[Place] | None = frozenset(),
) -> Recording:
    record = Record()
    copy = copy_without_data(model, fake)
    parameters, buffers = parameters_and_buffers(copy)
    for name, tensor in (parameters | buffers).items():
        record.add_parameter(name, tensor)
    record.trained = frozenset(parameters)
    given = run(copy.eval(), example, record, rule_of, fake, filled=filled)
    record.forward = operations_of(record.operations)
    training = not record.used.issuperset(parameters)
    if training:
        # Parameters that only training uses (auxiliary classifiers) are cut with the channels they read.
        counted = list(record.calls), list(record.products), dict(record.uncounted)
        try:
            run(in_training(copy), batch_of_two(example), record, rule_of, fake, filled=filled)
        except Exception as error:  # of the user's code, in a mode that the caller did not choose
            record.notes.append(f"layers that only training uses were not followed: {in_one_line(error)}")
            training = False
        record.calls, record.products, record.uncounted = counted
    return Recording(record, model, fake, training, filled, given)


def in_training(copy: nn.Module) -> nn.Module:
    """A copy in training mode, but for its dropouts: what they leave out is drawn in a tensor of fixed size."""
    copy.train()
    for module in copy.modules():
        if isinstance(module, _DropoutNd):
            module.eval()
    return copy


def batch_of_two(example: Any) -> Any:
    """A batch of two where there was one, for norms that train on batches."""
    return pytree.tree_map_only(Tensor, lambda t: t.expand(2, *t.shape[1:]) if t.dim() and len(t) == 1 else t, example)


def run(
    copy: nn.Module,
    example: Any,
    record: Record,
    rule_of: RuleOf,
    fake: FakeTensorMode | None,
    check: Check | None = None,
    filled: frozenset[Place] | None = frozenset(),
) -> tuple[Tensor | None, ...]:
    """Run the copy once under the recorder; `check` sees every call before the next one runs.

    Returns:
        The constants among the tensors that the model gives, and None in place of the others; () where there are none.
    """
    record.modules = dict(named_modules(copy))
    args, kwargs = call_arguments(without_data(example, fake))
    functions = FunctionCalls(lambda: record.modules.get(record.module))
    varying = (
        set() if fake is not None else {id(t) for t in (*copy.parameters(), *copy.buffers(), *tensors_in(example))}
    )
    constants = Constants(fake, filled, varying)
    recorder = _Recorder(record, rule_of, check, functions, fake, constants)
    with _path_followed(record), torch.no_grad(), fake or nullcontext(), functions, recorder:
        outputs = tensors_in(copy(*args, **kwargs))
    record.noticed = record.noticed or functions.noticed
    if not outputs:
        raise GraphError(
            f"{type(copy).__name__}: no tensor was found in what its forward returns, so that nothing is known to "
            "depend on its layers; return tensors, in containers or objects of any kind"
        )
    for tensor in outputs:
        for plane in (*record.value_of(tensor).planes, *record.positions.get(id(tensor), ())):
            record.space.freeze(plane, "network output (classifier)")
    return constants.known(outputs)


def call_arguments(example: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and keyword arguments of a call of the model."""
    if isinstance(example, Mapping):
        return (), dict(example)
    return (tuple(example), {}) if isinstance(example, (tuple, list)) else ((example,), {})


@contextmanager
def _path_followed(record: Record) -> Iterator[None]:
    """While it runs, `record.module` is the dotted name of the module whose forward runs."""
    record.path.clear()
    own = {name: module.__dict__.get("forward") for name, module in record.modules.items()}
    for name, module in record.modules.items():
        module.__dict__["forward"] = _followed(module.forward, name, record.path)
    try:
        yield
    finally:
        for name, module in record.modules.items():
            del module.__dict__["forward"]
            if own[name] is not None:
                module.__dict__["forward"] = own[name]


def _followed(forward: Callable[..., Any], name: str, path: list[str]) -> Callable[..., Any]:
    def followed(*args: Any, **kwargs: Any) -> Any:
        path.append(name)
        try:
            return forward(*args, **kwargs)
        finally:
            path.pop()

    followed.__dict__["__wrapped__"] = forward
    return followed

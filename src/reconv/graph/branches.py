"""Residual branches: what lies between a stream and the addition to it, and may be removed as a whole.

`x + branch(x)` is `x` without the branch. In the traced forward pass that is an addition of which one operand is
computed from the other. What then has no use any more (nothing else reads it) is the branch, whatever is in it.

A branch has a channel class of its own, its *presence*: a mask over classes without it is of a network without the
branch. All that a cut is planned, priced and proved by thus follows by the same masks.

How the user's module is made to run without the branch is tried on a copy without data: modules that only serve the
branch give nothing (`bypass.py`), or the block that then only passes its input on becomes an identity. The operators
that run must be those of the first run less the branch's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from reconv.graph.bypass import GUARD, IDENTITY, Nothing, bypass, is_within, outermost, vanishing
from reconv.graph.copies import copy_without_data, named_modules, parameters_and_buffers, without_data
from reconv.graph.labels import Plane
from reconv.graph.leftovers import leftovers_removed
from reconv.graph.questions import NoFastPath
from reconv.graph.record import DETACH, Operand, Operation
from reconv.graph.rules import operator_named
from reconv.graph.tracing import WITHOUT_DATA, call_arguments, in_one_line

if TYPE_CHECKING:
    from reconv.graph.channels import ChannelGraph

CHANGED = "its shortcut changes the signal (a convolution, a stride, other channels)"
READ_ELSEWHERE = "other parts of the network read it too"
OVERWRITTEN = "the sum is overwritten in place, and the stream is read after it"
SHARED = "it shares parameters with the rest of the network"

_RESERVED = "aten.empty"  # what a BatchNorm keeps for its backward pass: no work
_IDEMPOTENT = ("aten.relu", "aten.hardtanh")
_UNCHANGED = ("aten.max_pool2d_with_indices", "aten.clone", "aten.alias", "aten.view", "aten._unsafe_view")


@dataclass(frozen=True, eq=False)
class Branch:
    """A residual branch.

    Args:
        name: of the module that holds its layers.
        layers: its layers. groups: groups of channels that live in it alone.
        addition: index of the operator that adds it to the stream, among those of the forward pass.
        stream: which operand of the addition is the stream, 0 or 1.
        operations: indices of the operators that no longer run without it, the addition among them.
        replacements: path of a module -> what stands in for it (see `bypass`).
        presence: its channel class. classes: all classes that go with it: this one, and those of its groups.
        reason: why it cannot be removed; "" where it can.
    """

    name: str
    layers: tuple[str, ...]
    groups: tuple[str, ...] = ()
    addition: int = -1
    stream: int = 0
    operations: frozenset[int] = frozenset()
    replacements: Mapping[str, int] = field(default_factory=dict)
    presence: int = -1
    classes: Plane = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    reason: str = ""

    def __repr__(self) -> str:
        return f"Branch({self})"

    def __str__(self) -> str:
        count = f"{len(self.layers)} layer{'s' * (len(self.layers) != 1)}"
        return f"{self.name}: {count}; {self.reason or 'may be removed'}"


_extended: WeakKeyDictionary[ChannelGraph, ChannelGraph] = WeakKeyDictionary()


def with_branches(graph: ChannelGraph) -> ChannelGraph:
    """The graph with its residual branches: their classes, and which layers and parameters are in them.

    Cost: two forward passes without data, and one for each kind of branch; once for each graph.
    """
    if graph.branches is not None:
        return graph
    if graph not in _extended:
        _extended[graph] = _extend(graph, find_branches(graph))
    return _extended[graph]


def _extend(graph: ChannelGraph, branches: Sequence[Branch]) -> ChannelGraph:
    """Give every branch that may be removed its classes."""
    members = {group.name: group.units for group in graph.groups}
    numbered: list[Branch] = []
    count = graph.classes
    for branch in branches:
        if not branch.reason:
            branch, count = replace(branch, presence=count), count + 1
        numbered.append(branch)
    result, needs = [], {layer.name: [*layer.needs] for layer in graph.layers}
    tensors: dict[str, list[int]] = {}
    parameters, buffers = parameters_and_buffers(graph.model)
    for branch in numbered:
        if not branch.reason:
            inside = [other.presence for other in numbered if _is_inside(other, branch)]
            groups = [members[name] for name in branch.groups]
            branch = replace(branch, classes=np.concatenate([*groups, [branch.presence, *inside]]).astype(np.int64))
            for name in branch.layers:
                needs[name].append(branch.presence)
            for name in (*parameters, *buffers):
                if any(is_within(name, path) for path in vanishing(branch.replacements)):
                    tensors.setdefault(name, []).append(branch.presence)
        result.append(branch)
    return replace(
        graph,
        classes=count,
        branches=tuple(result),
        layers=tuple(replace(layer, needs=np.array(needs[layer.name], dtype=np.int64)) for layer in graph.layers),
        needs={name: np.array(classes, dtype=np.int64) for name, classes in tensors.items()},
    )


def _is_inside(branch: Branch, other: Branch) -> bool:
    return branch is not other and not branch.reason and branch.operations < other.operations


def find_branches(graph: ChannelGraph) -> tuple[Branch, ...]:
    """Every residual branch, in the order of the forward pass, with the reason where it cannot be removed."""
    flow = _Flow(graph)
    branches = [branch for i in range(len(flow.operations)) if (branch := flow.branch(i)) is not None]
    if any(not branch.reason for branch in branches):
        branches = _Trials(graph, flow).tried(branches)
    return tuple(_named(branches))


def _named(branches: Sequence[Branch]) -> list[Branch]:
    """Names that no two share: of branches in one module, the later ones are called by their first layer."""
    taken: set[str] = set()
    result = []
    for branch in branches:
        name = branch.name if branch.name not in taken else branch.layers[0]
        taken.add(name)
        result.append(replace(branch, name=name))
    return result


# ------------------------------------------------------------------ what only serves a branch


class _Flow:
    """Who reads what in a forward pass."""

    def __init__(self, graph: ChannelGraph):
        self.graph = graph
        self.operations = graph.forward
        self.producer = {output.number: i for i, row in enumerate(self.operations) for output in row.outputs}
        self.memory = {output.number: output.memory for row in self.operations for output in row.outputs}
        self.readers: dict[int, list[int]] = {}
        self.readers_of_parameter: dict[str, set[int]] = {}
        for i, operation in enumerate(self.operations):
            for operand in operation.operands:
                self.readers.setdefault(operand.number, []).append(i)
                if operand.parameter is not None:
                    self.readers_of_parameter.setdefault(operand.parameter, set()).add(i)
        self.modules: dict[str, set[int]] = {}  # every module's operators, with those of the modules inside it
        for i, operation in enumerate(self.operations):
            path = operation.module
            while path:
                self.modules.setdefault(path, set()).add(i)
                path = path.rpartition(".")[0]
        self.aliases: dict[int, list[int]] = {}  # numbers of the tensors that share a memory
        for number, memory in self.memory.items():
            self.aliases.setdefault(memory, []).append(number)
        self.uses = self._uses()
        self.dead: dict[int, set[int]] = {}  # by addition, what has no use without its branch
        self.before = self._ancestors()

    def _ancestors(self) -> list[int]:
        """Of every operator, those that it depends on, as a set of bits."""
        result: list[int] = []
        for i, operation in enumerate(self.operations):
            bits = 1 << i
            for operand in operation.operands:
                source = self.producer.get(operand.number)
                if source is not None and source < i:
                    bits |= result[source]
            result.append(bits)
        return result

    def branch(self, index: int) -> Branch | None:
        """The branch that an operator adds to a stream; None where it adds none."""
        operation = self.operations[index]
        pair = self._two_signals(operation)
        if pair is None:
            return None
        added = [i for i in (0, 1) if self._reads(pair[i], pair[1 - i])]
        if not added:
            return self._beside_a_shortcut(index, pair)
        operand, stream = pair[added[0]], pair[1 - added[0]]
        dead = self._without_use(index, operand)
        layers = self._layers_in(dead)
        if not layers:
            layers = self._layers_in(self._between(stream, operand))
            return Branch(_common(layers), layers, addition=index, reason=READ_ELSEWHERE) if layers else None
        branch = Branch(_common(layers), layers, addition=index, stream=1 - added[0])
        if self._overwrites(operation, stream):
            return replace(branch, reason=OVERWRITTEN)
        return self._with_modules(branch, dead, stream)

    def _two_signals(self, operation: Operation) -> tuple[Operand, Operand] | None:
        """The operands of an addition of two signals of one shape."""
        if not operator_named(operation.operator).adds or operation.arguments.get("alpha", 1) != 1:
            return None
        operands = operation.operands
        if len(operands) != 2 or any(o.static for o in operands) or operands[0].number == operands[1].number:
            return None
        return (operands[0], operands[1]) if operands[0].shape == operands[1].shape else None

    def _reads(self, operand: Operand, stream: Operand) -> bool:
        """Whether one signal is computed from another."""
        last = self.producer.get(operand.number)
        if last is None:
            return False
        return any(self.before[last] >> reader & 1 for reader in self.readers[stream.number])

    def _beside_a_shortcut(self, index: int, pair: tuple[Operand, Operand]) -> Branch | None:
        """Two signals of one origin, neither of which is computed from the other."""
        sources = [self.producer.get(operand.number) for operand in pair]
        if None in sources:
            return None
        a, b = (self.before[int(s)] for s in sources if s is not None)
        own = [self._layers_in(self._bits(own)) for own in (a & ~b, b & ~a)]
        if not all(own) and not any(own):
            return None
        layers = max(own, key=len)
        return Branch(_common(layers), layers, addition=index, reason=CHANGED) if a & b else None

    def _bits(self, bits: int) -> set[int]:
        return {i for i in range(len(self.operations)) if bits >> i & 1}

    def _between(self, stream: Operand, operand: Operand) -> set[int]:
        """What an operand is computed by, from the stream on."""
        last, first = self.producer[operand.number], self.producer.get(stream.number)
        return self._bits(self.before[last] & ~(0 if first is None else self.before[first]))

    def _without_use(self, index: int, operand: Operand) -> set[int]:
        """The operators that nothing needs any more once an addition leaves this operand out."""
        dead = {index}
        still_read = {o.number for o in self.operations[index].operands} - {operand.number}
        for i in reversed(range(index)):
            outputs = {output.number for output in self.operations[i].outputs}
            if self.uses[i] and self.uses[i] <= dead and not outputs & still_read:
                dead.add(i)
        return dead - {index}

    def _uses(self) -> list[set[int]]:
        """Of every operator, those that read what it gives, or what it overwrites under another name."""
        result = []
        for i, operation in enumerate(self.operations):
            readers = {r for output in operation.outputs for r in self.readers.get(output.number, [])}
            if operation.overwritten is not None:
                aliases = self.aliases.get(operation.overwritten, [])
                readers |= {r for n in aliases if self.producer[n] < i for r in self.readers.get(n, []) if r > i}
            result.append(readers)
        return result

    def _layers_in(self, operations: set[int]) -> tuple[str, ...]:
        """The layers whose parameters are read by these operators alone."""
        return tuple(
            layer.name
            for layer in self.graph.layers
            if any(
                (readers := self.readers_of_parameter.get(name)) and readers <= operations
                for name in ([layer.weight] if layer.weight else self._own_parameters(layer.name))
            )
        )

    def _own_parameters(self, layer: str) -> list[str]:
        return [name for name in self.readers_of_parameter if is_within(name, layer)]

    def _overwrites(self, operation: Operation, stream: Operand) -> bool:
        """Whether something writes to the sum, which then is the stream itself, that others still read."""
        total = operation.outputs[0]
        memory = self.memory.get(stream.number, stream.number)
        index = self.producer[total.number]
        for i, later in enumerate(self.operations[index + 1 :], index + 1):
            if later.overwritten != total.memory or total.memory == memory:
                continue
            if self._is_idle(later, stream):
                continue
            others = [r for number in self.aliases.get(memory, []) for r in self.readers.get(number, [])]
            others += self.readers.get(stream.number, [])
            return stream.number not in self.producer or any(r > i for r in others)
        return False

    def _is_idle(self, operation: Operation, stream: Operand) -> bool:
        """Whether an activation leaves the stream as it is, since it has been through the same one."""
        kind = operation.operator.removesuffix("_")
        if kind not in _IDEMPOTENT:
            return False
        number = stream.number
        while number in self.producer:
            source = self.operations[self.producer[number]]
            if source.operator.removesuffix("_") == kind:
                return _numbers(source) == _numbers(operation)
            if source.operator not in _UNCHANGED:
                return False
            number = source.operands[0].number
        return False

    def _with_modules(self, branch: Branch, dead: set[int], stream: Operand) -> Branch:
        """The branch with its stand-ins: the block around it becomes an identity, or its own modules give nothing."""
        self.dead[branch.addition] = dead
        branch = self.inside(branch)
        block, gone = self.operations[branch.addition].module, branch.operations
        after = self.readers.get(self.operations[branch.addition].outputs[0].number, [])
        idle = {after[0]} if len(after) == 1 and self._is_idle(self.operations[after[0]], stream) else set()
        if block and self.modules[block] <= gone | idle:
            branch = replace(branch, operations=gone | self.modules[block], replacements={block: IDENTITY})
        for path in branch.replacements:
            for name, readers in self.readers_of_parameter.items():
                if is_within(name, path) and not readers <= branch.operations:
                    return replace(branch, reason=SHARED)
        groups = tuple(group.name for group in self.graph.groups if set(group.producers) <= set(branch.layers))
        return replace(branch, groups=groups)

    def inside(self, branch: Branch) -> Branch:
        """The branch where the block around it stays, and the modules that only serve it give nothing."""
        dead = self.dead[branch.addition]
        serving = {
            path: 1
            for path, operations in self.modules.items()
            if operations & dead and all(i in dead or self._is_reserved(i) for i in operations)
        }
        replacements = dict.fromkeys(outermost(serving), 1)
        gone = dead.union([branch.addition], *(self.modules[path] for path in replacements))
        return replace(branch, operations=frozenset(gone), replacements=replacements)

    def _is_reserved(self, index: int) -> bool:
        return not self.operations[index].operands


def _numbers(operation: Operation) -> list[Any]:
    return [value for value in operation.arguments.values() if isinstance(value, (int, float))]


def _common(names: Sequence[str]) -> str:
    """The innermost module that holds all of these; a single one's own name."""
    parts = [name.split(".") for name in names]
    shared = []
    for column in zip(*parts, strict=False):
        if len(set(column)) > 1:
            break
        shared.append(column[0])
    return ".".join(shared) or names[0]


# ------------------------------------------------------------------ whether the module runs without it


class _Trials:
    """Runs copies of the model without data and without some of its branches."""

    def __init__(self, graph: ChannelGraph, flow: _Flow):
        self.graph = graph
        self.flow = flow
        self.modules = dict(named_modules(graph.model))
        self.outputs: dict[str, int] = {}

    def tried(self, branches: Sequence[Branch]) -> list[Branch]:
        """The branches, with the stand-ins that work, or the reason why none does."""
        result = list(branches)
        try:
            self._count_outputs()
        except Exception as error:  # of the user's code
            why = f"a second forward pass of the model fails ({in_one_line(error)})"
            return [b if b.reason else replace(b, reason=why) for b in result]
        kinds: dict[Any, list[int]] = {}
        for i, branch in enumerate(result):
            if not branch.reason:
                kinds.setdefault(self._kind(branch), []).append(i)
        for members in kinds.values():
            for i, branch in zip(members, self._one_for_all([result[i] for i in members]), strict=True):
                result[i] = branch
        self._together(result, [i for i, branch in enumerate(result) if not branch.reason])
        return result

    def _kind(self, branch: Branch) -> tuple[Any, ...]:
        """Branches of one kind are held by modules of one class, and have alike stand-ins."""
        base, identity = _base(branch.replacements), IDENTITY in branch.replacements.values()
        relative = {("" if identity else path[len(base) :], type(self.modules[path])) for path in branch.replacements}
        return type(self.modules.get(base.rstrip("."))), identity, frozenset(relative)

    def _one_for_all(self, branches: list[Branch]) -> list[Branch]:
        """Branches of one kind, after the first of them was tried."""
        reason, idle = self._run_without(branches[:1])
        if not reason:
            return [self._with_idle(branch, idle) for branch in branches]
        if IDENTITY in branches[0].replacements.values():
            return self._one_for_all([self.flow.inside(branch) for branch in branches])
        return [replace(branch, reason=reason) for branch in branches]

    def _with_idle(self, branch: Branch, idle: Mapping[str, int]) -> Branch:
        """The branch with the outputs of its stand-ins, and with stand-ins for modules that run no operator, such as
        a dropout, and that it alone feeds."""
        if IDENTITY in branch.replacements.values():
            return branch
        base = _base(branch.replacements)
        stand_ins = {base + path: n for path, n in idle.items() if base + path in self.modules}
        stand_ins = {path: self.outputs.get(path, 1) for path in branch.replacements} | stand_ins
        return replace(branch, replacements={path: stand_ins[path] for path in outermost(stand_ins)})

    def _together(self, branches: list[Branch], numbers: list[int]) -> None:
        """Try branches together; where that fails, half of them, and the other half."""
        if not numbers:
            return
        reason, _ = self._run_without([branches[i] for i in numbers])
        if reason and len(numbers) == 1:
            branches[numbers[0]] = replace(branches[numbers[0]], reason=reason)
        elif reason:
            self._together(branches, numbers[: len(numbers) // 2])
            self._together(branches, numbers[len(numbers) // 2 :])

    def _run_without(self, branches: Sequence[Branch]) -> tuple[str, dict[str, int]]:
        """Why the model does not run as predicted without these branches, "" where it does; and stand-ins for modules
        without operators that are given nothing, by their paths from where the others are."""
        gone: frozenset[int] = frozenset().union(*(branch.operations for branch in branches))
        operations = self.flow.operations
        expected = [row.operator for i, row in enumerate(operations) if i not in gone and row.operator != _RESERVED]
        paths = {path: n for branch in branches for path, n in branch.replacements.items()}
        given: dict[str, set[bool]] = {}

        def prepare(model: nn.Module) -> None:
            bypass(model, {path: self.outputs.get(path, 1) if n > 0 else n for path, n in paths.items()})
            for path, module in model.named_modules():
                module.register_forward_pre_hook(_note_nothing(path, given), with_kwargs=True)

        try:
            found, outputs = self._run(prepare)
        except Exception as error:  # whatever the model's code makes of it
            return f"the code around it cannot go on without it ({in_one_line(error)})", {}
        if any(isinstance(value, Nothing) for value in outputs):
            return "the network gives it as an output", {}
        if found != expected:
            pairs = zip(found, [*expected, *["nothing"] * len(found)], strict=False)
            other, wanted = next(((a, b) for a, b in pairs if a != b), ("nothing", "more"))
            return f"without it other operators run than expected ({other} in place of {wanted})", {}
        base = _base(paths)
        idle = {
            path[len(base) :]: self.outputs.get(path, 1) if kinds == {True} else GUARD
            for path, kinds in given.items()
            if True in kinds and path not in paths and path.startswith(base) and self._is_idle(path)
        }
        return "", idle

    def _is_idle(self, path: str) -> bool:
        """Whether a module runs no operator, and holds no parameters."""
        return path not in self.flow.modules and next(self.modules[path].parameters(), None) is None

    def _count_outputs(self) -> None:
        """How many outputs every module has, in a pass of the whole model."""

        def prepare(model: nn.Module) -> None:
            for path, module in model.named_modules():
                module.register_forward_hook(self._note_outputs(path))

        self._run(prepare)

    def _note_outputs(self, path: str) -> Any:
        def note(_: nn.Module, __: Any, output: Any) -> None:
            self.outputs[path] = len(output) if isinstance(output, (tuple, list)) else 1

        return note

    def _run(self, prepare: Callable[[nn.Module], None]) -> tuple[list[str], list[Any]]:
        """The operators that a prepared copy runs, and what it gives."""
        for fake in (FakeTensorMode(allow_non_fake_inputs=True), None):
            copy = copy_without_data(self.graph.model, fake).eval()
            prepare(copy)
            operators = _Operators()
            args, kwargs = call_arguments(without_data(self.graph.inputs, fake))
            try:
                apart = torch.random.fork_rng(devices=[]), leftovers_removed(copy)
                with apart[0], apart[1], torch.no_grad(), fake or nullcontext(), NoFastPath(), operators:
                    outputs = copy(*args, **kwargs)
                return operators.names, pytree.tree_leaves(outputs)
            except WITHOUT_DATA:  # it needs data, as when it was traced
                if fake is None:
                    raise
        raise AssertionError("unreachable")


def _base(paths: Iterable[str]) -> str:
    """What all these paths begin with, up to a point; of a single one, what its last name follows."""
    parents = [path.split(".")[:-1] for path in paths]
    shared = []
    for column in zip(*parents, strict=False):
        if len(set(column)) > 1:
            break
        shared.append(column[0] + ".")
    return "".join(shared)


def _note_nothing(path: str, given: dict[str, set[bool]]) -> Any:
    def note(_: nn.Module, args: Any, kwargs: Any) -> None:
        signals = [v for v in pytree.tree_leaves((args, kwargs)) if isinstance(v, (Tensor, Nothing))]
        nothing = bool(signals) and all(isinstance(v, Nothing) for v in signals)
        given.setdefault(path, set()).add(nothing)

    return note


class _Operators(TorchDispatchMode):
    """The names of the operators that run, but for those that make no work."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = f"{func.namespace}.{func._opname}"
        if func.namespace != "prim" and name not in (DETACH, _RESERVED):
            self.names.append(name)
        return func(*args, **(kwargs or {}))

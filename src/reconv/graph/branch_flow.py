"""Who reads what in a forward pass, and so: what only serves one operand of an addition.

That is the residual branch, or one operand of an addition that is no branch, with the reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from reconv.graph.branch import Branch
from reconv.graph.bypass import IDENTITY, is_within, outermost
from reconv.graph.record import Operand, Operation
from reconv.graph.rules import operator_named

if TYPE_CHECKING:
    from reconv.graph.channels import ChannelGraph

CHANGED = "its shortcut changes the signal (a convolution, a stride, other channels)"
READ_ELSEWHERE = "other parts of the network read it too"
OVERWRITTEN = "the sum is overwritten in place, and the stream is read after it"
SHARED = "it shares parameters with the rest of the network"

_IDEMPOTENT = ("aten.relu", "aten.hardtanh")
_UNCHANGED = ("aten.max_pool2d_with_indices", "aten.clone", "aten.alias", "aten.view", "aten._unsafe_view")


class BranchFlow:
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

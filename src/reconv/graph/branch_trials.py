"""Whether the user's module runs without its branches: tried on copies without data.

Modules that only serve a branch give nothing (`bypass.py`), or the block that then only passes its input on becomes an
identity. The operators that run must be those of the first run less the branch's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from reconv.graph.branch import Branch
from reconv.graph.branch_flow import BranchFlow
from reconv.graph.bypass import GUARD, IDENTITY, Nothing, bypass, outermost
from reconv.graph.copies import copy_without_data, named_modules, without_data
from reconv.graph.leftovers import leftovers_removed
from reconv.graph.questions import NoFastPath
from reconv.graph.record import DETACH
from reconv.graph.tracing import WITHOUT_DATA, call_arguments, in_one_line

if TYPE_CHECKING:
    from reconv.graph.channels import ChannelGraph

_RESERVED = "aten.empty"  # what a BatchNorm keeps for its backward pass: no work


class BranchTrials:
    """Runs copies of the model without data and without some of its branches."""

    def __init__(self, graph: ChannelGraph, flow: BranchFlow):
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

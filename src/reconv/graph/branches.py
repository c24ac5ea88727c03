"""Residual branches: what lies between a stream and the addition to it, and may be removed as a whole.

`x + branch(x)` is `x` without the branch. In the traced forward pass that is an addition of which one operand is
computed from the other. What then has no use any more (nothing else reads it) is the branch, whatever is in it
(`branch_flow.py`).

A branch has a channel class of its own, its *presence*: a mask over classes without it is of a network without the
branch. All that a cut is planned, priced and proved by thus follows by the same masks.

How the user's module is made to run without the branch is tried on a copy without data (`branch_trials.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np

from reconv.graph.branch import Branch
from reconv.graph.branch_flow import BranchFlow
from reconv.graph.branch_trials import BranchTrials
from reconv.graph.bypass import is_within, vanishing
from reconv.graph.copies import parameters_and_buffers

if TYPE_CHECKING:
    from reconv.graph.channels import ChannelGraph

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
    flow = BranchFlow(graph)
    branches = [branch for i in range(len(flow.operations)) if (branch := flow.branch(i)) is not None]
    if any(not branch.reason for branch in branches):
        branches = BranchTrials(graph, flow).tried(branches)
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

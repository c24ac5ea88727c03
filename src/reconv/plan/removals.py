"""Residual branches as the last step of the queues of their channels: what remains of them goes at once.

Where several groups of channels live in a branch, the last step of each stands for the removal, at an equal part of
what it costs; the solver takes these steps together or not at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from reconv.budget import Limits
from reconv.cost.terms import Values
from reconv.graph.branch import Branch
from reconv.graph.channels import ChannelGraph, ChannelGroup
from reconv.graph.labels import Plane
from reconv.graph.user_constraints import KEPT_BY_USER
from reconv.plan.curves import ErrorCurves
from reconv.plan.queues import Queue
from reconv.plan.rankings import Rankings


@dataclass(frozen=True, eq=False)
class Removals:
    """What `with_removals` gives.

    Args:
        queues: by group, and by branch for those that hold no group.
        teams: names of queues whose last steps go together.
        kept: why a branch that the network can do without stays, by its name.
    """

    queues: dict[str, Queue]
    teams: tuple[tuple[str, ...], ...]
    kept: dict[str, str]


def with_removals(
    graph: ChannelGraph,
    queues: Mapping[str, Queue],
    rankings: Rankings,
    limits: Limits,
    curves: ErrorCurves | None,
) -> Removals:
    """Let residual branches go as a whole.

    Args:
        graph: with its branches. queues, rankings: of its groups. limits: a branch stays where one of its layers has to
            keep a share of its channels.
        curves: whose errors say what the removal costs; None: the sum of the scores of all its channels does.
    """
    result, teams, kept = dict(queues), [], {}
    for branch in _innermost(graph.branches or ()):
        reason = _kept_by_user(graph, branch, limits)
        cost = None if reason else _cost(graph, branch, rankings, curves)
        if reason or cost is None:
            kept[branch.name] = reason or "nothing is known of what its removal costs"
            continue
        members = [name for name in branch.groups if name in queues]
        rest = np.setdiff1d(
            branch.classes, np.concatenate([*(queues[n].group.units for n in members), branch.classes[:0]])
        )
        if not members:
            result[branch.name] = _alone(branch, cost)
            continue
        for i, name in enumerate(members):
            queue = queues[name]
            others = np.setdiff1d(queue.group.units, queue.classes)
            last = np.concatenate([others, rest if i == 0 else others[:0]]).astype(np.int64)
            result[name] = _with_last_step(queue, last, cost / len(members))
        if len(members) > 1:
            teams.append(tuple(members))
    return Removals(result, tuple(teams), kept)


def _innermost(branches: Sequence[Branch]) -> list[Branch]:
    """Branches that may go and hold no other such."""
    able = [branch for branch in branches if not branch.reason]
    return [b for b in able if not any(other.operations < b.operations for other in able)]


def _kept_by_user(graph: ChannelGraph, branch: Branch, limits: Limits) -> str:
    """Which wish of the user forbids to remove a branch; "" where none does."""
    for name in branch.layers:
        layer = graph.layer(name)
        if replace(limits, minimum=1).least(name, layer.out_channels) > 1:
            return f"{name} has to keep a share of its channels"
        groups = {id(g): g for c in layer.outputs.tolist() if (g := graph.group_of_class.get(c)) is not None}
        if any(reason.startswith(KEPT_BY_USER) for group in groups.values() for reason in group.reasons.values()):
            return f"{name} is kept by the user"
    return ""


def _cost(graph: ChannelGraph, branch: Branch, rankings: Rankings, curves: ErrorCurves | None) -> float | None:
    """What is lost with a branch: error, or score; None where it is not known."""
    if curves is None:
        costs = [rankings.of[name].costs if name in rankings.of else None for name in branch.groups]
        known = [float(cost.sum()) for cost in costs if cost is not None]
        return sum(known) if known and len(known) == len(costs) and np.isfinite(known).all() else None
    # The layers that give the branch's own output, and not channels that live in it alone.
    ends = [name for name in branch.layers if not np.isin(graph.layer(name).outputs, branch.classes).all()]
    signals = [curves.signals[name] for name in ends if name in curves.signals]
    if signals:
        return max(signals)
    lone = [curves[name] for name in branch.groups if name in curves]
    whole = len(lone) == 1 and len(lone[0].order) == sum(len(g.units) for g in graph.groups if g.name in branch.groups)
    return float(lone[0].errors[-1]) if whole else None


def _with_last_step(queue: Queue, last: Plane, cost: float) -> Queue:
    """The queue with one more step, that takes these classes; with it, so much is lost in all."""
    classes = np.concatenate([queue.classes, last])
    lost: Values = np.append(queue.saved, cost - queue.saved.sum())
    key = max(float(queue.keys[-1]) if len(queue.keys) else 0.0, cost / max(queue.group.size, 1))
    return replace(
        queue,
        classes=classes,
        ends=np.append(queue.ends, len(classes)),
        keys=np.append(queue.keys, key),
        saved=lost,
        removal=True,
    )


def _alone(branch: Branch, cost: float) -> Queue:
    """The queue of a branch that no group of channels lives in: its removal is the only step."""
    group = ChannelGroup(
        branch.name, np.array([branch.presence]), branch.layers, (), False, {}, np.zeros(1, dtype=np.int64)
    )
    one = np.ones(1)
    return Queue(group, branch.classes, np.array([len(branch.classes)]), one * cost, one * cost, removal=True)

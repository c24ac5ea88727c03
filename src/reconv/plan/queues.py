"""Every group's queue of removals, lowest score first, cut into the steps that the limits allow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reconv.graph.channels import ChannelGraph, ChannelGroup, Mask
from reconv.graph.labels import Plane
from reconv.plan.limits import Limits
from reconv.plan.rankings import Ranking

STREAM = "residual stream, left whole (coupled=True or --coupled cuts it)"
SINGLE = "a single channel is left to go"


@dataclass(frozen=True, eq=False)
class Queue:
    """What may go of one group, in order.

    Args:
        group: whose. steps: channel classes that go together, first to go first.
        keys: when the turn of each step comes, ascending. saved: what each step costs: the score that goes with it, or
            what the error rises by.
        why: why the group is left alone; "" where it is not. wish: how far it would go, were nothing in the way,
            as the keys of all its channels, ascending.
        stop: why it does not go further than its steps.
    """

    group: ChannelGroup
    steps: tuple[Plane, ...] = ()
    keys: tuple[float, ...] = ()
    saved: tuple[float, ...] = ()
    why: str = ""
    wish: npt.NDArray[np.float64] | None = None
    stop: str = ""

    def asked(self, key: float) -> int | None:
        """How many channels would stay, if all whose turn comes by `key` could go; None where nothing is asked."""
        if self.wish is None:
            return None
        return max(1, self.group.size - int(np.searchsorted(self.wish, key, side="right")))


def queue_of(
    graph: ChannelGraph,
    group: ChannelGroup,
    ranking: Ranking,
    limits: Limits,
    *,
    coupled: bool,
    equal_shares: bool,
) -> Queue:
    """A group's queue.

    Args:
        ranking: of its units.
        limits: minimum widths, multiples, layers that keep more.
        coupled: whether residual streams are cut too.
        equal_shares: every group gives the same share, whatever its units cost.
    """
    wish = (np.arange(group.size) + 1) / group.size if equal_shares else np.sort(ranking.costs)
    if group.reason:
        return Queue(group, why=group.reason, wish=wish)
    if group.stream and not coupled:
        return Queue(group, why=STREAM)
    steps: Plane = np.asarray(group.steps(ranking.order))
    if len(steps) <= 1:
        return Queue(group, why=SINGLE, wish=wish)
    stops, stop = _stops(graph, group, steps, limits)
    if not stops:
        return Queue(group, why=stop or SINGLE, wish=wish)
    keys = _keys(steps, None if equal_shares else ranking.costs)
    units, cells = group.units[steps].ravel(), steps.shape[1]
    starts = [0, *stops[:-1]]
    return Queue(
        group,
        steps=tuple(units[a * cells : b * cells] for a, b in zip(starts, stops, strict=True)),
        keys=tuple(keys[b - 1] for b in stops),
        saved=tuple(np.add.reduceat(ranking.costs[steps[: stops[-1]]].sum(1), starts).tolist()),
        wish=wish,
        stop=stop,
    )


def left_alone(group: ChannelGroup, coupled: bool, otherwise: str) -> Queue:
    """The queue of a group that nothing is known of: it stays as it is, for its own reason or else for this one."""
    return Queue(group, why=group.reason or (STREAM if group.stream and not coupled else otherwise))


def _stops(graph: ChannelGraph, group: ChannelGroup, steps: Plane, limits: Limits) -> tuple[list[int], str]:
    """The numbers of steps after which every layer of the group is as wide as the limits allow, and what stops it.

    The last step is never taken: no layer vanishes.
    """
    turn = np.full(graph.classes, len(steps), dtype=np.int64)
    turn[group.units[steps]] = np.arange(len(steps))[:, None]
    allowed = np.ones(len(steps) - 1, dtype=np.bool_)
    before: dict[str, int] = {}
    widths: dict[str, npt.NDArray[np.int64]] = {}
    for layer in map(graph.layer, group.producers):
        lost = np.cumsum(np.bincount(turn[layer.outputs], minlength=len(steps)))[: len(steps) - 1]
        width = layer.out_channels - lost
        allowed &= (width >= limits.least(layer.name, layer.out_channels)) & (width % limits.multiple == 0)
        before[layer.name], widths[layer.name] = layer.out_channels, width
    stops: list[int] = (np.flatnonzero(allowed) + 1).tolist()
    after = stops[-1] if stops else 0
    stop = ""
    if after < len(steps) - 1:
        stop = limits.why(before, {name: int(width[after]) for name, width in widths.items()})
    return stops, stop


def equal_keys(steps: int) -> list[float]:
    """When the turn of each step comes, if every group gives the same share at a time."""
    keys: list[float] = (np.arange(1, steps + 1) / steps).tolist()
    return keys


def _keys(steps: Plane, costs: npt.NDArray[np.float64] | None) -> list[float]:
    """When each step's turn comes. Removals stay in their group's order: a step's key is the highest so far."""
    if costs is None:
        return equal_keys(len(steps))
    keys: list[float] = np.maximum.accumulate(costs[steps].mean(1)).tolist()
    return keys


def masked(classes: int, queues: Mapping[str, Queue], removed: Mapping[str, int]) -> Mask:
    """Which classes stay when so many steps of every queue are taken."""
    keep = np.ones(classes, dtype=np.bool_)
    for name, queue in queues.items():
        if removed.get(name, 0):
            keep[np.concatenate(queue.steps[: removed[name]])] = False
    return keep


def why_kept(queue: Queue, kept: int, asked: int | None, limits: Limits) -> str:
    """Why a group keeps more than was asked of it; "" where it does not."""
    group = queue.group
    if queue.why:
        return queue.why
    if asked is None or kept <= asked:
        return ""
    lowest = group.size - sum(len(step) for step in queue.steps)
    if kept == lowest and queue.stop:
        return queue.stop
    if limits.multiple > 1:
        return f"only multiples of {limits.multiple} may stay"
    if group.reasons and asked < len(group.reasons):
        return f"{len(group.reasons)} of {group.size} stay: {next(iter(group.reasons.values()))}"
    cells = len(np.unique(group.cells))
    if cells > 1:
        return f"only {cells} at a time may go, one from every part"
    return "given back, since the budget allows it"

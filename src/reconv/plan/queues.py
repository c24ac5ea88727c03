"""Every group's queue of removals, lowest score first, cut into the steps that the limits allow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from reconv.budget import Limits
from reconv.graph.channels import ChannelGraph, ChannelGroup, Mask
from reconv.graph.labels import Plane
from reconv.plan.rankings import Ranking

AS_OPTION = "coupled=True or --coupled cuts it"
STREAM = f"residual stream, left unpruned ({AS_OPTION})"
SINGLE = "a single channel is left to go"


@dataclass(frozen=True, eq=False)
class Queue:
    """What may go of one group, in order.

    Args:
        group: whose. classes: of its channels, first to go first. ends: how many are gone after each step.
        keys: when the turn of each step comes, ascending. saved: what each step costs: the score that goes with it, or
            what the error rises by.
        why: why the group is left alone; "" where it is not. wish: how far it would go, were nothing in the way,
            as the keys of all its channels, ascending.
        stop: why it does not go further than its steps.
        removal: the last step removes the residual branch that the group lives in.
    """

    group: ChannelGroup
    classes: Plane = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    ends: Plane = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    keys: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    saved: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    why: str = ""
    wish: npt.NDArray[np.float64] | None = None
    stop: str = ""
    removal: bool = False

    @property
    def steps(self) -> list[Plane]:
        """Channel classes that go together, first to go first."""
        return np.split(self.classes, self.ends[:-1]) if len(self.ends) else []

    def step(self, number: int) -> Plane:
        """The channel classes that the step of this number takes; the first is 1."""
        return self.gone(number)[len(self.gone(number - 1)) :]

    def gone(self, steps: int) -> Plane:
        """The channel classes that so many steps take."""
        return self.classes[: self.ends[steps - 1] if steps else 0]

    def requested(self, key: float) -> int | None:
        """How many channels would stay, if all whose turn comes by `key` could go; None where nothing is requested."""
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
    if not len(stops):
        return Queue(group, why=stop or SINGLE, wish=wish)
    keys = _keys(steps, None if equal_shares else ranking.costs)
    return Queue(
        group,
        classes=group.units[steps[: stops[-1]]].ravel(),
        ends=stops * steps.shape[1],
        keys=keys[stops - 1],
        saved=np.add.reduceat(ranking.costs[steps[: stops[-1]]].sum(1), np.append(0, stops[:-1])),
        wish=wish,
        stop=stop,
    )


def unpruned_queue(group: ChannelGroup, coupled: bool, otherwise: str) -> Queue:
    """The queue of a group that nothing is known of: it stays as it is, for its own reason or else for this one."""
    return Queue(group, why=group.reason or (STREAM if group.stream and not coupled else otherwise))


def _stops(graph: ChannelGraph, group: ChannelGroup, steps: Plane, limits: Limits) -> tuple[Plane, str]:
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
    stops = np.flatnonzero(allowed) + 1
    after = int(stops[-1]) if len(stops) else 0
    stop = ""
    if after < len(steps) - 1:
        stop = limits.why(before, {name: int(width[after]) for name, width in widths.items()})
    return stops, stop


def equal_keys(steps: int) -> npt.NDArray[np.float64]:
    """When the turn of each step comes, if every group gives the same share at a time."""
    return np.arange(1, steps + 1) / steps


def _keys(steps: Plane, costs: npt.NDArray[np.float64] | None) -> npt.NDArray[np.float64]:
    """When each step's turn comes. Removals stay in their group's order: a step's key is the highest so far."""
    if costs is None:
        return equal_keys(len(steps))
    return np.maximum.accumulate(costs[steps].mean(1))


def mask_after(classes: int, queues: Mapping[str, Queue], removed: Mapping[str, int]) -> Mask:
    """Which classes stay when so many steps of every queue are taken."""
    keep = np.ones(classes, dtype=np.bool_)
    for name, queue in queues.items():
        if removed.get(name, 0):
            keep[queue.gone(removed[name])] = False
    return keep


def why_kept(queue: Queue, kept: int, requested: int | None, limits: Limits) -> str:
    """Why a group keeps more than was requested; "" where it does not."""
    group = queue.group
    if queue.why:
        return queue.why
    if requested is None or kept <= requested:
        return ""
    lowest = group.size - len(queue.classes)
    if kept == lowest and queue.stop:
        return queue.stop
    if limits.multiple > 1:
        return f"only multiples of {limits.multiple} may stay"
    if group.reasons and requested < len(group.reasons):
        return f"{len(group.reasons)} of {group.size} stay: {next(iter(group.reasons.values()))}"
    cells = len(np.unique(group.cells))
    if cells > 1:
        return f"only {cells} at a time may go, one from every part"
    return "given back, since the budget allows it"

"""`choose`: which channels go so that a budget is met.

Every group of tied channels gives a queue of removals, lowest score first. A scheme says how the queues are merged
into one; a budget says how far the merged queue is followed. A longer prefix never costs more, so bisection finds the
shortest one that meets the budget.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from reconv.cost import total_macs, total_parameters
from reconv.errors import BudgetError, unknown_name
from reconv.graph.channels import ChannelGraph, ChannelGroup, Mask
from reconv.graph.labels import Plane
from reconv.plan.budget import Budget, Limits
from reconv.plan.plans import Plan, finished, planned_row
from reconv.plan.scores import described, removal_order, unit_scores
from reconv.saliency import Saliency

Scheme: TypeAlias = Literal["uniform", "global"]
SCHEMES = ("uniform", "global")
STREAM = "residual stream, left whole (coupled=True or --coupled cuts it)"
NOT_NEEDED = "the budget is met without it"

NO_LIMITS = Limits()


def choose(
    graph: ChannelGraph,
    saliency: Saliency,
    budget: Budget,
    *,
    scheme: Scheme = "uniform",
    coupled: bool = False,
    keep_lowest: bool = False,
    limits: Limits = NO_LIMITS,
) -> Plan:
    """Choose channels to remove until the budget is met.

    Args:
        graph, saliency: of the same model.
        budget: what may be left at most. It is never exceeded; what is left is the next smaller step.
        scheme: "uniform" takes the same share of every group; "global" takes the lowest scores of all groups,
            each group's scores divided by their mean.
        coupled: cut residual streams too.
        keep_lowest: remove the highest scores instead (a control).
        limits: minimum widths, multiples, layers that keep more.

    Returns:
        The plan; every group keeps at least one channel (one of every cell where a grouped operator asks for it).

    Raises:
        BudgetError: it cannot be met; says what is possible. UnknownNameError: no such scheme, or a pattern of
            the limits that fits no layer.
    """
    if scheme not in SCHEMES:
        raise unknown_name("scheme", scheme, SCHEMES)
    limits.check_patterns(layer.name for layer in graph.layers)
    scores = unit_scores(graph, saliency)
    queue: list[tuple[float, Plane]] = []
    why: dict[str, str] = {}
    for group in graph.groups:
        found = scores.get(group.name)
        why[group.name] = _left_alone(group, found, coupled)
        if why[group.name] or found is None:
            continue
        steps = group.steps(removal_order(found, keep_lowest))
        stops = _stops(graph, group, steps, limits)
        if not stops:
            why[group.name] = limits.why(group.name, group.size)
        keys = _keys(steps, found, scheme, keep_lowest)
        for start, stop in zip([0, *stops], stops, strict=False):
            queue.append((keys[stop - 1], group.units[np.concatenate(steps[start:stop])]))
    queue.sort(key=lambda item: item[0])
    removed_at = np.full(graph.classes, len(queue), dtype=np.int64)
    for place, (_, units) in enumerate(queue):
        removed_at[units] = place
    length = _shortest_prefix(graph, budget, removed_at, len(queue), coupled)
    rows = []
    for group in graph.groups:
        keep = removed_at[group.units] >= length
        rows.append(planned_row(group, keep, scores, why[group.name] or (NOT_NEEDED if keep.all() else "")))
    return finished(graph, rows, f"keep {budget}", described(saliency, keep_lowest), scheme)


def _left_alone(group: ChannelGroup, scores: npt.NDArray[np.float64] | None, coupled: bool) -> str:
    if group.reason:
        return group.reason
    if group.stream and not coupled:
        return STREAM
    if scores is None:
        return "the criterion gives it no score"
    return "" if len(group.steps(np.arange(group.size))) > 1 else "a single channel is left to go"


def _stops(graph: ChannelGraph, group: ChannelGroup, steps: list[Plane], limits: Limits) -> list[int]:
    """The numbers of steps after which every layer of the group is as wide as the limits allow, ascending.

    The last step is never taken: no layer vanishes.
    """
    turn = np.full(graph.classes, len(steps), dtype=np.int64)
    for i, step in enumerate(steps):
        turn[group.units[step]] = i
    allowed = np.ones(len(steps) - 1, dtype=np.bool_)
    for layer in map(graph.layer, group.producers):
        lost = np.cumsum(np.bincount(turn[layer.outputs], minlength=len(steps)))[: len(steps) - 1]
        width = layer.out_channels - lost
        allowed &= (width >= limits.least(layer.name, layer.out_channels)) & (width % limits.multiple == 0)
    stops: list[int] = (np.flatnonzero(allowed) + 1).tolist()
    return stops


def _keys(steps: list[Plane], scores: npt.NDArray[np.float64], scheme: Scheme, keep_lowest: bool) -> list[float]:
    """When each step's turn comes. Removals stay in their group's order: a step's key is the highest so far."""
    if scheme == "uniform":
        return [(i + 1) / len(steps) for i in range(len(steps))]
    level = scores / max(float(np.abs(scores).mean()), 1e-300) * (-1 if keep_lowest else 1)
    keys: list[float] = np.maximum.accumulate([level[step].mean() for step in steps]).tolist()
    return keys


def _shortest_prefix(graph: ChannelGraph, budget: Budget, removed_at: Plane, length: int, coupled: bool) -> int:
    """How many removals of the queue meet every limit of the budget."""
    removable = removed_at < length
    measures: dict[str, Callable[[Mask], int]] = {
        "macs": lambda keep: total_macs(graph.layers, keep),
        "params": lambda keep: total_parameters(graph, keep),
        "channels": lambda keep: int((keep & removable).sum()),
    }
    everything = np.ones(graph.classes, dtype=np.bool_)
    needed = 0
    for name, value in budget.limits.items():
        measure = measures[name]
        whole = measure(everything)
        limit = value * whole if value < 1 else value
        least = measure(removed_at >= length)
        if least > limit:
            floor = math.ceil(1000 * least / max(whole, 1)) / 1000
            streams = not coupled and any(group.stream for group in graph.groups)
            raise BudgetError(
                f"budget: {name}={value:g} asks for at most {limit:,.0f} of {whole:,}, but {least:,} have to stay; "
                f"ask for {name}={floor:.3f} or more{', or cut residual streams too (coupled)' if streams else ''}"
            )
        low, high = needed, length
        while low < high:
            middle = (low + high) // 2
            if measure(removed_at >= middle) <= limit:
                high = middle
            else:
                low = middle + 1
        needed = low
    return needed

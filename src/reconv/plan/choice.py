"""`choose`: which channels go so that a budget is met.

Every group of tied channels gives a queue of removals, lowest score first. A scheme says how the queues are merged
into one; a budget says how far the merged queue is followed. A longer prefix never costs more, so bisection finds the
shortest one that meets the budget. Where that leaves more than a hundredth of the budget unused, steps are given back,
the latest first, wherever the budget allows it. The scheme "knapsack" looks for the best widths instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal, TypeAlias

import numpy as np

from reconv.cost import LatencyModel
from reconv.errors import ConfigError, unknown_name
from reconv.graph.channels import ChannelGraph
from reconv.plan.budget import Budget
from reconv.plan.curves import ErrorCurves
from reconv.plan.knapsack import Solution, least_lost
from reconv.plan.limits import Limits
from reconv.plan.plans import Plan, finished, planned_row
from reconv.plan.queues import Queue, equal_keys, left_alone, masked, queue_of, why_kept
from reconv.plan.rankings import MEAN, Rankings, rankings_of
from reconv.plan.rescale import RESCALINGS
from reconv.plan.spending import TOLERANCE, Spending
from reconv.saliency import Saliency

Scheme: TypeAlias = Literal["uniform", "global", "knapsack"]
ALLOCATED = "allocated"  # what the plan calls the best widths by predicted error
SCHEMES = ("uniform", "global", "knapsack")
NOT_NEEDED = "the budget is met without it"

NO_LIMITS = Limits()


def choose(
    graph: ChannelGraph,
    saliency: Saliency | ErrorCurves,
    budget: Budget,
    *,
    scheme: Scheme | None = None,
    rescale: str = MEAN,
    coupled: bool = False,
    reverse: bool = False,
    limits: Limits = NO_LIMITS,
    latency: LatencyModel | None = None,
) -> Plan:
    """Choose channels to remove until the budget is met.

    Args:
        graph: of the network.
        saliency: of the same model: scores, or error curves (`reconv.error_curves`), whose order is followed and whose
            sum is what a plan loses.
        budget: what may be left at most. It is never exceeded; what is left is the next smaller step.
        scheme: "uniform" takes the same share of every group; "global" takes what costs least of all groups, by
            rescaled scores or by rise of error; "knapsack" loses as little rescaled score, or error, as the
            budget allows. None: "uniform" for scores, "knapsack" for curves.
        rescale: how the scores of groups are made comparable, a name in `RESCALINGS`.
        coupled: cut residual streams too.
        reverse: remove the highest scores instead (a control).
        limits: minimum widths, multiples, layers that keep more.
        latency: predicts the time of a cut network, where the budget limits it.

    Returns:
        The plan; every group keeps at least one channel (one of every cell where a grouped operator asks for it).

    Raises:
        BudgetError: it cannot be met; says what is possible. UnknownNameError: no such scheme or rescale, a
            pattern of the limits that fits no layer, or a curve of no group. ConfigError: an option that has no use
            (a rescale for "uniform" or for curves), curves that do not fit, or a budget of latency without its
            model.
    """
    scheme = scheme or ("uniform" if isinstance(saliency, Saliency) else "knapsack")
    _check_options(scheme, rescale)
    limits.check_patterns(layer.name for layer in graph.layers)
    rankings = rankings_of(graph, saliency, rescale, reverse)
    queues = _queues(graph, rankings, limits, coupled=coupled, equal_shares=scheme == "uniform")
    least = masked(graph.classes, queues, {name: len(queue.ends) for name, queue in queues.items()})
    spending = Spending(graph, budget, least, latency)
    streams = not coupled and any(group.stream for group in graph.groups)
    spending.check_possible(", or cut residual streams too (coupled)" if streams else "")
    notes: list[str] = []
    if scheme == "knapsack":
        equal = {name: replace(queue, keys=equal_keys(len(queue.ends))) for name, queue in queues.items()}
        known = [_shortest_prefix(merged, spending)[0] for merged in (equal, queues)]
        solution = least_lost(queues, spending, known)
        removed, key = solution.removed, solution.key
        notes.append(_gap_of_error(solution) if rankings.curves else _gap_of_score(solution, queues))
    else:
        removed, key = _shortest_prefix(queues, spending)
    keep = masked(graph.classes, queues, removed)
    rows = []
    for group in graph.groups:
        queue, kept = queues[group.name], keep[group.units]
        asked = queue.asked(key) if scheme != "knapsack" or queue.why else int(kept.sum())
        why = why_kept(queue, int(kept.sum()), asked, limits)
        rows.append(planned_row(group, kept, rankings.scores, why or (NOT_NEEDED if kept.all() else ""), asked))
    notes += _left_over(spending, spending.unused(keep), bool(keep.all()))
    seen = (latency.microseconds(keep | True), latency.microseconds(keep)) if latency is not None else None
    words = scheme if scheme == "uniform" else f"{scheme}, {rankings.scale}"
    if scheme == "knapsack" and rankings.curves:
        words = ALLOCATED
    return finished(graph, rows, f"keep {budget}", rankings.criterion, words, notes=tuple(notes), latency=seen)


def _check_options(scheme: str, rescale: str) -> None:
    if scheme not in SCHEMES:
        raise unknown_name("scheme", scheme, SCHEMES)
    if rescale not in RESCALINGS:
        raise unknown_name("rescale", rescale, RESCALINGS)
    if scheme == "uniform" and rescale != MEAN:
        raise ConfigError(
            f"rescale: {rescale!r} has no say in a uniform plan, which compares no scores of different "
            "layers; choose the scheme global or knapsack, or leave it out"
        )


def _queues(
    graph: ChannelGraph, rankings: Rankings, limits: Limits, *, coupled: bool, equal_shares: bool
) -> dict[str, Queue]:
    queues = {}
    for group in graph.groups:
        found = rankings.of.get(group.name)
        if found is None:
            queues[group.name] = left_alone(group, coupled, rankings.missing)
        else:
            queues[group.name] = queue_of(graph, group, found, limits, coupled=coupled, equal_shares=equal_shares)
    return queues


def _gap_of_score(solution: Solution, queues: Mapping[str, Queue]) -> str:
    """How near to the best a plan is, by its scores."""
    total = sum(float(np.abs(queue.saved).sum()) for queue in queues.values())
    share, best = (1 - lost / max(total, 1e-300) for lost in (solution.lost, solution.bound))
    return (
        f"{share:.2%} of the score that could go is kept; no plan within this budget keeps more than {best:.2%} "
        f"(gap <= {max(best - share, 0):.2%})"
    )


def _gap_of_error(solution: Solution) -> str:
    """How near to the best a plan is, by its predicted error."""
    gap = max(solution.lost - solution.bound, 0) / max(abs(solution.lost), 1e-300)
    return (
        f"predicted error {solution.lost:.4g}; no plan within this budget has less than {solution.bound:.4g} "
        f"(gap <= {gap:.2%} of it)"
    )


def _shortest_prefix(queues: Mapping[str, Queue], spending: Spending) -> tuple[dict[str, int], float]:
    """How many steps of every queue are taken, and the key of the last one."""
    owner = np.repeat(np.arange(len(queues)), [len(queue.ends) for queue in queues.values()])
    sizes = np.concatenate([np.diff(queue.ends, prepend=0) for queue in queues.values()])
    keys = np.concatenate([queue.keys for queue in queues.values()])
    order = np.argsort(keys, kind="stable")
    place = np.full(spending.graph.classes, len(keys), dtype=np.int64)
    place[np.concatenate([queue.classes for queue in queues.values()])] = np.argsort(order).repeat(sizes)
    low, high = 0, len(keys)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if spending.fits(place >= middle) else (middle + 1, high)
    taken = owner[order[:low]]
    removed = dict(zip(queues, np.bincount(taken, minlength=len(queues)).tolist(), strict=True))
    if low and min(spending.unused(place >= low).values()) > TOLERANCE:
        names = list(queues)
        _give_back([queues[names[i]] for i in taken], place >= low, removed, spending)
    return removed, float(keys[order[low - 1]]) if low else -np.inf


def _give_back(taken: Sequence[Queue], keep: np.ndarray, removed: dict[str, int], spending: Spending) -> None:
    """Give steps back, the latest first, wherever the budget allows.

    Args:
        taken: whose steps they are, in the order in which they were taken.
    """
    blocked = set()
    for queue in reversed(taken):
        name = queue.group.name
        if name in blocked:
            continue
        step = queue.step(removed[name])
        keep[step] = True
        if spending.fits(keep):
            removed[name] -= 1
        else:
            keep[step] = False
            blocked.add(name)


def _left_over(spending: Spending, unused: Mapping[str, float], whole: bool) -> list[str]:
    """What is said of a budget that is not used up."""
    if min(unused.values()) <= TOLERANCE:
        return []
    name, share = min(unused.items(), key=lambda item: item[1])
    if whole:
        return [f"nothing had to go: the network is within {spending.budget} as it is"]
    return [
        f"{share:.1%} of the network's {name} stay unused: steps are coarse here, and giving any of them back would "
        "exceed the budget"
    ]

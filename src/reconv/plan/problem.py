"""What a budget is spent on, and the plan that spends it best by what is counted and predicted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from reconv.budget import ALLOCATED, SCHEMES, Budget, Limits, Rescale, Scheme
from reconv.cost import LatencyModel
from reconv.errors import ConfigError, unknown_name
from reconv.graph.branches import with_branches
from reconv.graph.channels import ChannelGraph, Mask
from reconv.plan.curves import ErrorCurves
from reconv.plan.knapsack import Solution, least_lost
from reconv.plan.plans import Plan, finish_plan, planned_row
from reconv.plan.queues import Queue, equal_keys, mask_after, queue_of, unpruned_queue, why_kept
from reconv.plan.rankings import RESCALINGS, Rankings, rankings_of
from reconv.plan.removals import with_removals
from reconv.plan.spending import TOLERANCE, Spending
from reconv.saliency import Saliency

NOT_NEEDED = "the budget is met without it"


@dataclass(frozen=True, eq=False)
class Predicted:
    """A plan, and the error that its curves predict; of time, what is predicted."""

    plan: Plan
    error: float


@dataclass(frozen=True, eq=False)
class Problem:
    """What a budget is spent on: what may go, in which order, and how it is merged.

    Args:
        queues: by group. limits, scheme, coupled: as for `choose`.
        teams: groups whose last steps remove the residual branch that they live in, together.
    """

    graph: ChannelGraph
    rankings: Rankings
    queues: Mapping[str, Queue]
    limits: Limits
    scheme: Scheme
    coupled: bool
    teams: tuple[tuple[str, ...], ...] = ()


def problems_of(
    graph: ChannelGraph,
    scores: Saliency | ErrorCurves,
    budget: Budget,
    scheme: Scheme | None,
    rescale: Rescale,
    coupled: bool,
    reverse: bool,
    limits: Limits | None,
    depth: bool | None,
) -> tuple[Problem, Problem | None]:
    """What a budget is spent on; where branches may be removed, the same without that, too."""
    scheme = scheme or ("uniform" if isinstance(scores, Saliency) else "knapsack")
    _check_options(scheme, rescale)
    limits = limits or Limits()
    limits.check_patterns(layer.name for layer in graph.layers)
    with_depth = may_remove_branches(depth, scheme, budget)
    graph = with_branches(graph) if with_depth else graph
    rankings = rankings_of(graph, scores, rescale, reverse)
    queues = queues_of(graph, rankings, limits, coupled=coupled, equal_shares=scheme == "uniform")
    widths = Problem(graph, rankings, queues, limits, scheme, coupled)
    if not with_depth:
        return widths, None
    removals = with_removals(graph, queues, rankings, limits, scores if isinstance(scores, ErrorCurves) else None)
    if not any(queue.removal for queue in removals.queues.values()):
        return replace(widths, queues=removals.queues), None
    return replace(widths, queues=removals.queues, teams=removals.teams), widths


def predicted_plan(problem: Problem, budget: Budget, latency: LatencyModel | None) -> Predicted:
    """The plan that meets a budget by what is counted, and by the time that is predicted."""
    graph, rankings, queues, scheme = problem.graph, problem.rankings, problem.queues, problem.scheme
    spending = spending_of(problem, budget, latency)
    notes: list[str] = []
    error = math.nan
    if scheme == "knapsack":
        equal = {name: replace(queue, keys=equal_keys(len(queue.ends))) for name, queue in queues.items()}
        starts = [_shortest_prefix(merged, spending)[0] for merged in (equal, queues)]
        solution = least_lost(queues, spending, starts, problem.teams)
        removed, key, error = solution.removed, solution.key, solution.lost
        notes.append(_gap_of_error(solution) if rankings.curves else _gap_of_score(solution, queues))
    else:
        removed, key = _shortest_prefix(queues, spending)
    keep = mask_after(graph.classes, queues, removed)
    rows = []
    for group in graph.groups:
        queue, kept = queues[group.name], keep[group.units]
        requested = queue.requested(key) if scheme != "knapsack" or queue.why else int(kept.sum())
        why = why_kept(queue, int(kept.sum()), requested, problem.limits)
        rows.append(planned_row(group, kept, rankings.scores, why or (NOT_NEEDED if kept.all() else ""), requested))
    notes += _left_over(spending, spending.unused(keep), bool(keep.all()))
    words = scheme if scheme == "uniform" else f"{scheme}, {rankings.scale}"
    if scheme == "knapsack" and rankings.curves:
        words = ALLOCATED
    costs = spending.before_and_after(keep)
    gone = tuple(branch.name for branch in graph.removed(keep))
    for name, (_, after) in costs.items() if gone else ():
        if after > spending.allowed[name]:
            unit = spending.costs[name].unit
            notes.append(
                f"{name} is {unit.text(after)} where {unit.text(spending.allowed[name])} are allowed: without branches "
                "PyTorch copies what it did not copy before"
            )
    request = f"keep {budget}"
    made = finish_plan(graph, rows, request, rankings.criterion, words, notes=tuple(notes), costs=costs, removed=gone)
    return Predicted(made, error)


def spending_of(problem: Problem, budget: Budget, latency: LatencyModel | None) -> Spending:
    """What a cut costs.

    Raises:
        BudgetError: the budget cannot be met whatever goes; residual streams are named where they would help.
    """
    spending = Spending(problem.graph, budget, _smallest(problem.graph, problem.queues), latency)

    def with_streams() -> Mask:
        queues = queues_of(problem.graph, problem.rankings, problem.limits, coupled=True, equal_shares=True)
        return _smallest(problem.graph, queues)

    spending.check_possible({} if problem.coupled else {"cut residual streams too (coupled)": with_streams})
    return spending


def _smallest(graph: ChannelGraph, queues: Mapping[str, Queue]) -> Mask:
    """What stays when all that may go is gone."""
    return mask_after(graph.classes, queues, {name: len(queue.ends) for name, queue in queues.items()})


def may_remove_branches(depth: bool | None, scheme: str, budget: Budget) -> bool:
    """Whether residual branches may go as a whole.

    Raises:
        ConfigError: the scheme compares no such removal with others.
    """
    if depth and scheme != "knapsack":
        raise ConfigError(
            f"depth: {scheme} removes no branches; choose the scheme knapsack, or allocated where images "
            "decide; or leave depth out"
        )
    return scheme == "knapsack" and (bool(budget.measured) if depth is None else depth)


def _check_options(scheme: str, rescale: str) -> None:
    if scheme not in SCHEMES:
        raise unknown_name("scheme", scheme, SCHEMES)
    if rescale not in RESCALINGS:
        raise unknown_name("rescale", rescale, RESCALINGS)
    if scheme == "uniform" and rescale != "mean":
        raise ConfigError(
            f"rescale: {rescale!r} has no effect on a uniform plan, which compares no scores of different "
            "layers; choose the scheme global or knapsack, or leave it out"
        )


def queues_of(
    graph: ChannelGraph, rankings: Rankings, limits: Limits, *, coupled: bool, equal_shares: bool
) -> dict[str, Queue]:
    queues = {}
    for group in graph.groups:
        ranking = rankings.of.get(group.name)
        if ranking is None:
            queues[group.name] = unpruned_queue(group, coupled, rankings.missing)
        else:
            queues[group.name] = queue_of(graph, group, ranking, limits, coupled=coupled, equal_shares=equal_shares)
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
    turn = np.full(spending.graph.classes, len(keys), dtype=np.int64)  # of every class, in the merged queue
    turn[np.concatenate([queue.classes for queue in queues.values()])] = np.argsort(order).repeat(sizes)
    low, high = 0, len(keys)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if spending.fits(turn >= middle) else (middle + 1, high)
    taken = owner[order[:low]]
    removed = dict(zip(queues, np.bincount(taken, minlength=len(queues)).tolist(), strict=True))
    if low and min(spending.unused(turn >= low).values()) > TOLERANCE:
        names = list(queues)
        _give_back([queues[names[i]] for i in taken], turn >= low, removed, spending)
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

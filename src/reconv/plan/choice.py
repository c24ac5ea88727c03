"""`choose`: which channels go so that a budget is met.

Every group of tied channels gives a queue of removals, lowest score first. A scheme says how the queues are merged
into one; a budget says how far the merged queue is followed. A longer prefix never costs more, so bisection finds the
shortest one that meets the budget. Where that leaves more than a hundredth of the budget unused, steps are given back,
the latest first, wherever the budget allows it. The scheme "knapsack" looks for the best widths instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from reconv.budget import ALLOCATED, SCHEMES, Budget, Limits, Rescale, Scheme
from reconv.cost import PYTORCH, LatencyModel, LatencyTable, PairTimer, Timer, as_timer
from reconv.errors import BudgetError, ConfigError, check_kind, unknown_name
from reconv.graph.branches import with_branches
from reconv.graph.channels import ChannelGraph, Mask
from reconv.plan.curves import ErrorCurves
from reconv.plan.knapsack import Solution, least_lost
from reconv.plan.latency import measure_layers
from reconv.plan.measured import measured_plan
from reconv.plan.plans import Plan, finish_plan, planned_row
from reconv.plan.queues import Queue, equal_keys, mask_after, queue_of, unpruned_queue, why_kept
from reconv.plan.rankings import RESCALINGS, Ranking, Rankings, rankings_of
from reconv.plan.removals import Removals, with_removals
from reconv.plan.spending import TOLERANCE, Spending
from reconv.saliency import Saliency

NOT_NEEDED = "the budget is met without it"
WIDTHS_ALONE = "no branch is removed: plans that remove some do not meet the budget, and widths alone do"


def choose(
    graph: ChannelGraph,
    scores: Saliency | ErrorCurves,
    budget: Budget,
    *,
    scheme: Scheme | None = None,
    rescale: Rescale = "mean",
    coupled: bool = False,
    reverse: bool = False,
    limits: Limits | None = None,
    depth: bool | None = None,
    latency: LatencyTable | None = None,
    timer: Timer | PairTimer | None = None,
) -> Plan:
    """Choose channels to remove until the budget is met; where it limits latency, the result is measured.

    Args:
        graph: of the network.
        scores: of the same model: scores, or error curves (`reconv.error_curves`), whose order is followed and whose
            sum is what a plan loses.
        budget: what may be left at most. It is never exceeded; what is left is the next smaller step.
        scheme: "uniform" takes the same share of every group; "global" takes what costs least of all groups, by
            rescaled scores or by rise of error; "knapsack" loses as little rescaled score, or error, as the
            budget allows. None: "uniform" for scores, "knapsack" for curves.
        rescale: how the scores of groups are made comparable, a name in `RESCALINGS`.
        coupled: cut residual streams too.
        reverse: remove the highest scores instead (a control).
        limits: minimum widths, multiples, layers that keep more.
        depth: whether residual branches may be removed as a whole; for "knapsack". None: where the budget limits time.
            A budget that widths alone meet is met with depth too.
        latency: timings of the layers, by `measure_layers`; None: they are measured, where the budget asks for it.
        timer: how passes are timed, such as `reconv.runtime_timer("onnxruntime")`, or a function of two models and an
            example that returns the microseconds of a pass of each; None: PyTorch's, medians of interleaved passes.

    Returns:
        The plan; every group keeps at least one channel (one of every cell where a grouped operator asks for it). Of a
        latency it states what was measured: at most 3 % above the budget.

    Raises:
        BudgetError: it cannot be met, as predicted or as measured; says what is possible.
        UnknownNameError: no such scheme or rescaling, a pattern of the limits that fits no layer, or a curve of no
            group.
        ConfigError: an argument of the wrong kind, an option that has no use (a rescaling for "uniform" or for
            curves), or curves that do not fit.

    Example:
        >>> import torch, reconv
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 1), torch.nn.Conv2d(8, 8, 1))
        >>> graph = reconv.trace(model, torch.zeros(1, 3, 4, 4))
        >>> reconv.choose(graph, reconv.score(graph, "l1"), reconv.Budget(macs=0.5))
        Plan(keep macs=0.5 by l1 (uniform): 1 of 2 groups cut; MACs 1,408 -> 704, parameters 104 -> 56)
    """
    _check_kinds(graph, budget, limits)
    check_kind("choose: scores", scores, (Saliency, ErrorCurves))
    scheme = scheme or ("uniform" if isinstance(scores, Saliency) else "knapsack")
    _check_options(scheme, rescale)
    limits = limits or Limits()
    limits.check_patterns(layer.name for layer in graph.layers)
    with_depth = _may_remove_branches(depth, scheme, budget)
    graph = with_branches(graph) if with_depth else graph
    rankings = rankings_of(graph, scores, rescale, reverse)
    queues = _queues(graph, rankings, limits, coupled=coupled, equal_shares=scheme == "uniform")
    removals = Removals(queues, (), {})
    if with_depth:
        curves = scores if isinstance(scores, ErrorCurves) else None
        removals = with_removals(graph, queues, rankings, limits, curves)
    problem = _Problem(graph, rankings, removals.queues, limits, scheme, coupled, removals.teams)
    own_timer = as_timer(timer)
    table = latency
    if budget.measured and table is None:
        table = measure_layers(graph, multiple=limits.multiple, timer=own_timer)
    try:
        return _plan_of(problem, budget, table, own_timer)
    except BudgetError as error:
        if not any(queue.removal for queue in removals.queues.values()):
            raise
        try:
            plan = _plan_of(replace(problem, queues=queues, teams=()), budget, table, own_timer)
        except BudgetError:
            raise error from None
        return replace(plan, notes=(*plan.notes, WIDTHS_ALONE))


def check_budget(
    graph: ChannelGraph,
    budget: Budget,
    *,
    coupled: bool = False,
    limits: Limits | None = None,
    scheme: str | None = None,
    depth: bool | None = None,
    latency: LatencyTable | None = None,
    timer: Timer = PYTORCH,
) -> LatencyTable | None:
    """Refuse a budget that no plan can meet, before anything is trained or scored: widths decide, not weights.

    Args:
        graph: of the network, with whatever weights. budget, coupled, limits, scheme, depth, latency, timer: as for
            `choose`; "allocated" is the knapsack of error curves.

    Returns:
        Timings of the layers where the budget limits latency, for `choose` to take; None where it does not.

    Raises:
        BudgetError: it cannot be met; says what is possible. Others as `choose`.

    Example:
        >>> import torch, reconv
        >>> graph = reconv.trace(torch.nn.Conv2d(3, 8, 1), torch.zeros(1, 3, 4, 4))
        >>> reconv.check_budget(graph, reconv.Budget(macs=0.5))
        Traceback (most recent call last):
        ...
        reconv.errors.BudgetError: budget: macs=0.5 asks for at most 192 of 384, but 384 have to stay; leave macs out \
(nothing that may go lowers it)
    """
    _check_kinds(graph, budget, limits)
    limits = limits or Limits()
    limits.check_patterns(layer.name for layer in graph.layers)
    solved = scheme == ALLOCATED or (scheme is None and bool(depth))
    with_depth = _may_remove_branches(depth, "knapsack" if solved else scheme or "uniform", budget)
    graph = with_branches(graph) if with_depth else graph
    if budget.measured and latency is None:
        latency = measure_layers(graph, multiple=limits.multiple, timer=timer)
    any_order = {group.name: Ranking(np.arange(group.size), np.zeros(group.size)) for group in graph.groups}
    rankings = Rankings(any_order, "", "", "", {}, False)
    queues = _queues(graph, rankings, limits, coupled=coupled, equal_shares=True)
    queues = with_removals(graph, queues, rankings, limits, None).queues if with_depth else queues
    _spending(_Problem(graph, rankings, queues, limits, "uniform", coupled), budget, latency)
    return latency


def _check_kinds(graph: object, budget: object, limits: object) -> None:
    check_kind("choose: graph", graph, ChannelGraph)
    check_kind("choose: budget", budget, Budget)
    check_kind("choose: limits", limits, (Limits, type(None)))


@dataclass(frozen=True, eq=False)
class _Problem:
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


def _plan_of(problem: _Problem, budget: Budget, table: LatencyTable | None, timer: Timer) -> Plan:
    """The plan that meets a budget, measured where it limits time."""
    if table is None or not budget.measured:
        return _predicted_plan(problem, budget, None)
    return measured_plan(problem.graph, budget, table, timer, lambda own: _predicted_plan(problem, budget, own))


def _predicted_plan(problem: _Problem, budget: Budget, latency: LatencyModel | None) -> Plan:
    """The plan that meets a budget by what is counted, and by the time that is predicted."""
    graph, rankings, queues, scheme = problem.graph, problem.rankings, problem.queues, problem.scheme
    spending = _spending(problem, budget, latency)
    notes: list[str] = []
    if scheme == "knapsack":
        equal = {name: replace(queue, keys=equal_keys(len(queue.ends))) for name, queue in queues.items()}
        starts = [_shortest_prefix(merged, spending)[0] for merged in (equal, queues)]
        solution = least_lost(queues, spending, starts, problem.teams)
        removed, key = solution.removed, solution.key
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
    return finish_plan(graph, rows, request, rankings.criterion, words, notes=tuple(notes), costs=costs, removed=gone)


def _spending(problem: _Problem, budget: Budget, latency: LatencyModel | None) -> Spending:
    """What a cut costs.

    Raises:
        BudgetError: the budget cannot be met whatever goes; residual streams are named where they would help.
    """
    spending = Spending(problem.graph, budget, _smallest(problem.graph, problem.queues), latency)

    def with_streams() -> Mask:
        queues = _queues(problem.graph, problem.rankings, problem.limits, coupled=True, equal_shares=True)
        return _smallest(problem.graph, queues)

    spending.check_possible({} if problem.coupled else {"cut residual streams too (coupled)": with_streams})
    return spending


def _smallest(graph: ChannelGraph, queues: Mapping[str, Queue]) -> Mask:
    """What stays when all that may go is gone."""
    return mask_after(graph.classes, queues, {name: len(queue.ends) for name, queue in queues.items()})


def _may_remove_branches(depth: bool | None, scheme: str, budget: Budget) -> bool:
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


def _queues(
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

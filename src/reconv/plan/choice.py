"""`choose`: which channels go so that a budget is met.

Every group of tied channels gives a queue of removals, lowest score first. A scheme says how the queues are merged
into one; a budget says how far the merged queue is followed. A longer prefix never costs more, so bisection finds the
shortest one that meets the budget. Where that leaves more than a hundredth of the budget unused, steps are given back,
the latest first, wherever the budget allows it. The scheme "knapsack" looks for the best widths instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from reconv.budget import ALLOCATED, Budget, Limits, Rescale, Scheme
from reconv.cost import PYTORCH, LatencyTable, PairTimer, Timer, as_timer
from reconv.errors import BudgetError, ConfigError, check_kind
from reconv.graph.branches import with_branches
from reconv.graph.channels import ChannelGraph
from reconv.plan.curves import ErrorCurves
from reconv.plan.latency import measure_layers
from reconv.plan.measured import measured_plan
from reconv.plan.plans import Plan
from reconv.plan.problem import (
    Predicted,
    Problem,
    may_remove_branches,
    predicted_plan,
    problems_of,
    queues_of,
    spending_of,
)
from reconv.plan.rankings import Ranking, Rankings
from reconv.plan.removals import with_removals
from reconv.saliency import Saliency

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
    problem, without_branches = problems_of(graph, scores, budget, scheme, rescale, coupled, reverse, limits, depth)
    own_timer = as_timer(timer)
    table = latency
    if budget.measured and table is None:
        multiple = problem.limits.multiple
        table = measure_layers(problem.graph, multiple=multiple, coupled=problem.coupled, timer=own_timer)
    try:
        return _plan_of(problem, budget, table, own_timer)
    except BudgetError as error:
        if without_branches is None:
            raise
        try:
            plan = _plan_of(without_branches, budget, table, own_timer)
        except BudgetError:
            raise error from None
        return replace(plan, notes=(*plan.notes, WIDTHS_ALONE))


def choose_along(
    graph: ChannelGraph,
    curves: ErrorCurves,
    budgets: Sequence[Budget],
    *,
    coupled: bool = False,
    limits: Limits | None = None,
    depth: bool | None = None,
    latency: LatencyTable | None = None,
) -> list[Predicted | None]:
    """The plans with the least predicted error for several budgets of the same kinds; nothing is measured.

    Args:
        graph, curves, coupled, limits, depth: as for `choose`. budgets: of the same kinds.
        latency: timings of the layers, where time is limited.

    Returns:
        One for each budget; None where it cannot be met.
    """
    _check_kinds(graph, budgets[0], limits)
    problem, without_branches = problems_of(graph, curves, budgets[0], None, "mean", coupled, False, limits, depth)
    return [
        next(filter(None, (_if_possible(p, budget, latency) for p in (problem, without_branches) if p)), None)
        for budget in budgets
    ]


def _if_possible(problem: Problem, budget: Budget, latency: LatencyTable | None) -> Predicted | None:
    try:
        return predicted_plan(problem, budget, latency)
    except BudgetError:
        return None


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
    with_depth = may_remove_branches(depth, "knapsack" if solved else scheme or "uniform", budget)
    graph = with_branches(graph) if with_depth else graph
    if budget.measured and latency is None:
        latency = measure_layers(graph, multiple=limits.multiple, coupled=coupled, timer=timer)
    any_order = {group.name: Ranking(np.arange(group.size), np.zeros(group.size)) for group in graph.groups}
    rankings = Rankings(any_order, "", "", "", {}, False)
    queues = queues_of(graph, rankings, limits, coupled=coupled, equal_shares=True)
    queues = with_removals(graph, queues, rankings, limits, None).queues if with_depth else queues
    spending_of(Problem(graph, rankings, queues, limits, "uniform", coupled), budget, latency)
    return latency


def _check_kinds(graph: object, budget: object, limits: object) -> None:
    check_kind("choose: graph", graph, ChannelGraph)
    check_kind("choose: budget", budget, Budget)
    if isinstance(budget, Budget) and budget.max_drop is not None:
        raise ConfigError(
            f"choose: {budget}: what is lost has to be measured, which reconv.compress does; "
            "give an amount, such as macs=0.5"
        )
    check_kind("choose: limits", limits, (Limits, type(None)))


def _plan_of(problem: Problem, budget: Budget, table: LatencyTable | None, timer: Timer) -> Plan:
    """The plan that meets a budget, measured where it limits time."""
    if table is None or not budget.measured:
        return predicted_plan(problem, budget, None).plan
    return measured_plan(problem.graph, budget, table, timer, lambda own: predicted_plan(problem, budget, own).plan)

"""`choose` for budgets of time as well: predict, cut, measure, and correct until what is measured fits."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from reconv.cost import LatencyModel
from reconv.errors import BudgetError
from reconv.graph.channels import ChannelGraph
from reconv.graph.tracing import call_arguments
from reconv.latency.measure import measure_layers, random_like, synchronized
from reconv.latency.table import LatencyTable
from reconv.plan import Budget, ErrorCurves, Limits, Plan
from reconv.plan import choose as choose_by_costs
from reconv.saliency import Saliency
from reconv.surgery import prune

Timer = Callable[[nn.Module, nn.Module, Any], tuple[float, float]]
ATTEMPTS = 4
TOLERANCE = 0.03  # of the time allowed: by so much two measurements of one network differ
_SECONDS = 2.0  # spent on measuring two networks, about


def choose(
    graph: ChannelGraph,
    saliency: Saliency | ErrorCurves,
    budget: Budget,
    *,
    limits: Limits | None = None,
    latency: LatencyTable | None = None,
    timer: Timer | None = None,
    **options: Any,
) -> Plan:
    """Choose channels to remove until the budget is met; where it limits latency, the result is measured.

    Args:
        graph: of the network. saliency: of the same model: scores, or error curves.
        budget: what may be left at most.
        limits: minimum widths, multiples, layers that keep more.
        latency: timings of the layers; None: they are measured, where the budget asks for it.
        timer: microseconds of two networks on one input; None: medians of passes in turns.
        options: `scheme`, `rescale`, `coupled`, `reverse`, as `reconv.plan.choose` takes them.

    Returns:
        The plan. Of a latency it states what was measured: at most 3 % above the budget.

    Raises:
        BudgetError: it cannot be met, as predicted or as measured; says what is possible. Others as
            `reconv.plan.choose`.
    """
    limits = limits or Limits()
    if budget.latency is None:
        return choose_by_costs(graph, saliency, budget, limits=limits, **options)
    table = latency or measure_layers(graph, multiple=limits.multiple)
    example = random_like(graph.inputs)
    timer = timer or in_turns
    best: tuple[float, Plan] | None = None
    first = 0.0
    for attempt in range(ATTEMPTS):
        try:
            plan = _chosen(graph, saliency, budget, limits, table, options)
        except BudgetError:
            if best is None:
                raise
            break  # as corrected, it is out of reach
        predicted = table.microseconds(plan.keep)
        before, after = timer(graph.model, prune(graph.model, plan), example)
        over = after / budget.allowed("latency", before) - 1
        note = (
            f"latency measured in turns: {before / 1000:.4g} -> {after / 1000:.4g} ms ({after / before:.1%}); "
            f"predicted {predicted / 1000:.4g} ms, in attempt {attempt + 1}"
        )
        plan = replace(plan, latency=(before, after), notes=(*plan.notes, note))
        best = min((found for found in (best, (over, plan)) if found), key=_preference)
        if -TOLERANCE <= over <= TOLERANCE:
            break
        first = first or before
        table = table.corrected(first, plan.keep, after * first / before)
    assert best is not None
    over, plan = best
    if over > TOLERANCE:
        _refuse(budget, plan)
    return plan


def _preference(found: tuple[float, Plan]) -> tuple[bool, float]:
    """Within the budget first, then the nearest to it."""
    return found[0] > TOLERANCE, abs(found[0])


def _chosen(
    graph: ChannelGraph,
    saliency: Saliency | ErrorCurves,
    budget: Budget,
    limits: Limits,
    table: LatencyModel,
    options: dict[str, Any],
) -> Plan:
    return choose_by_costs(graph, saliency, budget, limits=limits, latency=table, **options)


def _refuse(budget: Budget, plan: Plan) -> None:
    assert plan.latency is not None
    before, after = plan.latency
    value = budget.limits["latency"]
    possible = f"{after / before:.2f}" if value < 1 else f"{after / 1000:.3g}ms"
    raise BudgetError(
        f"budget: latency={value:g} allows {budget.allowed('latency', before) / 1000:.4g} ms, and the nearest plan was "
        f"measured at {after / 1000:.4g} of {before / 1000:.4g} ms; ask for latency={possible} "
        "or more, or measure on a quieter machine"
    )


def in_turns(first: nn.Module, second: nn.Module, example: Any) -> tuple[float, float]:
    """Median microseconds of the forward passes of two networks that take turns on one input."""
    args, kwargs = call_arguments(example)
    clock = synchronized(example, time.perf_counter)
    models = (first, second)
    modes = [model.training for model in models]
    times: tuple[list[float], list[float]] = ([], [])
    try:
        with torch.inference_mode():
            for model in models:
                model.eval()
                model(*args, **kwargs)
            begin = clock()
            while len(times[0]) < 7 or (clock() - begin < _SECONDS and len(times[0]) < 201):
                for model, seen in zip(models, times, strict=True):
                    start = clock()
                    model(*args, **kwargs)
                    seen.append(clock() - start)
    finally:
        for model, mode in zip(models, modes, strict=True):
            model.train(mode)
    a, b = (1e6 * sorted(seen)[len(seen) // 2] for seen in times)
    return a, b

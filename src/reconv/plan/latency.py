"""Budgets of time: time the modules at a few widths each, predict, prune, measure, and correct until it fits.

The widths are drawn up as an orthogonal array: 25 pruned networks in which any two groups of channels that a layer
joins take every pair of five shares once. The networks are interleaved, on random input, and each module's time is a
median.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from reconv.budget import Budget, Limits
from reconv.cost.latency_table import Features, LatencyTable, fit_table
from reconv.cost.timing import Timer, clock_modules, per_pass, random_like
from reconv.errors import BudgetError, ConfigError, check_kind
from reconv.graph.channels import ChannelGraph, Mask
from reconv.graph.tracing import call_arguments
from reconv.plan.plans import Plan, plan_keeping
from reconv.plan.queues import queue_of
from reconv.plan.rankings import Ranking
from reconv.surgery import prune

SHARES = (1.0, 0.75, 0.5, 0.3, 0.12)  # of a group's channels
ROUNDS = 3
ATTEMPTS = 4
TOLERANCE = 0.03  # of the time allowed: by so much two measurements of one network differ
_SECONDS = 0.05  # for the passes of one network in one round, about
_PASSES = 5


def measure_layers(
    graph: ChannelGraph, *, multiple: int = 1, clock: Callable[[], float] = time.perf_counter
) -> LatencyTable:
    """Time a network's modules at candidate widths. Trained weights are not needed.

    Args:
        graph: of the network, whose example gives the input's shape; the values are random.
        multiple: widths are multiples of this where they can be.
        clock: seconds.

    Returns:
        The table, which `choose` takes for a budget of latency.

    Raises:
        ConfigError: `graph` is not a traced graph.

    Cost: about a hundred forward passes of the network at half its width, and as many cuts.

    Example:
        >>> import torch, reconv
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 1), torch.nn.Conv2d(8, 8, 1))
        >>> table = reconv.measure_layers(reconv.trace(model, torch.zeros(1, 3, 4, 4)))
        >>> table.microseconds(table.whole) > 0
        True
    """
    check_kind("measure_layers: graph", graph, ChannelGraph)
    keeps = [np.ones(graph.classes, dtype=np.bool_), *candidates(graph, multiple)]
    example = random_like(graph.inputs)
    seconds: list[dict[str, list[float]]] = [{} for _ in keeps]
    for _ in range(ROUNDS):
        for keep, times in zip(keeps, seconds, strict=True):
            small = prune(graph.model, plan_keeping(graph, keep)).eval()
            for name, passes in _time_modules(small, example, clock).items():
                times.setdefault(name, []).extend(passes)
    medians = [{name: 1e6 * statistics.median(passes) for name, passes in times.items()} for times in seconds]
    features = Features(graph, [name for name, _ in graph.model.named_modules()])
    return fit_table(features, keeps, medians, keeps[0])


def measured_plan(
    graph: ChannelGraph, budget: Budget, table: LatencyTable, timer: Timer, plan_for: Callable[[LatencyTable], Plan]
) -> Plan:
    """The plan whose pruned network meets the budget of time as measured.

    Args:
        table: predicts times; it is corrected by what is measured.
        timer: microseconds of two networks. plan_for: the plan that meets the budget as a table predicts.

    Raises:
        BudgetError: it cannot be met, as predicted or as measured; says what is possible.
        ConfigError: a budget of several times.
    """
    name, *others = budget.measured
    if others:
        raise ConfigError(
            f"budget: {budget} limits {name} and {others[0]}, and one table predicts times; give one of them"
        )
    example = random_like(graph.inputs)
    attempts: list[tuple[float, Plan]] = []
    first = 0.0
    for attempt in range(ATTEMPTS):
        try:
            plan = plan_for(table)
        except BudgetError:
            if not attempts:
                raise
            break  # as corrected, it is out of reach
        predicted = table.microseconds(plan.keep)
        before, after = timer(graph.model, prune(graph.model, plan), example)
        over = after / budget.allowed(name, before) - 1
        note = (
            f"{name} measured interleaved: {before / 1000:.4g} -> {after / 1000:.4g} ms ({after / before:.1%}); "
            f"predicted {predicted / 1000:.4g} ms, in attempt {attempt + 1}"
        )
        plan = replace(plan, costs={**plan.costs, name: (before, after)}, notes=(*plan.notes, note))
        attempts.append((over, plan))
        if -TOLERANCE <= over <= TOLERANCE:
            break
        first = first or before
        table = table.corrected(first, plan.keep, after * first / before)
    over, plan = min(attempts, key=lambda attempt: _preference(attempt[0]))
    if over > TOLERANCE:
        raise _out_of_reach(budget, name, *plan.costs[name])
    return plan


def _preference(over: float) -> tuple[bool, float]:
    """Within the budget first, then the nearest to it."""
    return over > TOLERANCE, abs(over)


def _out_of_reach(budget: Budget, name: str, before: float, after: float) -> BudgetError:
    value = budget.limits[name]
    possible = f"{after / before:.2f}" if value < 1 else f"{after / 1000:.3g}ms"
    return BudgetError(
        f"budget: {name}={value:g} allows {budget.allowed(name, before) / 1000:.4g} ms, and the nearest plan was "
        f"measured at {after / 1000:.4g} of {before / 1000:.4g} ms; ask for {name}={possible} "
        "or more, or measure on a quieter machine"
    )


def candidates(graph: ChannelGraph, multiple: int = 1) -> list[Mask]:
    """What stays in each of the networks that are timed."""
    generator = np.random.default_rng(0)
    limits = Limits(multiple=multiple)
    queues = [
        queue_of(graph, group, _shuffle(group.size, generator), limits, coupled=True, equal_shares=True)
        for group in graph.groups
    ]
    columns = _columns(graph)
    keeps = []
    for k in range(len(SHARES)):
        for m in range(len(SHARES)):
            keep = np.ones(graph.classes, dtype=np.bool_)
            for queue, column in zip(queues, columns, strict=True):
                gone = (1 - SHARES[(k + column * m) % len(SHARES)]) * queue.group.size
                for step in queue.steps:
                    gone -= len(step)
                    if gone < 0:
                        break
                    keep[step] = False
            keeps.append(keep)
    return keeps


def _shuffle(size: int, generator: np.random.Generator) -> Ranking:
    return Ranking(generator.random(size).argsort(kind="stable"), np.zeros(size))


def _columns(graph: ChannelGraph) -> list[int]:
    """A column of the array for each group; groups that a layer joins get different ones while there are enough."""
    group_of = {int(unit): i for i, group in enumerate(graph.groups) for unit in group.units}
    joined: list[set[int]] = [set() for _ in graph.groups]
    for layer in graph.layers:
        outputs, inputs = (
            {group_of[int(c)] for c in np.unique(plane) if int(c) in group_of}
            for plane in (layer.outputs, layer.inputs)
        )
        for a in outputs:
            for b in inputs - {a}:
                joined[a].add(b)
                joined[b].add(a)
    columns: list[int] = []
    for i, others in enumerate(joined):
        uses = [sum(columns[j] == c for j in others if j < i) for c in range(len(SHARES))]
        columns.append(int(np.argmin(np.array(uses) * len(graph.groups) + (np.arange(len(SHARES)) - i) % len(SHARES))))
    return columns


def _time_modules(model: nn.Module, example: Any, clock: Callable[[], float]) -> dict[str, list[float]]:
    """Seconds that every module takes without the modules inside it, one entry per pass."""
    args, kwargs = call_arguments(example)
    with torch.inference_mode():
        model(*args, **kwargs)
        start = time.perf_counter()
        model(*args, **kwargs)
        passes = int(max(2, min(_PASSES, _SECONDS / max(time.perf_counter() - start, 1e-9))))
        with clock_modules(model, example, clock=clock) as seconds:
            for _ in range(passes):
                model(*args, **kwargs)
    return {name: per_pass(calls, passes) for name, calls in seconds.items()}

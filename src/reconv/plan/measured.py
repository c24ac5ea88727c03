"""Budgets of time: predict, prune, measure the pruned network and the whole one interleaved, and correct until it fits.

A runtime computes channels in blocks, so that time is a staircase of widths, and a scheme that narrows all groups alike
takes the steps of many groups at once. Where the corrected predictions end on both sides of the budget, the groups go
from one plan's widths to the other's one after the other, by bisection.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from reconv.budget import Budget
from reconv.cost.latency_table import LatencyTable
from reconv.cost.timing import Timer, random_like
from reconv.errors import BudgetError, ConfigError
from reconv.graph.channels import ChannelGraph
from reconv.plan.plans import Plan, finish_plan, plan_keeping
from reconv.surgery import prune

ATTEMPTS = 4
MIXTURES = 6
NEAR = 0.02  # of the time allowed: a plan so near to it is not improved
TOLERANCE = 0.03  # of the time allowed: by so much two measurements of one network differ


def measured_plan(
    graph: ChannelGraph, budget: Budget, table: LatencyTable, timer: Timer, plan_for: Callable[[LatencyTable], Plan]
) -> Plan:
    """The plan whose pruned network meets the budget of time as measured.

    Args:
        table: predicts times; it is corrected by what is measured.
        timer: of two networks. plan_for: the plan that meets the budget as a table predicts.

    Raises:
        BudgetError: it cannot be met, as predicted or as measured; says what is possible.
        ConfigError: a budget of several times.
    """
    name, *others = budget.measured
    if others:
        raise ConfigError(
            f"budget: {budget} limits {name} and {others[0]}, and one table predicts times; give one of them"
        )
    search = _Search(graph, budget, name, timer)
    first = 0.0
    for _ in range(ATTEMPTS):
        try:
            plan = plan_for(table)
        except BudgetError:
            if not search.tried:
                raise
            break  # as corrected, it is out of reach
        before, after = search.measure(plan, f"predicted {table.microseconds(plan.keep) / 1000:.4g} ms")
        if search.is_near:
            break
        first = first or before
        table = table.corrected(first, plan.keep, after * first / before)
    if not search.is_near:
        search.mix()
    tried = search.best
    if tried.over > TOLERANCE:
        raise _out_of_reach(budget, name, *tried.plan.costs[name])
    return tried.plan


@dataclass(frozen=True, eq=False)
class _Tried:
    """A plan, and by how much its network exceeds the time allowed, relative to that."""

    over: float
    plan: Plan


@dataclass(eq=False)
class _Search:
    """Plans that were measured.

    Args:
        graph: of the network. budget: of the time `name`, and of what else it limits. timer: of two networks.
    """

    graph: ChannelGraph
    budget: Budget
    name: str
    timer: Timer
    tried: list[_Tried] = field(default_factory=list)

    @property
    def best(self) -> _Tried:
        """Within the budget first, then the nearest to it."""
        return min(self.tried, key=lambda tried: (tried.over > TOLERANCE, abs(tried.over)))

    @property
    def is_near(self) -> bool:
        """Whether the last plan is near enough."""
        return abs(self.tried[-1].over) <= NEAR

    def measure(self, plan: Plan, words: str) -> tuple[float, float]:
        """Time the whole network and the pruned one, in microseconds."""
        example: Any = random_like(self.graph.inputs)
        before, after = self.timer.pair(self.graph.model, prune(self.graph.model, plan), example)
        note = (
            f"{self.name} measured interleaved by {self.timer}: {before / 1000:.4g} -> {after / 1000:.4g} ms "
            f"({after / before:.1%}); {words}, in attempt {len(self.tried) + 1}"
        )
        plan = replace(plan, costs={**plan.costs, self.name: (before, after)}, notes=(*plan.notes, note))
        self.tried.append(_Tried(after / self.budget.allowed(self.name, before) - 1, plan))
        return before, after

    def mix(self) -> None:
        """Measure plans between the nearest two on both sides of the budget."""
        slow = min((tried for tried in self.tried if tried.over > 0), key=lambda tried: tried.over, default=None)
        fast = max((tried for tried in self.tried if tried.over <= 0), key=lambda tried: tried.over, default=None)
        if fast is None or not {self.name, "macs", "params"}.issuperset(self.budget.limits):
            return  # what else is limited is not known of a mixture
        if slow is None and len(self.budget.limits) > 1:
            return
        keep_all = np.ones(self.graph.classes, dtype=np.bool_)
        wide, narrow = (slow.plan if slow else plan_keeping(self.graph, keep_all)), fast.plan
        differing = _differences(self.graph, wide, narrow)
        low, high = 0, len(differing)
        for _ in range(MIXTURES):
            middle = (low + high) // 2
            if middle in (low, high):
                return
            rows, removed = list(narrow.groups), set(narrow.removed)
            for groups, branch in differing[:middle]:
                for i in groups:
                    rows[i] = wide.groups[i]
                removed.symmetric_difference_update([branch] if branch else [])
            texts = narrow.request, narrow.criterion, narrow.scheme
            gone = tuple(b.name for b in self.graph.branches or () if b.name in removed)
            mixed = finish_plan(self.graph, rows, *texts, notes=narrow.notes[:-1], removed=gone)
            self.measure(mixed, f"{middle} of {len(differing)} groups with the widths of a slower plan")
            if self.is_near:
                return
            low, high = (low, middle) if self.tried[-1].over > 0 else (middle, high)


def _differences(graph: ChannelGraph, wide: Plan, narrow: Plan) -> list[tuple[list[int], str]]:
    """Where two plans differ: groups of channels that change together, and the branch that one of the two removes."""
    numbers = {row.name: i for i, row in enumerate(narrow.groups)}
    branches = {branch.name: branch for branch in graph.branches or ()}
    changed = [name for name in branches if (name in wide.removed) != (name in narrow.removed)]
    result = [([numbers[group] for group in branches[name].groups], name) for name in changed]
    together = {i for groups, _ in result for i in groups}
    result += [
        ([i], "")
        for i, (a, b) in enumerate(zip(wide.groups, narrow.groups, strict=True))
        if a.kept != b.kept and i not in together
    ]
    return sorted(result)


def _out_of_reach(budget: Budget, name: str, before: float, after: float) -> BudgetError:
    value = budget.limits[name]
    possible = f"{after / before:.2f}" if value < 1 else f"{after / 1000:.3g}ms"
    return BudgetError(
        f"budget: {name}={value:g} allows {budget.allowed(name, before) / 1000:.4g} ms, and the nearest plan was "
        f"measured at {after / 1000:.4g} of {before / 1000:.4g} ms; ask for {name}={possible} "
        "or more, or measure on a quieter machine"
    )

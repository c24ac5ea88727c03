"""The best widths of groups that no layer joins, while all others stay as they are.

With the others fixed, the costs of such groups add up, and the problem is a knapsack with one item to choose from each
group's steps (a multiple-choice knapsack). Prices from its dual problem say what each choice r(n) >= 0 loses against
the best one there is at these prices; a plan that is better than the one at hand by no more than the gap G between the
two can only be made of choices whose r add up to less than G. These few are combined group by group; of two partial
plans that cost the same, or of which one costs more and loses more, one is kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from reconv.cost.terms import Values
from reconv.graph.labels import Plane
from reconv.plan.ascent import HIGHEST_PRICE, highest
from reconv.plan.tables import Tables

_MOST = 2048  # partial plans kept from group to group; more make a block inexact
_CELLS = 32  # of a cost, where there are several: in each cell the best partial plan is kept
_EQUAL = 1e-12  # shares of a whole: costs that differ by less are equal


@dataclass(frozen=True)
class Block:
    """The best steps of some groups.

    Args:
        steps: of all groups; None where nothing is better.
        exact: it is proved that nothing is better.
    """

    steps: Plane | None
    exact: bool


def best_of_block(tables: Tables, taken: Plane, groups: Sequence[int], weights: Mapping[str, float]) -> Block:
    """The best steps of these groups.

    Args:
        tables: of all groups. taken: steps of all groups. groups: no cost joins any two of them.
        weights: prices of the limits to search near; those of other limits are searched everywhere.
    """
    counts = tables.counts(taken)
    lost, costs = [], []
    spans = [tables.span(i, taken) for i in groups]
    for i, (low, high) in zip(groups, spans, strict=True):
        shares = tables.shares(i, taken, counts)
        table = np.stack([shares[name] for name in tables.spending.allowed])  # [limits, steps]
        costs.append((table - table[:, [taken[i]]])[:, low : high + 1])
        lost.append((tables.groups[i].lost - tables.groups[i].lost[taken[i]])[low : high + 1])
    slack = tables.slack(taken)
    prices, bound, within = _dual(
        lost, costs, slack, np.array([weights.get(n, np.nan) for n in tables.spending.allowed])
    )
    lowest = np.array([low for low, _ in spans])
    at_hand = taken[list(groups)] - lowest
    best = min((sum_of(lost, steps), k) for k, steps in enumerate((at_hand, *within)))
    start = (at_hand, *within)[best[1]]
    ends, exact = _combine(lost, costs, slack, prices, best[0] - bound)
    for steps in (*ends, *([start] if start is not at_hand else [])):
        result = taken.copy()
        result[list(groups)] = lowest + steps
        if tables.lost(result) < tables.lost(taken) and tables.excess(result) <= 1:
            return Block(result, exact and tables.adds_up)
    return Block(None, exact and tables.adds_up)


def sum_of(lost: Sequence[Values], steps: Plane) -> float:
    return float(sum(table[n] for table, n in zip(lost, steps, strict=True)))


def _dual(lost: list[Values], costs: list[Values], slack: Values, near: Values) -> tuple[Values, float, list[Plane]]:
    """Prices, what no choice within the slack is below, and choices within it that were met on the way."""
    within: list[Plane] = []
    bound = -np.inf

    def value_at(prices: Values) -> tuple[float, Values]:
        nonlocal bound
        steps = np.array([(own + prices @ cost).argmin() for own, cost in zip(lost, costs, strict=True)])
        over = np.sum([cost[:, n] for cost, n in zip(costs, steps, strict=True)], axis=0) - slack
        value = sum_of(lost, steps) + float(prices @ over)
        bound = max(bound, value)
        if (over <= 0).all():
            within.append(steps)
        return value, over

    if len(slack) > 1 and not np.isnan(near).any():
        value_at(near)  # good enough: better ones for several limits would take as long as all the rest
        return near, bound, within
    zero, scale = np.zeros(len(slack)), max(sum(float(np.ptp(own)) for own in lost), 1e-30)
    prices = highest(value_at, zero, zero + HIGHEST_PRICE * scale, tolerance=1e-3, evaluations=30)
    return prices, bound, within


def _combine(
    lost: list[Values], costs: list[Values], slack: Values, prices: Values, gap: float
) -> tuple[list[Plane], bool]:
    """Choices that lose less than the gap allows, the best first, and whether all were compared."""
    options = []
    for own, cost in zip(lost, costs, strict=True):
        regret = own + prices @ cost
        regret = regret - regret.min()
        where = np.flatnonzero(regret < gap * (1 - 1e-9))
        if not len(where):
            return [], True
        options.append((where, regret[where], own[where], cost[:, where]))
    order = sorted(range(len(options)), key=lambda i: len(options[i][0]))
    rest = np.sum([cost.min(1) for *_, cost in options], axis=0)
    regrets, losses, spent, exact = np.zeros(1), np.zeros(1), np.zeros((len(slack), 1)), True
    trail: list[tuple[Plane, Plane]] = []
    for i in order:
        where, regret, own, cost = options[i]
        rest = rest - cost.min(1)
        regrets = (regrets[:, None] + regret).ravel()
        losses = (losses[:, None] + own).ravel()
        spent = (spent[:, :, None] + cost[:, None, :]).reshape(len(slack), -1)
        alive = np.flatnonzero((regrets < gap) & (spent + rest[:, None] <= slack[:, None] + _EQUAL).all(0))
        alive, whole = _drop_dominated(alive, regrets[alive], losses[alive], spent[:, alive])
        exact = exact and whole
        trail.append((alive // len(where), where[alive % len(where)]))
        regrets, losses, spent = regrets[alive], losses[alive], spent[:, alive]
    return _follow(trail, order, losses), exact


def _drop_dominated(alive: Plane, regrets: Values, losses: Values, spent: Values) -> tuple[Plane, bool]:
    """Partial plans worth following, and whether no other was."""
    whole = len(alive) <= 4 * _MOST
    if not whole:
        some = np.argpartition(regrets, 4 * _MOST)[: 4 * _MOST]
        alive, regrets, losses, spent = alive[some], regrets[some], losses[some], spent[:, some]
    if len(spent) == 1:
        order = np.lexsort((losses, spent[0].round(12)))
        best = np.minimum.accumulate(losses[order])
        kept = order[np.append(True, best[1:] < best[:-1])] if len(order) else order
    else:
        low, wide = spent.min(1, initial=np.inf), np.ptp(spent, axis=1) if len(alive) else np.ones(len(spent))
        cells = ((spent - low[:, None]) / np.maximum(wide, _EQUAL)[:, None] * _CELLS).astype(np.int64)
        cell = cells.T @ (_CELLS + 1) ** np.arange(len(cells))
        order = np.lexsort((losses, cell))
        kept = order[np.append(True, np.diff(cell[order]) != 0)] if len(order) else order
        whole = whole and len(kept) == len(order)
    if len(kept) > _MOST:
        kept, whole = kept[np.argsort(regrets[kept], kind="stable")[:_MOST]], False
    return alive[kept], whole


def _follow(trail: list[tuple[Plane, Plane]], order: list[int], losses: Values) -> list[Plane]:
    """The steps of complete plans, the best three first."""
    result = []
    for state in np.argsort(losses, kind="stable")[:3]:
        steps, at = np.zeros(len(order), dtype=np.int64), int(state)
        for i, (parents, chosen) in zip(reversed(order), reversed(trail), strict=True):
            steps[i] = chosen[at]
            at = int(parents[at])
        result.append(steps)
    return result

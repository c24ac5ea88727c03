"""The widths with the least lost (score, or error) within a budget.

    minimize  sum over groups of lost + price * cost        (a Lagrangian; bisection on the price)

What a group's channel costs depends on how wide its neighbors are, so for each price the groups are optimized one
after the other until none moves, each one exactly. What the Lagrangian leaves of the budget is then used up by single
steps and by exchanges between groups. How far the result may be from the best there is, `bound.py` says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from reconv.cost.terms import Values
from reconv.graph.labels import Plane
from reconv.plan.blocks import best_of_block
from reconv.plan.bound import Dual, Pair
from reconv.plan.queues import Queue
from reconv.plan.spending import Spending
from reconv.plan.tables import Tables

_SWEEPS = 20  # over all groups, at one price
_PASSES = 4  # over all blocks
_BISECTIONS = 24  # of the price, over its whole range
_BISECTIONS_NEAR = 10  # where the dual problem has told about what it is
_EXCHANGES = 40
_SMALL_GAP = 1e-3  # of what is lost: a smaller gap is not worth more work
_NOTHING = 1e-12  # of all that could be lost: no loss
_LARGE_GAP = 1e-2  # a larger one is worth a second start


@dataclass(frozen=True)
class Solution:
    """The best widths.

    Args:
        removed: steps by group. lost: what is lost with them. bound: no plan within the budget loses less.
        key: up to which the last channels went.
    """

    removed: dict[str, int]
    lost: float
    bound: float
    key: float


def least_lost(
    queues: Mapping[str, Queue],
    spending: Spending,
    starts: Sequence[Mapping[str, int]] = (),
    teams: Sequence[Sequence[str]] = (),
) -> Solution:
    """How many steps of every queue to take so that the least is lost.

    Args:
        queues: whose saved scores or errors are on one scale. spending: what may be left.
        starts: steps by group within the budget; the result loses no more than any of these.
        teams: queues whose last steps are taken together or not at all.
    """
    tables = Tables(queues, spending, teams)
    dual = Dual(tables)
    taken, bound = np.zeros(len(tables.groups), dtype=np.int64), 0.0
    if tables.groups and tables.excess(taken) > 1:
        plans = [tables.legal(np.array([steps[name] for name in tables.queues], dtype=np.int64)) for steps in starts]
        taken, bound = _search(tables, dual, [steps for steps in plans if tables.excess(steps) <= 1])
        taken = _without_needless_steps(tables, taken)
    removed = dict.fromkeys(queues, 0)
    removed.update(zip(tables.queues, map(int, taken), strict=True))
    keys = [tables.queues[name].keys[n - 1] for name, n in removed.items() if n]
    return Solution(removed, tables.lost(taken), bound, max(keys, default=-np.inf))


def _search(tables: Tables, dual: Dual, starts: Sequence[Plane]) -> tuple[Plane, float]:
    """Steps within the budget, and what no such steps lose less than: prices from the bound lead to better steps, and
    these to a better bound."""
    first = min(_start(tables, dual), *starts, key=tables.lost) if starts else _start(tables, dual)
    dual.tighten(first)
    start = min(first, _start(tables, dual), key=tables.lost)
    taken, exact = _optimize_blocks(tables, start, dual)
    if exact:
        return taken, tables.lost(taken)
    if _gap(tables, taken, dual) > _SMALL_GAP:
        dual.tighten(taken)
    if _gap(tables, taken, dual) > _LARGE_GAP:
        for other in (_bisect(tables, _weights(tables.spending, dual), everywhere=True), *starts):
            _use_up(tables, other)
            taken = min(taken, _optimize_blocks(tables, other, dual)[0], key=tables.lost)
        dual.tighten(taken)
    return taken, min(dual.bound, tables.lost(taken))


def _start(tables: Tables, dual: Dual) -> Plane:
    """Steps within the budget, at about the best prices."""
    plans = [_bisect(tables, _weights(tables.spending, dual))]
    candidates = sorted(map(tables.legal, dual.candidates), key=tables.lost)
    plans += [steps for steps in candidates[:3] if tables.excess(steps) <= 1]
    taken = min(plans, key=tables.lost)
    if not tables.adds_up:
        _use_up(tables, taken)
    return taken


def _optimize_blocks(tables: Tables, taken: Plane, dual: Dual) -> tuple[Plane, bool]:
    """The best steps of groups that no cost joins, set by set until none moves; whether that is the best there is."""
    blocks = _separate(len(tables.groups), dual.joined)
    still, exact = 0, False
    for _ in range(_PASSES):
        for groups in blocks:
            block = best_of_block(tables, taken, groups, dual.weights)
            exact = block.exact and len(blocks) == 1
            still = still + 1 if block.steps is None else 1 if block.exact else 0
            taken = taken if block.steps is None else block.steps
            if still >= len(blocks) or _gap(tables, taken, dual) <= _SMALL_GAP:
                return taken, exact
    return taken, exact


def _gap(tables: Tables, taken: Plane, dual: Dual) -> float:
    """How far what is lost is from the bound, as a share of it."""
    lost = tables.lost(taken)
    return (lost - dual.bound) / max(abs(lost), 1e-300)


def _separate(groups: int, joined: set[Pair]) -> list[list[int]]:
    """Sets of groups that no cost joins, each as large as can be, so that every group is in one."""
    near: list[set[int]] = [set() for _ in range(groups)]
    for a, b in joined:
        near[a].add(b)
        near[b].add(a)
    remaining, result = set(range(groups)), []
    while remaining:
        block: list[int] = []
        # Those that are in no set yet come first.
        for i in sorted(range(groups), key=lambda i: (i not in remaining, len(near[i]), i)):
            if not near[i].intersection(block):
                block.append(i)
        remaining.difference_update(block)
        result.append(sorted(block))
    return result


def _weights(spending: Spending, dual: Dual) -> dict[str, float]:
    """Prices of the limits, as the dual problem says, or all alike where it knows too little."""
    largest = max(dual.weights.values(), default=0.0)
    if largest == 0 or len(dual.weights) < len(spending.allowed):
        return {}
    return {name: max(dual.weights[name], 1e-3 * largest) for name in spending.allowed}


def _bisect(tables: Tables, prices: Mapping[str, float], *, everywhere: bool = False) -> Plane:
    """The optimized widths at the lowest multiple of these prices at which they fit the budget."""
    low, high, times = -1.0, 1.0, _BISECTIONS_NEAR  # powers of e
    if everywhere or not prices:
        low, high, times = -14.0, 14.0, _BISECTIONS
    if not prices:
        size = float(np.mean([g.lost[-1] / max(g.steps, 1) for g in tables.groups]))
        scale = max(abs(size), 1e-30) * max(sum(g.steps for g in tables.groups), 1)
        prices = dict.fromkeys(tables.spending.allowed, scale)
    best = np.array([g.steps for g in tables.groups], dtype=np.int64)
    taken = np.zeros_like(best)
    for _ in range(times):
        middle = (low + high) / 2
        taken = _optimize_groups(tables, taken, np.exp(middle), prices)
        if tables.excess(taken) > 1:
            low = middle
        else:
            high = middle
            best = taken.copy() if tables.lost(taken) <= tables.lost(best) else best
    return best


def _optimize_groups(tables: Tables, taken: Plane, times: float, prices: Mapping[str, float]) -> Plane:
    """The best number of steps of every group at a multiple of these prices, by turns."""
    taken = taken.copy()
    counts = tables.counts(taken)
    for _ in range(_SWEEPS):
        moved = False
        for i, group in enumerate(tables.groups):
            cost = sum(prices[name] * share for name, share in tables.shares(i, taken, counts).items())
            low, high = tables.span(i, taken)
            n = low + int((group.lost + times * cost)[low : high + 1].argmin())
            if n != taken[i]:
                counts[group.rows] += group.less[:, taken[i]] - group.less[:, n]
                taken[i], moved = n, True
        for team in tables.teams:
            other = _move_team(tables, taken, team, {name: times * price for name, price in prices.items()})
            if other is not None:
                taken, counts, moved = other, tables.counts(other), True
        if not moved:
            break
    return taken


def _move_team(tables: Tables, taken: Plane, team: Sequence[int], prices: Mapping[str, float]) -> Plane | None:
    """The cut with the branch of a team removed, or back again, at its best widths; None where that is not better."""
    other = taken.copy()
    if tables.span(team[0], taken)[0]:  # it is removed
        other[list(team)] = 0
        for _ in range(2):
            counts = tables.counts(other)
            for i in team:
                cost = sum(prices[name] * share for name, share in tables.shares(i, other, counts).items())
                before, other[i] = other[i], int((tables.groups[i].lost + cost)[:-1].argmin())
                counts[tables.groups[i].rows] += tables.groups[i].less[:, before] - tables.groups[i].less[:, other[i]]
    else:
        other[list(team)] = [tables.groups[i].steps for i in team]
    better = tables.priced(other, prices) < tables.priced(taken, prices) * (1 - 1e-9)
    return other if better else None


def _use_up(tables: Tables, taken: Plane) -> None:
    """Spend what is left of the budget, in place: single steps back, then exchanges between two groups."""
    while _give_back(tables, taken):
        pass
    for _ in range(_EXCHANGES):
        if not _exchange(tables, taken):
            return
        while _give_back(tables, taken):
            pass


def _without_needless_steps(tables: Tables, taken: Plane) -> Plane:
    """The steps without those that save nothing (of a dead layer, say) and that the budget does not need.

    All groups give the same share of theirs back first, then each what it can.
    """
    total = sum(float(np.abs(group.lost).max()) for group in tables.groups)
    least = np.array(
        [_first_alike(g.lost, int(n), _NOTHING * total) for g, n in zip(tables.groups, taken, strict=True)]
    )
    idle = np.flatnonzero(least < taken)
    if not len(idle) or tables.excess(taken) > 1:
        return taken
    for groups in (idle, *idle[:, None]):
        low, high = 0, int((taken - least)[groups].max())  # of as many steps, the share that stays
        most, back = high, taken.copy()
        while low < high:
            middle = (low + high) // 2
            back[groups] = least[groups] + -(-(taken - least)[groups] * middle // most)
            low, high = (low, middle) if tables.excess(back) <= 1 else (middle + 1, high)
        if low < most:
            back[groups] = least[groups] + -(-(taken - least)[groups] * low // most)
            taken = back
    return taken


def _first_alike(lost: Values, taken: int, tolerance: float) -> int:
    """The fewest steps from which on, up to those taken, as much is lost."""
    other = np.flatnonzero(np.abs(lost[: taken + 1] - lost[taken]) > tolerance)
    return int(other[-1]) + 1 if len(other) else 0


def _gain(tables: Tables, taken: Plane, i: int, change: int) -> float:
    """How much lost score a change of one group's steps saves; minus infinity where there is no such change."""
    lost, n = tables.groups[i].lost, int(taken[i]) + change
    low, high = tables.span(i, taken)
    return float(lost[taken[i]] - lost[n]) if low <= n <= high else -np.inf


def _give_back(tables: Tables, taken: Plane) -> bool:
    moves = [(_gain(tables, taken, i, -1), ((i, -1),)) for i in range(len(taken)) if taken[i]]
    return _first_that_fits(tables, taken, [move for move in moves if move[0] > 0])


def _exchange(tables: Tables, taken: Plane) -> bool:
    gains = {(i, c): _gain(tables, taken, i, c) for i in range(len(taken)) for c in (-3, -2, -1, 1, 2, 3)}
    moves = []
    for back, more in ((1, 1), (1, 2), (2, 1), (1, 3), (3, 1)):
        givers = sorted(((gains[i, -back], i) for i in range(len(taken))), reverse=True)[:24]
        takers = sorted(((gains[i, more], i) for i in range(len(taken))), reverse=True)[:24]
        moves += [(a + b, ((i, -back), (j, more))) for a, i in givers for b, j in takers if i != j and a + b > 1e-12]
    return _first_that_fits(tables, taken, moves)


def _first_that_fits(tables: Tables, taken: Plane, moves: Sequence[tuple[float, tuple[tuple[int, int], ...]]]) -> bool:
    """Make the best move that the budget allows, in place."""
    for _, changes in sorted(moves, key=lambda move: -move[0])[:200]:
        for i, change in changes:
            taken[i] += change
        if tables.excess(taken) <= 1:
            return True
        for i, change in changes:
            taken[i] -= change
    return False

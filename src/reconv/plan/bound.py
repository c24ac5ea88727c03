"""How little score a plan within the budget can lose at best: a bound that no plan beats.

For prices p >= 0 on the limits, every plan n within the budget loses at least

    D(p) = min over all n of  lost(n) + sum of p * (cost(n) - allowed)            (weak duality)

A cost is a constant, plus tables over the steps of one group, plus products of tables of two groups (a layer's inputs
times its outputs). Where the products join the groups to a forest, the minimum is found exactly, group by group from
its leaves (dynamic programming). A product that would close a cycle is replaced by a plane below it (McCormick):
x y >= u y + v x - u v for x <= u, y <= v, and likewise for lower ends. Steps of a group with which no plan could beat
the one at hand are then left out, which narrows those ranges, and so on.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from reconv.cost.latency_table import LatencyTable
from reconv.cost.terms import Terms, Values
from reconv.graph.labels import Plane
from reconv.plan.ascent import HIGHEST_PRICE, Function, highest
from reconv.plan.tables import Tables

_PRICE_FACTOR = 4.5  # a second search looks at prices from 1/4.5 to 4.5 times those candidates before
_COARSE = 64  # points; of more, a hull of every eighth point sorts most out first


Pair = tuple[int, int]


@dataclass
class _Cost:
    """One cost, as a share of the whole: what may be left, tables of single groups, products of two."""

    allowed: float
    single: list[Values]
    pairs: dict[tuple[int, int], list[tuple[Values, Values]]] = field(default_factory=dict)
    constant: float = 0.0


class Dual:
    """The dual problem of a budget.

    Args:
        tables: of the groups.
    """

    def __init__(self, tables: Tables):
        self.tables = tables
        self.limits = list(tables.linear)
        costs = [_cost(tables, name) for name in self.limits]
        lost = [group.lost for group in tables.groups]
        self.bound = float(sum(min(0.0, table.min()) for table in lost))
        self.prices = np.zeros(len(costs))
        self.problem = _Problem(lost, costs) if costs else None
        self.candidates: list[Plane] = []
        if self.problem is not None:
            bound, self.prices, self.candidates = self.problem.best_bound()
            self.bound = max(self.bound, bound)
        self.bound = max(self.bound, bound_of_time(tables))

    @property
    def joined(self) -> set[Pair]:
        """Groups that a cost joins, two and two."""
        return set() if self.problem is None else {pair for cost in self.problem.costs for pair in cost.pairs}

    @property
    def weights(self) -> dict[str, float]:
        """How much each limit weighs at the best prices."""
        return dict(zip(self.limits, self.prices.tolist(), strict=True))

    def tighten(self, taken: Plane) -> bool:
        """Raise the bound near a plan; whether that may be done again.

        Planes touch the products that they replace at the plan, and steps that cannot beat it are left out.
        """
        problem, reached = self.problem, self.tables.lost(taken)
        if problem is None or not problem.has_cycles:
            return False
        problem.taken = taken
        bound, prices, self.candidates = problem.best_bound(self.prices)
        raised = bound > self.bound
        if raised:
            self.bound, self.prices = bound, prices
        return problem.narrow(prices, reached) or raised


def bound_of_time(tables: Tables) -> float:
    """What no plan loses less than that meets a limit on time, as predicted; minus infinity where that is not known.

    Where no two groups change the time of one module, the time is a sum over the groups, and the best price is a
    number that a search finds.
    """
    best = -np.inf
    for name, times in tables.times.items():
        table = tables.spending.latency
        if not times.apart or not isinstance(table, LatencyTable) or not tables.groups:
            continue
        none, whole = np.zeros(len(tables.groups), dtype=np.int64), tables.spending.whole[name] or 1.0
        shares = [(own - own[0]) / whole for own in (times.of(i, none) for i in range(len(tables.groups)))]
        allowed = table.sum_allowed(tables.spending.allowed[name])
        value_at = _separable(
            [g.lost for g in tables.groups], shares, (table.sum_of_modules(table.whole) - allowed) / whole
        )
        scale = max(sum(float(np.ptp(g.lost)) for g in tables.groups), 1e-30)
        best = max(best, value_at(highest(value_at, np.zeros(1), np.array([HIGHEST_PRICE * scale])))[0])
    return float(best)


def _separable(lost: list[Values], costs: list[Values], over: float) -> Function:
    """The dual function of one limit on a sum over groups; `over`: by how much it is exceeded when no step is taken."""

    def value_at(prices: Values) -> tuple[float, Values]:
        price = float(prices[0])
        steps = [int((own + price * cost).argmin()) for own, cost in zip(lost, costs, strict=True)]
        excess = over + sum(float(cost[n]) for cost, n in zip(costs, steps, strict=True))
        return sum(float(own[n]) for own, n in zip(lost, steps, strict=True)) + price * excess, np.array([excess])

    return value_at


def _cost(tables: Tables, name: str) -> _Cost:
    terms: Terms = tables.linear[name]
    whole = tables.spending.whole[name] or 1.0
    cost = _Cost(tables.spending.allowed[name] / whole, [np.zeros(g.steps + 1) for g in tables.groups])
    owners: dict[int, list[tuple[int, int]]] = {}
    for i, group in enumerate(tables.groups):
        for position, row in enumerate(group.rows):
            owners.setdefault(int(row), []).append((i, position))
    fixed = tables.full.copy()  # counts that no group changes: what is left of each when every group is taken out
    parts: dict[int, list[tuple[int, Values]]] = {}
    for row, members in owners.items():
        for i, position in members:
            less = tables.groups[i].less[position]
            parts.setdefault(row, []).append((i, less[-1] - less))
            fixed[row] -= less[-1]
    for coefficient, factors in zip(terms.coefficients / whole, terms.factors, strict=True):
        rows = [int(f) for f in factors if f >= 0]
        # Of more than two counts, the rest are taken at their smallest, which only lowers the cost.
        for row in rows[2:]:
            coefficient = coefficient * fixed[row]
        _add_product(cost, coefficient, rows[:2], fixed, parts)
    return cost


def _add_product(
    cost: _Cost, coefficient: float, rows: list[int], fixed: Values, parts: dict[int, list[tuple[int, Values]]]
) -> None:
    if not rows:
        cost.constant += coefficient
        return
    if len(rows) == 1:
        rows = [rows[0], -1]
    a, b = rows
    one = 1.0 if b < 0 else fixed[b]
    cost.constant += coefficient * fixed[a] * one
    for i, x in parts.get(a, ()):
        cost.single[i] += coefficient * one * x
    for j, y in parts.get(b, ()) if b >= 0 else ():
        cost.single[j] += coefficient * fixed[a] * y
        for i, x in parts.get(a, ()):
            if i == j:
                cost.single[i] += coefficient * x * y
            else:
                first, second = (x, y) if i < j else (y, x)
                cost.pairs.setdefault((min(i, j), max(i, j)), []).append((coefficient * first, second))


class _Joint:
    """What two groups cost together at given prices: a sum of products of their tables, x[first] * y[second]."""

    def __init__(self, products: list[list[tuple[Values, Values]]], prices: Values):
        """`products`: of every cost."""
        scaled = [(price * x, y) for price, terms in zip(prices, products, strict=True) for x, y in terms]
        self.terms: list[tuple[Values, Values]] = []
        for x, y in scaled:
            # Products with the same y, up to a factor, are one: a layer's MACs and its parameters.
            for i, (other_x, other_y) in enumerate(self.terms):
                factor = y[0] / other_y[0] if other_y[0] else 0.0
                if factor and np.allclose(y, factor * other_y, rtol=1e-12):
                    self.terms[i] = (other_x + factor * x, other_y)
                    break
            else:
                self.terms.append((x, y))

    def least(self, energy: Values, of_first: bool) -> tuple[Values, Plane]:
        """For every number of steps of one group the least of `energy` (of the other) plus the joint cost, and where.

        Args:
            energy: of the group that is minimized over. of_first: that is the first one.
        """
        terms = [(y, x) if of_first else (x, y) for x, y in self.terms]  # (stays, goes)
        if len(terms) == 1:
            return _lower_envelope(energy, *terms[0])
        sums = sum((np.outer(x, y) for x, y in terms), np.zeros((1, 1))) + energy[None, :]
        where = sums.argmin(1)
        return sums[np.arange(len(sums)), where], where


def _lower_envelope(energy: Values, x: Values, y: Values) -> tuple[Values, Plane]:
    """min over b of energy[b] + x[a] y[b], and where, for all a: at corners of the hull below (y, energy)."""
    order = np.lexsort((energy, y))
    ascending = y[order]
    order = order[np.append(True, ascending[1:] > ascending[:-1])]
    corners = order[_hull(y[order], energy[order])]
    slopes = np.diff(energy[corners]) / np.diff(y[corners])
    where = corners[np.searchsorted(slopes, -x, side="left")]
    return energy[where] + x * y[where], where


def _hull(x: Values, y: Values) -> Plane:
    """Corners of the hull below points whose x ascend, ascending."""
    corners = np.arange(len(x))
    if len(x) > _COARSE:
        # What lies above the hull of every eighth point is no corner.
        some = np.append(corners[:-1:8], len(x) - 1)
        some = some[_hull(x[some], y[some])]
        below = y < np.interp(x, x[some], y[some])
        below[some] = True
        corners = corners[below]
    while len(corners) > 2:
        px, py = x[corners], y[corners]
        slopes = (py[1:] - py[:-1]) / (px[1:] - px[:-1])
        kept = np.ones(len(corners), dtype=np.bool_)
        kept[1:-1] = slopes[1:] > slopes[:-1]
        if kept.all():
            break
        corners = corners[kept]
    return corners


class _Problem:
    """The dual problem over the steps that may still be part of a better plan."""

    def __init__(self, lost: list[Values], costs: list[_Cost]):
        self.lost, self.costs = lost, costs
        self.range = [(0, len(table)) for table in lost]
        self.taken = np.array([len(table) // 2 for table in lost])  # where planes are to come close to products
        weights: dict[tuple[int, int], float] = {}
        for cost in costs:
            for pair, products in cost.pairs.items():
                weights[pair] = weights.get(pair, 0.0) + sum(float(np.ptp(x) * np.ptp(y)) for x, y in products)
        self.neighbors: list[list[int]] = [[] for _ in lost]
        self.edges = self._forest(weights)
        self.has_cycles = len(self.edges) < len(weights)
        self.order = self._walk()

    def _forest(self, weights: dict[tuple[int, int], float]) -> set[tuple[int, int]]:
        """The pairs that are treated exactly: a forest, the weightiest first."""
        root = list(range(len(self.lost)))

        def find(i: int) -> int:
            while root[i] != i:
                i = root[i]
            return i

        edges = set()
        for (a, b), _ in sorted(weights.items(), key=lambda item: -item[1]):
            if find(a) != find(b):
                root[find(a)] = find(b)
                edges.add((a, b))
                self.neighbors[a].append(b)
                self.neighbors[b].append(a)
        return edges

    def _walk(self) -> list[tuple[int, int]]:
        """Groups with their parents (-1: none), parents first."""
        order, visited = [], set()
        for start in range(len(self.lost)):
            stack = [] if start in visited else [(start, -1)]
            while stack:
                here, parent = stack.pop()
                visited.add(here)
                order.append((here, parent))
                stack += [(n, here) for n in self.neighbors[here] if n != parent]
        return order

    # ------------------------------------------------------------------ at given ranges

    def _prepare(self) -> None:
        """Single tables and tables of two for each cost, on the present ranges."""
        cut = [slice(a, b) for a, b in self.range]
        self.singles, self.tables, self.rest = [], [], []
        for cost in self.costs:
            single = [table[s].copy() for table, s in zip(cost.single, cut, strict=True)]
            joint: dict[tuple[int, int], list[tuple[Values, Values]]] = {}
            constant = cost.constant - cost.allowed
            for (i, j), products in cost.pairs.items():
                for x, y in products:
                    x_here, y_here = x[cut[i]], y[cut[j]]
                    if (i, j) in self.edges:
                        joint.setdefault((i, j), []).append((x_here, y_here))
                        continue
                    at = x[self.taken[i]], y[self.taken[j]]
                    ends = [(x_here.max(), y_here.max()), (x_here.min(), y_here.min())]
                    u, v = max(ends, key=lambda e: e[1] * at[0] + e[0] * at[1] - e[0] * e[1])
                    single[i] += v * x_here
                    single[j] += u * y_here
                    constant -= u * v
            self.singles.append(single)
            self.tables.append(joint)
            self.rest.append(constant)

    def _minimum(self, prices: Values) -> tuple[float, Plane, dict[int, Values], list[Values], dict[Pair, _Joint]]:
        """D at these prices, the steps where it is reached, and what passing upwards gave."""
        own = [table[a:b].copy() for table, (a, b) in zip(self.lost, self.range, strict=True)]
        for price, single in zip(prices, self.singles, strict=True):
            for table, extra in zip(own, single, strict=True):
                table += price * extra
        joint = {pair: _Joint([tables.get(pair, []) for tables in self.tables], prices) for pair in self.edges}
        up: dict[int, Values] = {}
        best_of: dict[int, Plane] = {}
        total = own
        for here, parent in reversed(self.order):
            if parent >= 0:
                pair = joint[min(here, parent), max(here, parent)]
                up[here], best_of[here] = pair.least(total[here], here < parent)
                total[parent] += up[here]
        value = float(prices @ np.array(self.rest))
        steps = np.zeros(len(own), dtype=np.int64)
        for here, parent in self.order:
            steps[here] = total[here].argmin() if parent < 0 else best_of[here][steps[parent]]
            value += float(total[here].min()) if parent < 0 else 0.0
        return value, steps, up, total, joint

    def _overspent(self, steps: Plane, k: int) -> float:
        """Cost k of these steps less what is allowed, with the planes in place of the products that they replace."""
        spent = self.rest[k] + sum(float(table[n]) for table, n in zip(self.singles[k], steps, strict=True))
        pairs = self.tables[k].items()
        return spent + sum(float(x[steps[i]] * y[steps[j]]) for (i, j), products in pairs for x, y in products)

    def best_bound(self, around: Values | None = None) -> tuple[float, Values, list[Plane]]:
        """The largest D reached; its prices; and steps that were best at some prices, and within the budget.

        Args:
            around: prices to search near; None: everywhere.
        """
        self._prepare()
        scale = max(sum(float(np.abs(t).max(initial=0)) for t in self.lost), 1e-30)
        first = np.array([first for first, _ in self.range])
        within: list[Plane] = []
        best = -np.inf

        def value_at(prices: Values) -> tuple[float, Values]:
            nonlocal best
            value, steps, *_ = self._minimum(prices)
            over = np.array([self._overspent(steps, k) for k in range(len(self.costs))])
            best = max(best, value)
            if not (over > 0).any():
                within.append(steps + first)
            return value, over

        low, high = np.zeros(len(self.costs)), np.full(len(self.costs), HIGHEST_PRICE * scale)
        if around is not None:
            low, high = around / _PRICE_FACTOR, np.where(around > 0, around * _PRICE_FACTOR, scale)
        prices = highest(value_at, low, high)
        return best, prices, within

    def narrow(self, prices: Values, reached: float) -> bool:
        """Leave out the steps with which no plan loses less than `reached`; whether that left anything out."""
        value, _, up, total, joint = self._minimum(prices)
        roots = {here: here for here, parent in self.order if parent < 0}
        marginal: dict[int, Values] = {}
        for here, parent in self.order:
            if parent < 0:
                root = here
                marginal[here] = total[here]
            else:
                root = roots[parent]
                outside = marginal[parent] - up[here]
                down, _ = joint[min(here, parent), max(here, parent)].least(outside, parent < here)
                marginal[here] = total[here] + down
            roots[here] = root
        changed = False
        for here, table in marginal.items():
            others = value - float(total[roots[here]].min())
            alive = np.flatnonzero(table + others <= reached + 1e-9 * max(abs(reached), 1.0))
            first, stop = self.range[here]
            if len(alive) and (len(alive) < stop - first) and (alive[0] > 0 or alive[-1] + 1 < stop - first):
                self.range[here] = (first + int(alive[0]), first + int(alive[-1]) + 1)
                changed = True
        return changed

"""Counts and costs as tables over the number of steps that every group has taken."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reconv.cost.latency_table import LatencyTable
from reconv.cost.terms import Values
from reconv.graph.labels import Plane
from reconv.plan.queues import Queue, mask_after
from reconv.plan.spending import Spending


@dataclass(frozen=True, eq=False)
class GroupTable:
    """What a group's steps change.

    Args:
        name: the group's. lost: score that is lost after n steps, [n]; lost[0] = 0.
        rows: counts that change. less: by how much they have fallen after n steps, [rows, n].
    """

    name: str
    lost: Values
    rows: Plane
    less: Values

    @property
    def steps(self) -> int:
        return len(self.lost) - 1


class Tables:
    """A cut as a number of steps for each group, and what it costs.

    The counted costs of a group are exact for all its numbers of steps at once; others are taken to be straight lines.
    """

    def __init__(self, queues: Mapping[str, Queue], spending: Spending, teams: Iterable[Sequence[str]] = ()):
        self.queues = {name: queue for name, queue in queues.items() if len(queue.ends)}
        self.spending = spending
        self.linear = {name: terms for name, terms in spending.terms.items() if terms.spans is None}
        self.groups = [self._table(name, queue) for name, queue in self.queues.items()]
        numbers = {name: i for i, name in enumerate(self.queues)}
        self.teams = [[numbers[name] for name in team] for team in teams]
        self._team_of = {i: team for team in self.teams for i in team}
        self.times = {
            name: spending.latency.over_steps([queue.steps for queue in self.queues.values()])
            for name, cost in spending.costs.items()
            if cost.source == "timer" and isinstance(spending.latency, LatencyTable)
        }
        self.full = spending.model.counts(spending.full)
        self._affected = [
            {name: np.flatnonzero(np.isin(terms.factors, g.rows).any(1)) for name, terms in self.linear.items()}
            for g in self.groups
        ]

    @property
    def adds_up(self) -> bool:
        """Whether every cost is a sum of products that is known exactly."""
        costs = self.spending.costs
        return all(name in self.linear and costs[name].amount is None for name in costs)

    def _table(self, name: str, queue: Queue) -> GroupTable:
        less = self.spending.model.counts_of(queue.steps)
        rows = np.flatnonzero(less.any(1))
        less = np.concatenate([np.zeros((len(rows), 1)), less[rows].cumsum(1)], axis=1)
        return GroupTable(name, np.concatenate([[0.0], np.cumsum(queue.saved)]), rows, less)

    def counts(self, taken: Plane) -> Values:
        counts = self.full.copy()
        for group, n in zip(self.groups, taken, strict=True):
            counts[group.rows] -= group.less[:, n]
        return counts

    def span(self, i: int, taken: Plane) -> tuple[int, int]:
        """The first and the last number of steps that group i may take while the others stay as they are.

        The last steps of a team, which remove a branch that they live in, are taken together.
        """
        last = self.groups[i].steps
        if i not in self._team_of:
            return 0, last
        return (last, last) if taken[i] == last else (0, last - 1)

    def legal(self, taken: Plane) -> Plane:
        """The same steps, where a team of which one removes its branch does so as a whole."""
        taken = taken.copy()
        for team in self.teams:
            if any(taken[i] == self.groups[i].steps for i in team):
                taken[team] = [self.groups[i].steps for i in team]
        return taken

    def priced(self, taken: Plane, prices: Mapping[str, float]) -> float:
        """What a cut loses and costs, at prices on the limits."""
        counts, total = self.counts(taken), self.lost(taken)
        for name, price in prices.items():
            amount = self.linear[name].total(counts) if name in self.linear else self._pressure(name, taken)
            total += price * amount / (self.spending.whole[name] or 1.0)
        return total

    def mask(self, taken: Plane) -> npt.NDArray[np.bool_]:
        return mask_after(
            self.spending.graph.classes, self.queues, dict(zip(self.queues, map(int, taken), strict=True))
        )

    def lost(self, taken: Plane) -> float:
        return float(sum(group.lost[n] for group, n in zip(self.groups, taken, strict=True)))

    def shares(self, i: int, taken: Plane, counts: Values) -> dict[str, Values]:
        """What depends on group i, for each number of its steps while the others stay, as shares of the whole.

        Args:
            taken: steps of all groups. counts: theirs.
        """
        group = self.groups[i]
        shares: dict[str, Values] = {}
        for name in self.spending.allowed:
            if name in self.linear:
                terms, chosen = self.linear[name], self._affected[i][name]
                values = np.repeat(counts[:, None], group.steps + 1, axis=1)
                values[group.rows] += group.less[:, [taken[i]]] - group.less
                products = values[terms.factors[chosen]].prod(1)
                amounts = np.asarray(terms.coefficients[chosen] @ products, dtype=np.float64)
            elif name in self.times:
                amounts = self.times[name].of(i, taken) * self._real_per_predicted(name, taken)
            else:
                ends = []
                for n in (0, group.steps):
                    other = taken.copy()
                    other[i] = n
                    ends.append(self._pressure(name, other))
                amounts = np.linspace(ends[0], ends[1], group.steps + 1, dtype=np.float64)
            shares[name] = amounts / (self.spending.whole[name] or 1.0)
        return shares

    def _real_per_predicted(self, name: str, taken: Plane) -> float:
        """A table that was corrected by measurements says other times than the sum of its modules."""
        table = self.spending.latency
        assert isinstance(table, LatencyTable)
        return self.spending.amount(name, self.mask(taken)) / max(table.sum_of_modules(self.mask(taken)), 1e-30)

    def _pressure(self, name: str, taken: Plane) -> float:
        """A cost that is no sum of products; of memory, what is above the limit at all moments together."""
        if name not in self.spending.terms:
            return self.spending.amount(name, self.mask(taken))
        return self.spending.terms[name].excess(self.counts(taken), self.spending.allowed[name])

    def slack(self, taken: Plane) -> Values:
        """What remains of every limit, as a share of the whole."""
        return np.array(list(self.spending.unused(self.mask(taken)).values()))

    def excess(self, taken: Plane) -> float:
        """The largest ratio of what a limited cost is to what it may be."""
        return max(self._amount(name, taken) / allowed for name, allowed in self.spending.allowed.items())

    def _amount(self, name: str, taken: Plane) -> float:
        spending, terms = self.spending, self.spending.terms.get(name)
        if terms is None:
            return spending.amount(name, self.mask(taken))
        total = terms.total(self.counts(taken))
        if spending.costs[name].slack is None:
            return total
        if spending.fits(self.mask(taken), (name,)):
            return min(spending.allowed[name], total)
        return spending.amount(name, self.mask(taken))

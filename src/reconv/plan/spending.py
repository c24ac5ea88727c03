"""How much of a budget a cut leaves."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cache

import numpy as np

from reconv.budget import Budget, Cost, Product
from reconv.cost import LatencyModel
from reconv.cost.terms import CostModel, Terms
from reconv.errors import BudgetError
from reconv.graph.channels import ChannelGraph, Mask

TOLERANCE = 0.01  # of the whole: more than that left unused is worth a word


class Spending:
    """What a cut costs, of everything that a budget limits.

    Args:
        graph: of the network. budget: what is limited.
        smallest: mask of what stays when all that may go is gone.
        latency: predicts microseconds; needed for a budget of latency.
    """

    def __init__(self, graph: ChannelGraph, budget: Budget, smallest: Mask, latency: LatencyModel | None):
        self.graph, self.budget, self.smallest = graph, budget, smallest
        self.latency = latency
        self.full = np.ones(graph.classes, dtype=np.bool_)
        self.costs = {name: Cost.registry[name] for name in budget.limits}
        self.model = CostModel(graph)
        self.terms: dict[str, Terms] = {}
        for name, cost in self.costs.items():
            if cost.source == "removable":
                self.terms[name] = self.model.terms([Product(1.0, [np.flatnonzero(~smallest)])])
            elif cost.products is not None:
                self.terms[name] = self.model.terms(cost.products(graph))
        self.whole = {name: self._whole(name) for name in self.costs}
        self.allowed = {name: budget.allowed(name, whole) for name, whole in self.whole.items()}
        self._beyond_terms = cache(self._measure_beyond_terms)

    def _whole(self, name: str) -> float:
        amount = self.costs[name].amount
        return self.amount(name, self.full) if amount is None else float(amount(self.graph, self.full))

    def amount(self, name: str, keep: Mask) -> float:
        """One limited cost of what stays, never less than it is."""
        cost = self.costs[name]
        if cost.source == "timer":
            assert self.latency is not None  # `choose` measures one
            return self.latency.microseconds(keep)
        if cost.amount is not None and (name not in self.terms or cost.slack is not None):
            return float(cost.amount(self.graph, keep))
        return self.terms[name].total(self.model.counts(keep))

    def share(self, name: str, amount: float) -> float:
        """An amount as a share of the whole."""
        return amount / (self.whole[name] or 1.0)

    def fits(self, keep: Mask, names: tuple[str, ...] | None = None) -> bool:
        """Whether every limit (of these) is respected."""
        return all(self._fits(name, keep) for name in names or self.allowed)

    def _fits(self, name: str, keep: Mask) -> bool:
        allowed = self.allowed[name]
        if name not in self.terms or self.costs[name].slack is None:
            return self.amount(name, keep) <= allowed
        # What the terms leave out takes time to tell and hardly varies: only a close call is decided exactly.
        least, most = self._beyond_terms(name)
        terms = self.terms[name].total(self.model.counts(keep))
        return terms + most <= allowed or (terms + least <= allowed and self.amount(name, keep) <= allowed)

    def _measure_beyond_terms(self, name: str) -> tuple[float, float]:
        """Between what a cost exceeds its terms by, for any cut."""
        ends = [
            self.amount(name, keep) - self.terms[name].total(self.model.counts(keep))
            for keep in (self.full, self.smallest)
        ]
        slack = self.costs[name].slack or 0.0
        return min(ends) - slack, max(ends) + slack

    def unused(self, keep: Mask) -> dict[str, float]:
        """What remains of every limit, as a share of the whole."""
        return {name: self.share(name, allowed - self.amount(name, keep)) for name, allowed in self.allowed.items()}

    def before_and_after(self, keep: Mask) -> dict[str, tuple[float, float]]:
        """Every limited cost of the whole network and of what stays."""
        costs = {}
        for name, whole in self.whole.items():
            exact = self.costs[name].amount
            costs[name] = whole, self.amount(name, keep) if exact is None else float(exact(self.graph, keep))
        return costs

    def check_possible(self, advice: Mapping[str, Callable[[], Mask]]) -> None:
        """Refuse a budget that cannot be met whatever goes.

        Args:
            advice: what else could be done, and what then stays when all that may go is gone.

        Raises:
            BudgetError: says what is possible, for every limit that is out of reach.
        """
        beyond, possible, fixed = [], [], []
        for name, allowed in self.allowed.items():
            least, value, unit = self.amount(name, self.smallest), self.budget.limits[name], self.costs[name].unit
            if least <= allowed:
                continue
            beyond.append(
                f"{name}={value:g} asks for at most {unit.text(allowed)} of {unit.text(self.whole[name])}, "
                f"but {unit.text(least)} have to stay"
            )
            share = math.ceil(1000 * self.share(name, least)) / 1000
            if value >= 1:
                possible.append(f"{name}={math.ceil(least)}{unit.smallest}")
            elif share < 1:
                possible.append(f"{name}={share:.3f}")
            else:
                fixed.append(name)
        if not beyond:
            return
        ways = [f"ask for {', '.join(possible)} or more"] if possible else []
        ways += [f"leave {name} out (nothing that may go lowers it)" for name in fixed]
        ways[-1] += "".join(f", or {text}" for text, smallest in advice.items() if self.fits(smallest()))
        raise BudgetError(f"budget: {'; '.join(beyond)}; {'; '.join(ways)}")

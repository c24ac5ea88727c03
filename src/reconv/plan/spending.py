"""How much of a budget a cut leaves."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property

import numpy as np

from reconv.cost import LatencyModel, file_size, predicted_memory
from reconv.cost.terms import CostModel
from reconv.errors import BudgetError, ConfigError
from reconv.graph.channels import ChannelGraph, Mask
from reconv.plan.budget import Budget, shown

TOLERANCE = 0.01  # of the whole: more than that left unused is worth a word
_HEADER_SLACK = 4096  # bytes by which the headers of two cuts may differ, beyond what the names of edits take


class Spending:
    """What is left of everything that a budget limits.

    Args:
        graph: of the network. budget: what is limited.
        least: mask of what stays when all that may go is gone.
        latency: predicts microseconds; needed for a budget of latency.
    """

    def __init__(self, graph: ChannelGraph, budget: Budget, least: Mask, latency: LatencyModel | None):
        if "latency" in budget.limits and latency is None:
            raise ConfigError(
                "budget: latency has to be measured first; give latency=measure_layers(graph), or use reconv.choose"
            )
        self.graph, self.budget, self.least = graph, budget, least
        self._latency = latency
        everything = np.ones(graph.classes, dtype=np.bool_)
        self.whole = {name: self.exactly(name, everything) for name in budget.limits}
        if "memory" in self.whole:  # a share is one of what is measured; a cut's is predicted, never as less than it is
            self.whole["memory"] = float(predicted_memory(graph) or self.whole["memory"])
        self.allowed = {name: budget.allowed(name, whole) for name, whole in self.whole.items()}

    @cached_property
    def costs(self) -> CostModel:
        return CostModel(self.graph)

    def exactly(self, name: str, keep: Mask) -> float:
        """One limited amount, of what stays: a number, bytes, or microseconds."""
        measures: dict[str, Callable[[], float]] = {
            "channels": lambda: float((keep & ~self.least).sum()),
            "size": lambda: float(file_size(self.graph, keep)),
            "latency": lambda: self._latency.microseconds(keep) if self._latency else 0.0,
        }
        return measures[name]() if name in measures else float(self.costs.left(name, self.costs.counts(keep)))

    def fits(self, keep: Mask, names: tuple[str, ...] | None = None) -> bool:
        """Whether every limit (of these) is respected."""
        return all(self._fits(name, keep) for name in names or self.allowed)

    def _fits(self, name: str, keep: Mask) -> bool:
        if name != "size":
            return self.exactly(name, keep) <= self.allowed[name]
        # The header takes time to predict and hardly varies: only a close call is looked at exactly.
        smallest, largest = self._headers
        data = float(self.costs.left("size", self.costs.counts(keep)))
        if data + largest <= self.allowed[name]:
            return True
        return data + smallest <= self.allowed[name] and self.exactly(name, keep) <= self.allowed[name]

    @property
    def _headers(self) -> tuple[float, float]:
        if not hasattr(self, "_known_headers"):
            ends = [
                self.exactly("size", keep) - float(self.costs.left("size", self.costs.counts(keep)))
                for keep in (np.ones(self.graph.classes, dtype=np.bool_), self.least)
            ]
            self._known_headers = (min(ends) - _HEADER_SLACK, max(ends) + _HEADER_SLACK)
        return self._known_headers

    def unused(self, keep: Mask) -> dict[str, float]:
        """What is left of every limit, as a share of the whole."""
        return {
            name: (allowed - self.exactly(name, keep)) / max(self.whole[name], 1)
            for name, allowed in self.allowed.items()
        }

    def check_possible(self, hint: str) -> None:
        """Refuse a budget that cannot be met whatever goes.

        Raises:
            BudgetError: says what is possible, for every limit that is out of reach.
        """
        beyond, possible, fixed = [], [], []
        for name, allowed in self.allowed.items():
            least, whole, value = self.exactly(name, self.least), self.whole[name], self.budget.limits[name]
            if least <= allowed:
                continue
            beyond.append(
                f"{name}={value:g} asks for at most {shown(name, allowed)} of {shown(name, whole)}, "
                f"but {shown(name, least)} have to stay"
            )
            share = math.ceil(1000 * least / max(whole, 1)) / 1000
            if value >= 1:
                possible.append(f"{name}={math.ceil(least)}{'us' * (name == 'latency')}")
            elif share < 1:
                possible.append(f"{name}={share:.3f}")
            else:
                fixed.append(name)
        ways = [f"ask for {', '.join(possible)} or more"] if possible else []
        ways += [f"leave {name} out (nothing that may go lowers it)" for name in fixed]
        if beyond:
            raise BudgetError(f"budget: {'; '.join(beyond)}; {'; '.join(ways)}{hint}")

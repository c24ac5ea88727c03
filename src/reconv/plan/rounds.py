"""A budget in steps: with s the share that it leaves and R rounds, s^(k/R) is left after round k."""

from __future__ import annotations

import math

from reconv.budget import Budget, Cost
from reconv.cost.terms import whole_cost
from reconv.graph.channels import ChannelGraph


def budget_of_round(budget: Budget, graph: ChannelGraph, number: int, rounds: int) -> Budget:
    """The budget of one round: each takes the same share of what the one before it left.

    Args:
        budget: of all rounds together. graph: of the network before the first.
        number: of the round, from 1.

    Returns:
        Absolute numbers where the whole cost is known beforehand; else shares of what the round before left.
    """
    limits: dict[str, float] = {}
    for name, value in budget.limits.items():
        whole = whole_cost(graph, Cost.registry[name])
        if whole is None:
            limits[name] = value ** (1 / rounds)
        else:
            share = min(1.0, value if value < 1 else value / whole)
            limits[name] = max(1, math.floor(whole * share ** (number / rounds) + 1e-9))
    return Budget(others=limits)

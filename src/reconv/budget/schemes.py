"""Names of the ways to share a budget among layers, and to make scores of layers comparable."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

Scheme: TypeAlias = Literal["uniform", "global", "knapsack"]
Rescale: TypeAlias = Literal["mean", "max", "l2", "sum", "rank", "none"]

SCHEMES: tuple[Scheme, ...] = get_args(Scheme)
ALLOCATED = "allocated"
"""What the knapsack is called where it spends error curves."""

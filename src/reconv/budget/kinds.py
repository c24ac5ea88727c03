"""Kinds of budget. Each is one row that says all that the solver, the plan, the rounds and the report need to know.

A cost is a sum of products of widths wherever it can be, so that thousands of plans are priced in a second:

    cost = sum of coefficient * (channels kept of one plane) * (channels kept of another) * ...
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import TYPE_CHECKING, ClassVar, Literal

from reconv.errors import ConfigError, check_kind, wrong_kind
from reconv.registry import Registry

if TYPE_CHECKING:
    from reconv.graph.channels import ChannelGraph, Mask
    from reconv.graph.labels import Plane


@dataclass(frozen=True)
class Unit:
    """How amounts are read and written.

    Args:
        symbol: after a number of one unit, as in "bytes".
        factors: suffix, in lower case -> how many units it is. Where "" is missing, a suffix has to be given.
        example: an amount, for messages.
        smallest: the suffix of one unit.
        shown_in: units in one of what messages show, and its symbol.
    """

    symbol: str
    factors: Mapping[str, float] = field(repr=False)
    example: str
    smallest: str = ""
    shown_in: tuple[float, str] | None = None

    def text(self, amount: float) -> str:
        """An amount, for people."""
        if self.shown_in:
            return f"{amount / self.shown_in[0]:.4g} {self.shown_in[1]}"
        return f"{amount:,.0f} {self.symbol}".rstrip()


_FACTORS = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "ki": 1024.0, "mi": 1024.0**2, "gi": 1024.0**3}
COUNT = Unit("", _FACTORS, "0.5")
BYTES = Unit("bytes", _FACTORS | {f"{prefix}b": factor for prefix, factor in _FACTORS.items()}, "2MiB")
MICROSECONDS = Unit("µs", {"s": 1e6, "ms": 1e3, "us": 1.0, "µs": 1.0}, "3ms", "us", (1000.0, "ms"))


@dataclass(frozen=True, eq=False)
class Product:
    """One term of a cost: a coefficient times the number of channels kept of each plane.

    Args:
        coefficient: what it costs where one channel of each plane stays.
        planes: channel classes, such as `layer.outputs`.
        owner: number of the layer, parameter or piece of memory that it belongs to.
        span: the first and the last operator at whose end it is held; a cost of such terms is the largest sum held at
            any time. None: it counts always.

    Raises:
        WrongKindError: a coefficient that is no number, or planes that are no sequence of arrays.
        ConfigError: a coefficient that is negative or not finite: a narrower network would cost more.

    Example:
        >>> import numpy as np, reconv
        >>> reconv.Product(9.0, [np.arange(16), np.arange(8)]).coefficient  # a 3x3 kernel per pair of channels
        9.0
    """

    coefficient: float
    planes: Sequence[Plane]
    owner: int = 0
    span: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        check_kind("Product: coefficient", self.coefficient, Real, "a number, such as layer.positions")
        if not 0 <= self.coefficient < math.inf:
            raise ConfigError(
                f"Product: coefficient={self.coefficient:g}; give a finite number of at least 0, so that a narrower "
                "network never costs more"
            )
        if not isinstance(self.planes, Sequence) or not all(hasattr(plane, "ravel") for plane in self.planes):
            raise wrong_kind("Product: planes", self.planes, "a list of arrays, such as [layer.outputs]")


@dataclass(frozen=True)
class Cost:
    """A kind of budget; `reconv.register` adds one, and `Budget(**{"its name": 0.5})` limits it.

    Args:
        name: as budgets call it. meaning: one line. label: as plans and reports call it; "": the name.
        unit: of its amounts.
        source: "graph": `products` or `amount` say it; "removable": channels, of those that may be removed under the
            limits at hand; "timer": it is measured, and predicted by the table that `choose` is given.
        products: its terms. Without them the knapsack takes a group's cost for a straight line and states no gap.
        amount: what it really is for the channel classes that stay, where the sum of products says less or more.
        slack: None: the sum of products is never below `amount`, and decides. A number: `amount` decides, and exceeds
            the sum by what it does for the whole network or for the smallest one, give or take this much.

    Example:
        >>> import reconv
        >>> def reads(graph):
        ...     return [reconv.Product(layer.positions, (layer.inputs.ravel(),)) for layer in graph.layers]
        >>> cost = reconv.register(reconv.Cost("reads", "numbers that layers read", products=reads))
        >>> print(reconv.Budget(reads=0.5))
        reads=0.5
    """

    registry: ClassVar[Registry[Cost]] = Registry("budget", built_in=("reconv.cost.built_in",))

    name: str
    meaning: str = ""
    label: str = ""
    unit: Unit = COUNT
    source: Literal["graph", "removable", "timer"] = "graph"
    products: Callable[[ChannelGraph], Sequence[Product]] | None = None
    amount: Callable[[ChannelGraph, Mask], float] | None = None
    slack: float | None = None
    aliases: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.label or self.name

"""How many channels each group keeps: the least predicted error within a budget.

    minimize  sum over groups of error(removed) + price * cost        (a Lagrangian; bisection on the price)

The cost of one group's channel depends on how many its neighbors keep, so for each price the groups are settled in
turn until none moves.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from reconv.cost import total_macs, total_parameters
from reconv.errors import BudgetError, ConfigError
from reconv.graph.channels import ChannelGraph, ChannelGroup, Layer, Mask
from reconv.plan import STREAM, Budget, GroupPlan, Plan
from reconv.refit.elimination import Curve

_SWEEPS = 20
_BISECTIONS = 48
_EXCHANGES = 100
_LIMITS = ("macs", "params", "channels")


class _Costs:
    """What the network costs, as a share of the whole for each limit of a budget, summed."""

    def __init__(self, graph: ChannelGraph, budget: Budget, groups: list[ChannelGroup], steps: Mapping[str, int]):
        self.graph = graph
        self.budget = budget
        self.everything = np.ones(graph.classes, dtype=np.bool_)
        self.whole = {
            "macs": total_macs(graph.layers),
            "params": total_parameters(graph, self.everything),
            "channels": sum(steps.values()),
        }
        self._layers: dict[str, list[Layer]] = {}
        self._parameters: dict[str, list[str]] = {}
        for group in groups:
            names = {*group.producers, *group.consumers}
            self._layers[group.name] = [layer for layer in graph.layers if layer.name in names]
            units = set(group.units.tolist())
            trained = {name for name, _ in graph.model.named_parameters()}
            self._parameters[group.name] = [
                name
                for name, planes in graph.parameters.items()
                if name in trained and any(units & set(np.unique(p).tolist()) for p in planes)
            ]

    def of_group(self, group: ChannelGroup, keep: Mask, kept: int) -> float:
        """What depends on the group's width, a share of the whole, summed over the limits."""
        total = 0.0
        for limit in self.budget.limits:
            if limit == "macs":
                total += total_macs(self._layers[group.name], keep) / self.whole[limit]
            elif limit == "params":
                sizes = (math.prod(self.graph.shape(name, keep)) for name in self._parameters[group.name])
                total += sum(sizes) / self.whole[limit]
            else:
                total += kept / self.whole[limit]
        return total

    def excess(self, keep: Mask, kept: int) -> float:
        """The largest ratio of what is left to what may be left."""
        ratios = []
        for limit, value in self.budget.limits.items():
            if limit == "macs":
                left = total_macs(self.graph.layers, keep)
            elif limit == "params":
                left = total_parameters(self.graph, keep)
            else:
                left = kept
            ratios.append(left / (value * self.whole[limit] if value < 1 else value))
        return max(ratios)


def check_budget(budget: Budget) -> None:
    """Refuse a budget that widths by error curves are not found for.

    Raises:
        ConfigError: it limits something else than multiply-adds, parameters and channels.
    """
    unknown = sorted(set(budget.limits) - set(_LIMITS))
    if unknown:
        raise ConfigError(
            f"scheme allocated: a budget of {', '.join(unknown)}; it meets {', '.join(_LIMITS)} only, "
            "take another scheme for the rest"
        )


def choose_by_curves(
    graph: ChannelGraph, curves: Mapping[str, Curve], budget: Budget, *, criterion: str = "reconstruction"
) -> Plan:
    """Widths and channels with the least predicted error within a budget.

    Args:
        graph: of the network.
        curves: from `error_curves`; groups without a curve stay whole.
        budget: what may be left at most, in multiply-adds, parameters or channels.
        criterion: whose order of channels the curves follow, for the plan to say.

    Returns:
        The plan; every group keeps at least one channel of every cell.

    Raises:
        BudgetError: it cannot be met; says what is possible. ConfigError: no curve at all, or a budget of something
            else.
    """
    check_budget(budget)
    groups = [group for group in graph.groups if group.name in curves]
    if not groups:
        raise ConfigError("allocation: no group of channels has an error curve; give curves of at least one group")
    state = _State(graph, curves, groups, budget)
    widest, least = state.excess(), state.excess_at_least()
    if least > 1:
        limits = ", ".join(
            f"{name}={math.ceil(1000 * value * least) / 1000 if value < 1 else math.ceil(value * least):g}"
            for name, value in budget.limits.items()
        )
        raise BudgetError(f"budget: {budget} cannot be met by the groups that have an error curve; ask for {limits}")
    if widest > 1:
        _bisect(state)
    return state.plan(criterion)


def _bisect(state: _State) -> None:
    low, high = -40.0, 40.0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        state.settle(math.exp(middle))
        low, high = (middle, high) if state.excess() > 1 else (low, middle)
    state.settle(math.exp(high))
    state.refine()


class _State:
    """How many steps of every group are removed."""

    def __init__(self, graph: ChannelGraph, curves: Mapping[str, Curve], groups: list[ChannelGroup], budget: Budget):
        self.graph, self.groups, self.budget = graph, groups, budget
        self.units: dict[str, list[npt.NDArray[np.int64]]] = {}
        self.errors: dict[str, npt.NDArray[np.float64]] = {}
        for group in groups:
            cells = len(np.unique(group.cells))
            steps = curves[group.name].order.reshape(-1, cells)
            # The last step stays where nothing else would be left.
            if steps.size == group.size:
                steps = steps[:-1]
            self.units[group.name] = list(group.units[steps])
            self.errors[group.name] = curves[group.name].errors[::cells][: len(steps) + 1]
        self.removed = {group.name: 0 for group in groups}
        self.keep = np.ones(graph.classes, dtype=np.bool_)
        self.costs = _Costs(graph, budget, groups, {name: len(u) for name, u in self.units.items()})

    def set(self, name: str, removed: int) -> None:
        steps = self.units[name]
        for i, units in enumerate(steps):
            self.keep[units] = i >= removed
        self.removed[name] = removed

    @property
    def kept(self) -> int:
        return sum(len(self.units[name]) - n for name, n in self.removed.items())

    def excess(self) -> float:
        return self.costs.excess(self.keep, self.kept)

    def excess_at_least(self) -> float:
        for name, steps in self.units.items():
            self.set(name, len(steps))
        result = self.excess()
        for name in self.units:
            self.set(name, 0)
        return result

    def slope(self, group: ChannelGroup) -> float:
        """What one step of a group costs while the others stay as they are."""
        name, before, steps = group.name, self.removed[group.name], len(self.units[group.name])
        if not steps:
            return 0.0
        ends = []
        for removed in (0, steps):
            self.set(name, removed)
            ends.append(self.costs.of_group(group, self.keep, steps - removed))
        self.set(name, before)
        return (ends[0] - ends[1]) / steps

    def settle(self, price: float) -> None:
        """The best widths at a price, by turns."""
        for group in self.groups:
            self.set(group.name, 0)
        for _ in range(_SWEEPS):
            moved = False
            for group in self.groups:
                errors = self.errors[group.name]
                best = int((errors - price * self.slope(group) * np.arange(len(errors))).argmin())
                if best != self.removed[group.name]:
                    self.set(group.name, best)
                    moved = True
            if not moved:
                return

    def refine(self) -> None:
        """What the Lagrangian leaves of the budget: single channels, then exchanges between two groups."""
        while self._give_back():
            pass
        for _ in range(_EXCHANGES):
            if not self._exchange():
                return
            while self._give_back():
                pass

    def _change(self, name: str, steps: int) -> float:
        """How much the error rises by so many steps more of a group; infinite where there are none."""
        n, errors = self.removed[name], self.errors[name]
        return float(errors[n + steps] - errors[n]) if 0 <= n + steps < len(errors) else math.inf

    def _give_back(self) -> bool:
        prices = [
            (self._change(group.name, -1) / max(self.slope(group), 1e-12), group.name)
            for group in self.groups
            if self.removed[group.name]
        ]
        return any(self._moved({name: -1}) for _, name in sorted(prices))

    def _exchange(self) -> bool:
        moves = [
            (self._change(a.name, -back) + self._change(b.name, more), {a.name: -back, b.name: more})
            for a in self.groups
            for b in self.groups
            for back, more in ((1, 1), (1, 2), (2, 1), (1, 3), (3, 1))
            if a is not b
        ]
        better = sorted((move for move in moves if move[0] < -1e-12), key=lambda move: move[0])
        return any(self._moved(changes) for _, changes in better)

    def _moved(self, changes: Mapping[str, int]) -> bool:
        """Make the changes if the budget allows them."""
        for name, change in changes.items():
            self.set(name, self.removed[name] + change)
        if self.excess() <= 1:
            return True
        for name, change in changes.items():
            self.set(name, self.removed[name] - change)
        return False

    def plan(self, criterion: str) -> Plan:
        rows = []
        for group in self.graph.groups:
            why = "" if group.name in self.units else group.reason or (STREAM if group.stream else "no error curve")
            kept = tuple(np.flatnonzero(self.keep[group.units]).tolist())
            rows.append(GroupPlan(group.name, group.producers, group.size, kept, why=why))
        everything = np.ones(self.graph.classes, dtype=np.bool_)
        return Plan(
            graph=self.graph,
            groups=tuple(rows),
            asked=f"keep {self.budget}",
            criterion=criterion,
            scheme="allocated",
            macs=(total_macs(self.graph.layers), total_macs(self.graph.layers, self.keep)),
            params=(total_parameters(self.graph, everything), total_parameters(self.graph, self.keep)),
        )

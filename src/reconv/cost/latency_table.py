"""From timings of layers at some widths to the time of the network at any.

The time of a module is taken to be a constant, plus a rising broken line over its MACs, plus a multiple of the bytes
that its operators write; for a module without a layer, a rising broken line over those bytes. The corners are at the
quartiles of what was timed, and the slopes, none of them negative, are fitted by least squares.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls
from scipy.sparse import csr_array

from reconv.budget import Product
from reconv.cost.terms import CostModel, Values, macs_products
from reconv.graph.branches import with_branches
from reconv.graph.bypass import is_within, vanishing
from reconv.graph.channels import ChannelGraph, Mask
from reconv.graph.labels import Plane

_CORNERS = 5


class Features:
    """What a module does when only some channels stay: its MACs, and the bytes that its operators write; and whether it
    still runs when only some residual branches stay."""

    def __init__(self, graph: ChannelGraph, modules: Sequence[str]):
        graph = with_branches(graph)
        self.classes = graph.classes
        self.modules = tuple(modules)
        self._costs = CostModel(graph)
        self._macs = self._costs.terms(macs_products(graph))
        numbers = {name: i for i, name in enumerate(self.modules)}

        def owner(name: str) -> int:
            while name and name not in numbers:
                name = name.rpartition(".")[0]
            return numbers.get(name, 0)

        self._layer_owner = np.array([owner(layer.name) for layer in graph.layers], dtype=np.int64)
        self._outputs = self._costs.terms(
            [
                Product(output.bytes_apart(), [*planes, *graph.factors(needs, planes)], owner(operation.module))
                for operation, needs in zip(graph.forward, map(graph.needs_of, itertools.count()), strict=False)
                for output in operation.outputs
                for planes in [[graph.labels[p] for p in output.planes]]
            ]
        )
        owners = np.array([owner(operation.module) for operation in graph.forward], dtype=np.int64)
        own = np.bincount(owners, minlength=len(self.modules))
        self._stopped: list[tuple[int, Values]] = []  # a branch, and which share of each module's operators it holds
        for branch in graph.branches or ():
            if not branch.reason:
                inside = np.bincount(owners[sorted(branch.operations)], minlength=len(self.modules)) / np.maximum(
                    own, 1
                )
                paths = vanishing(branch.replacements)
                empty = np.array([any(is_within(name, path) for path in paths) for name in self.modules])
                self._stopped.append((branch.presence, np.where(own == 0, empty, inside)))

    def of(self, keep: Mask) -> tuple[Values, Values]:
        """MACs and bytes of every module."""
        counts = self._costs.counts(self._whole_mask(keep))
        macs, written = np.zeros(len(self.modules)), np.zeros(len(self.modules))
        layers = self._macs.each(counts)
        np.add.at(macs, self._layer_owner[: len(layers)], layers)
        each = self._outputs.each(counts)
        written[: len(each)] = each
        return macs, written

    def counts(self, keep: Mask) -> Values:
        """Every count that a feature is a product of, [K + 1]."""
        return self._costs.counts(self._whole_mask(keep))

    def counts_of(self, units: Sequence[Plane]) -> Values:
        """What each of these sets of classes adds to every count, [K + 1, sets]."""
        return self._costs.counts_of(units)

    @cached_property
    def products(self) -> tuple[Values, Plane, Plane]:
        """Coefficients [T] and counts [T, F] of the products that features are sums of, and the feature of each [T]:
        the MACs of all modules come first, then the bytes of all modules."""
        width = max(self._macs.factors.shape[1], self._outputs.factors.shape[1])
        factors = [
            np.pad(terms.factors, ((0, 0), (0, width - terms.factors.shape[1])), constant_values=-1)
            for terms in (self._macs, self._outputs)
        ]
        features = [self._layer_owner[self._macs.owner], len(self.modules) + self._outputs.owner]
        coefficients = np.concatenate([self._macs.coefficients, self._outputs.coefficients])
        return coefficients, np.concatenate(factors), np.concatenate(features)

    def stopped_by(self, classes: Plane) -> Values:
        """Which share of each module's operators no longer runs when these classes go."""
        shares = sum((share for presence, share in self._stopped if presence in classes), np.zeros(len(self.modules)))
        return np.minimum(shares, 1.0)

    def running(self, keep: Mask) -> Values:
        """Which share of each module's operators runs: less than 1 for those that removed branches hold."""
        return 1.0 - self.stopped_by(np.flatnonzero(~self._whole_mask(keep)))

    def _whole_mask(self, keep: Mask) -> Mask:
        """A mask over all classes; one that knows of no branches keeps them all."""
        return np.append(keep, np.ones(self.classes - len(keep), dtype=np.bool_))


@dataclass(frozen=True, eq=False, repr=False)
class LatencyTable:
    """Predicts how long a forward pass takes.

    Args:
        features: of the modules.
        constants: microseconds of each module while all of its operators run, whatever stays of their channels.
        ramps: pieces of the broken lines: column of the feature (MACs of all modules, then bytes of all modules), from,
            to, microseconds for each unit. Shape [pieces, 4].
        whole: mask of the whole network.
        measured: networks that were timed as a whole: (sum of the modules, what it really was), in microseconds; in
            between, it is a straight line.
    """

    features: Features
    constants: Values
    ramps: npt.NDArray[np.float64]
    whole: Mask
    measured: tuple[tuple[float, float], ...] = ()

    def __repr__(self) -> str:
        return f"LatencyTable({len(self.features.modules)} modules, {self._whole / 1000:.4g} ms)"

    def microseconds(self, keep: Mask) -> float:
        """Predicted time of a forward pass when only these channel classes stay."""
        return self._corrected(self.sum_of_modules(keep))

    def _corrected(self, plain: float) -> float:
        if not self.measured:
            return plain
        sums, real = zip((0.0, 0.0), *sorted(self.measured), strict=True)
        within = float(np.interp(plain, sums, np.maximum.accumulate(real)))
        return within + max(plain - float(sums[-1]), 0.0)

    @cached_property
    def _whole(self) -> float:
        return self.sum_of_modules(self.whole)

    def sum_of_modules(self, keep: Mask) -> float:
        """Microseconds of all modules together, before what was measured of whole networks corrects it."""
        values = np.concatenate(self.features.of(keep))
        feature, low, high, slope = self.ramps.T
        climbed = np.clip(values[feature.astype(np.int64)], low, high) - low
        return float(self.features.running(keep) @ self.constants) + float((slope * climbed).sum())

    def over_steps(self, steps: Sequence[Sequence[Plane]]) -> StepTimes:
        """Times as functions of how many steps each of several groups has taken.

        Args:
            steps: by group, the channel classes that each of its steps takes.
        """
        return StepTimes(self, steps)

    def sum_allowed(self, microseconds: float) -> float:
        """The largest sum of the modules of which this time is predicted: the inverse of the correction."""
        low, high = 0.0, 2 * max(self._whole, microseconds) + 1.0
        for _ in range(100):
            middle = (low + high) / 2
            low, high = (middle, high) if self._corrected(middle) <= microseconds else (low, middle)
        return high

    def corrected(self, before: float, keep: Mask, after: float) -> LatencyTable:
        """The table after both networks were measured, in microseconds: the whole one, and what `keep` leaves."""
        points = dict(self.measured)
        before = points.setdefault(self._whole, before)
        points[self.sum_of_modules(keep)] = min(after, before)
        return replace(self, measured=tuple(points.items()))


class StepTimes:
    """What each group's steps do to the time, for all their numbers at once.

    Args:
        table: of the network. steps: by group, the channel classes that each of its steps takes.
    """

    def __init__(self, table: LatencyTable, steps: Sequence[Sequence[Plane]]):
        self._table, features = table, table.features
        self._full = features.counts(table.whole)
        coefficients, factors, of_feature = features.products
        slopes = table.ramps[:, 0].astype(np.int64)
        self._groups = []
        for own in steps:
            less = features.counts_of(own)
            rows = np.flatnonzero(less.any(1))
            touched = np.unique(of_feature[np.isin(factors, rows).any(1)])
            terms = np.flatnonzero(np.isin(of_feature, touched))
            place = np.searchsorted(touched, of_feature[terms])
            sums = csr_array((coefficients[terms], (place, np.arange(len(terms)))), shape=(len(touched), len(terms)))
            ramps = np.flatnonzero(np.isin(slopes, touched))
            stopped = [
                table.constants @ features.stopped_by(np.concatenate([*own[:n], rows[:0]])) for n in range(len(own) + 1)
            ]
            less = np.concatenate([np.zeros((len(rows), 1)), less[rows].cumsum(1)], axis=1)
            which = np.searchsorted(touched, slopes[ramps])
            self._groups.append((rows, less, factors[terms], sums, table.ramps[ramps], which, np.array(stopped)))

    @property
    def apart(self) -> bool:
        """Whether no two groups change the time of one module, so that what they save adds up."""
        touched = [set(ramps[:, 0].tolist()) for *_, ramps, _, _ in self._groups]
        return sum(map(len, touched)) == len(set[float]().union(*touched))

    def of(self, i: int, taken: Plane) -> Values:
        """Microseconds, up to a constant, for each number of steps of group i while the others stay as they are."""
        counts = self._full.copy()
        for (rows, less, *_), n in zip(self._groups, taken, strict=True):
            counts[rows] -= less[:, n]
        rows, less, factors, sums, ramps, which, stopped = self._groups[i]
        values = np.repeat(counts[:, None], less.shape[1], axis=1)
        values[rows] += less[:, [taken[i]]] - less
        features = (sums @ values[factors].prod(1))[which]
        _, low, high, slope = ramps.T
        climbed = np.clip(features, low[:, None], high[:, None]) - low[:, None]
        times: Values = slope @ climbed - stopped
        return times


def fit_table(
    features: Features, keeps: Sequence[Mask], times: Sequence[Mapping[str, float]], whole: Mask
) -> LatencyTable:
    """The table that fits timings best.

    Args:
        features: of the modules. keeps: what was left of each network that was timed.
        times: microseconds of every module in each of them. whole: mask of the whole network.
    """
    values = np.array([np.concatenate(features.of(keep)) for keep in keeps])  # [networks, 2 modules]
    count = len(features.modules)
    constants, ramps = np.zeros(count), []
    for i, name in enumerate(features.modules):
        measured = np.array([row.get(name, 0.0) for row in times])
        columns = [(i, _CORNERS), (count + i, 2)] if values[:, i].any() else [(count + i, _CORNERS)]
        pieces = [piece for column, corners in columns for piece in _pieces(column, values[:, column], corners)]
        basis = [np.clip(values[:, c], a, b) - a for c, a, b in pieces]
        matrix = np.stack([np.ones(len(measured)), *basis], axis=1)
        size = np.maximum(np.abs(matrix).max(0), 1e-30)
        solution = nnls(matrix / size, measured)[0] / size
        constants[i] = float(solution[0])
        ramps += [(c, a, b, slope) for (c, a, b), slope in zip(pieces, solution[1:], strict=True) if slope > 0]
    return LatencyTable(features, constants, np.array(ramps, dtype=np.float64).reshape(-1, 4), whole)


def _pieces(column: int, values: Values, corners: int) -> list[tuple[int, float, float]]:
    """A feature's range cut at its quantiles; the outer pieces go on beyond what was timed."""
    ends = np.unique(np.quantile(values, np.linspace(0, 1, corners)))
    if len(ends) < 2:
        return []
    ends[0], ends[-1] = 0.0, np.inf
    return [(column, float(a), float(b)) for a, b in pairwise(ends)]

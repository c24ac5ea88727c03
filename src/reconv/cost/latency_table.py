"""From timings of layers at some widths to the time of the network at any.

The time of a module is taken to be a constant, plus a rising broken line over its MACs, plus multiples of the MACs that
whole blocks of channels have, plus a multiple of the bytes that its operators write; for a module without a layer, a
rising broken line over those bytes. The corners are at the quartiles of what was timed, and the slopes, none of them
negative, are fitted by least squares: time never falls as a layer widens. Modules that run the same operators on the
same shapes share one fit.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls
from scipy.sparse import csr_array

from reconv.cost.features import BYTES, KINDS, MACS, Features
from reconv.cost.terms import Values
from reconv.graph.channels import Mask
from reconv.graph.labels import Plane

_CORNERS = 5


@dataclass(frozen=True, eq=False, repr=False)
class LatencyTable:
    """Predicts how long a forward pass takes.

    Args:
        features: of the modules.
        constants: microseconds of each module while all of its operators run, whatever stays of their channels.
        ramps: pieces of the broken lines: number of the feature, from, to, microseconds for each unit. [pieces, 4].
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
        values = self.features.values(keep)
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
            touched = np.unique(of_feature[np.isin(features.count_of(factors), rows).any(1)])
            touched = touched[np.isin(touched, slopes)]
            terms = np.flatnonzero(np.isin(of_feature, touched))
            rounded = np.unique(factors[terms])
            place = np.searchsorted(touched, of_feature[terms])
            sums = csr_array((coefficients[terms], (place, np.arange(len(terms)))), shape=(len(touched), len(terms)))
            ramps = np.flatnonzero(np.isin(slopes, touched))
            stopped = [
                table.constants @ features.stopped_by(np.concatenate([*own[:n], rows[:0]])) for n in range(len(own) + 1)
            ]
            less = np.concatenate([np.zeros((len(rows), 1)), less[rows].cumsum(1)], axis=1)
            which = np.searchsorted(touched, slopes[ramps])
            products = np.searchsorted(rounded, factors[terms])
            self._groups.append((rows, less, rounded, products, sums, table.ramps[ramps], which, np.array(stopped)))

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
        rows, less, rounded, products, sums, ramps, which, stopped = self._groups[i]
        values = np.repeat(counts[:, None], less.shape[1], axis=1)
        values[rows] += less[:, [taken[i]]] - less
        own = self._table.features
        values = own.round(rounded, values[own.count_of(rounded)])
        features = (sums @ values[products].prod(1))[which]
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
    values = np.array([features.values(keep) for keep in keeps]).reshape(len(keeps), KINDS, -1)
    measured = np.array([[row.get(name, 0.0) for name in features.modules] for row in times])
    running = np.array([features.running(keep) for keep in keeps])
    constants, ramps = np.zeros(len(features.modules)), []
    kinds: dict[Hashable, list[int]] = {}
    for i, kind in enumerate(features.alike):
        kinds.setdefault(kind, []).append(i)
    for modules in kinds.values():
        own = values[:, :, modules].transpose(0, 2, 1).reshape(-1, KINDS)
        pieces = _pieces(own)
        basis = [np.clip(own[:, kind], low, high) - low for kind, low, high in pieces]
        matrix = np.stack([running[:, modules].ravel(), *basis], axis=1)
        size = np.maximum(np.abs(matrix).max(0), 1e-30)
        constant, *slopes = nnls(matrix / size, measured[:, modules].ravel())[0] / size
        constants[modules] = constant
        fitted = [(*piece, slope) for piece, slope in zip(pieces, slopes, strict=True) if slope > 0]
        ramps += [(k * len(features.modules) + i, a, b, slope) for i in modules for k, a, b, slope in fitted]
    return LatencyTable(features, constants, np.array(ramps, dtype=np.float64).reshape(-1, 4), whole)


def _pieces(values: Values) -> list[tuple[int, float, float]]:
    """Pieces of the broken lines: kind of feature, from, to.

    Args:
        values: features of modules of one kind, [times, KINDS].
    """
    if not values[:, MACS].any():
        return _between_quantiles(BYTES, values, _CORNERS)
    macs = [piece for kind in range(MACS, KINDS) for piece in _between_quantiles(kind, values, _CORNERS)]
    return [*macs, *_between_quantiles(BYTES, values, 2)]


def _between_quantiles(kind: int, values: Values, corners: int) -> list[tuple[int, float, float]]:
    """A feature's range cut at its quantiles; the outer pieces go on beyond what was timed."""
    ends = np.unique(np.quantile(values[:, kind], np.linspace(0, 1, corners)))
    if len(ends) < 2:
        return []
    ends[0], ends[-1] = 0.0, np.inf
    return [(kind, float(a), float(b)) for a, b in pairwise(ends)]

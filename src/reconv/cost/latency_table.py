"""From timings of layers at some widths to the time of the network at any.

The time of a module is taken to be a constant, plus a rising broken line over its MACs, plus a multiple of the bytes
that its operators write; for a module without a layer, a rising broken line over those bytes. The corners are at the
quartiles of what was timed, and the slopes, none of them negative, are fitted by least squares.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls

from reconv.budget import Product
from reconv.cost.terms import CostModel, Values, macs_products
from reconv.graph.channels import ChannelGraph, Mask

_CORNERS = 5


class Features:
    """What a module does when only some channels stay: its MACs, and the bytes that its operators write."""

    def __init__(self, graph: ChannelGraph, modules: Sequence[str]):
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
                Product(output.bytes_apart(), [graph.labels[p] for p in output.planes], owner(operation.module))
                for operation in graph.forward
                for output in operation.outputs
            ]
        )

    def of(self, keep: Mask) -> tuple[Values, Values]:
        """MACs and bytes of every module."""
        counts = self._costs.counts(keep)
        macs, written = np.zeros(len(self.modules)), np.zeros(len(self.modules))
        layers = self._macs.each(counts)
        np.add.at(macs, self._layer_owner[: len(layers)], layers)
        each = self._outputs.each(counts)
        written[: len(each)] = each
        return macs, written


@dataclass(frozen=True, eq=False, repr=False)
class LatencyTable:
    """Predicts how long a forward pass takes.

    Args:
        features: of the modules.
        constant: microseconds of all modules, whatever stays.
        ramps: pieces of the broken lines: column of the feature (MACs of all modules, then bytes of all modules), from,
            to, microseconds for each unit. Shape [pieces, 4].
        whole: mask of the whole network.
        measured: networks that were timed as a whole: (sum of the modules, what it really was), in microseconds; in
            between, it is a straight line.
    """

    features: Features
    constant: float
    ramps: npt.NDArray[np.float64]
    whole: Mask
    measured: tuple[tuple[float, float], ...] = ()

    def __repr__(self) -> str:
        return f"LatencyTable({len(self.features.modules)} modules, {self._whole / 1000:.4g} ms)"

    def microseconds(self, keep: Mask) -> float:
        """Predicted time of a forward pass when only these channel classes stay."""
        plain = self._modules(keep)
        if not self.measured:
            return plain
        sums, real = zip((0.0, 0.0), *sorted(self.measured), strict=True)
        within = float(np.interp(plain, sums, np.maximum.accumulate(real)))
        return within + max(plain - float(sums[-1]), 0.0)

    @cached_property
    def _whole(self) -> float:
        return self._modules(self.whole)

    def _modules(self, keep: Mask) -> float:
        values = np.concatenate(self.features.of(keep))
        feature, low, high, slope = self.ramps.T
        climbed = np.clip(values[feature.astype(np.int64)], low, high) - low
        return self.constant + float((slope * climbed).sum())

    def corrected(self, before: float, keep: Mask, after: float) -> LatencyTable:
        """The table after both networks were measured, in microseconds: the whole one, and what `keep` leaves."""
        points = dict(self.measured)
        before = points.setdefault(self._whole, before)
        points[self._modules(keep)] = min(after, before)
        return replace(self, measured=tuple(points.items()))


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
    constant, ramps = 0.0, []
    for i, name in enumerate(features.modules):
        measured = np.array([row.get(name, 0.0) for row in times])
        columns = [(i, _CORNERS), (count + i, 2)] if values[:, i].any() else [(count + i, _CORNERS)]
        pieces = [piece for column, corners in columns for piece in _pieces(column, values[:, column], corners)]
        basis = [np.clip(values[:, c], a, b) - a for c, a, b in pieces]
        matrix = np.stack([np.ones(len(measured)), *basis], axis=1)
        size = np.maximum(np.abs(matrix).max(0), 1e-30)
        solution = nnls(matrix / size, measured)[0] / size
        constant += float(solution[0])
        ramps += [(c, a, b, slope) for (c, a, b), slope in zip(pieces, solution[1:], strict=True) if slope > 0]
    return LatencyTable(features, constant, np.array(ramps, dtype=np.float64).reshape(-1, 4), whole)


def _pieces(column: int, values: Values, corners: int) -> list[tuple[int, float, float]]:
    """A feature's range cut at its quantiles; the outer pieces go on beyond what was timed."""
    ends = np.unique(np.quantile(values, np.linspace(0, 1, corners)))
    if len(ends) < 2:
        return []
    ends[0], ends[-1] = 0.0, np.inf
    return [(column, float(a), float(b)) for a, b in pairwise(ends)]

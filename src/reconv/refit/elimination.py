"""In which order channels go, and what each removal costs, by greedy elimination with a least-squares repair in mind.

With P = (U^T U / n + ridge)^-1 and the layer's matrix W, removing the inputs c and re-solving all others raises the
mean squared error by

    cost_c = tr( W_c^T (P_cc)^-1 W_c ),

after which W -= P_:c (P_cc)^-1 W_c and P -= P_:c (P_cc)^-1 P_c:. One inverse gives the whole order. A channel that
several layers read costs the sum of what it costs each, as a share of that layer's signal energy.

The sum of these costs is the error on the images that the Gram matrix is of, and with few images it is far too good to
be true: with fewer rows than inputs, channels would cost nothing. So at some points of the way the error on images that
are **left out** is found (`left_out`), and the curve goes through these; the ridge of every layer is the
one with which that error is least when half of the channels are gone.

Source: the optimal brain surgeon (Hassibi & Stork, 1992) with the taps of a channel as a block.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from reconv.errors import check_kind
from reconv.graph.channels import ChannelGraph, ChannelGroup
from reconv.graph.labels import Plane
from reconv.plan import Curve, ErrorCurves
from reconv.refit.left_out import is_plenty
from reconv.refit.sensitivity import Trial, measure_sensitivities
from reconv.refit.solve import damped
from reconv.saliency import Moments

RIDGES = (1.0, 10.0, 1e2, 1e3, 1e4)  # times the one asked for, that are tried
_POWER = 1.5  # of a group's sensitivity against the others': what was best where errors add up (docs/repair.md)
_LEFT = 0.5  # of what a removed branch varies by: the next branch makes up for the rest (docs/depth.md)
_CHECKS = 10  # points of a curve at which images are left out
_LEAST_IMAGES = 5  # with fewer, leaving one out says nothing


class _Reader:
    """One layer (or one group of a grouped one) that reads a group's channels."""

    def __init__(self, moments: Moments, g: int, blocks: list[list[int]], ridge: float):
        self.moments, self.g = moments, g
        self.energy = moments.energy
        self.rows = None if moments.rows is None or len(moments.rows) < _LEAST_IMAGES else moments.rows[:, :, g]
        ridge = self._best_ridge(ridge, blocks)
        self.ridge = ridge
        gram = damped(moments.gram[g : g + 1], ridge, moments.constant)[0][0]
        self.P = torch.linalg.inv(gram)
        self.P = (self.P + self.P.T) / 2
        self.W = moments.matrix[g].clone()
        self.units = np.array([i for i, block in enumerate(blocks) if block], dtype=np.int64)
        self.blocks = {i: torch.tensor(block, device=gram.device) for i, block in enumerate(blocks) if block}

    def costs(self, alive: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
        """What the removal of each unit costs; zero for those that it does not read."""
        result = np.zeros(len(alive))
        by_size: dict[int, list[int]] = {}
        for unit in self.units[alive[self.units]].tolist():
            by_size.setdefault(len(self.blocks[unit]), []).append(unit)
        for units in by_size.values():
            index = torch.stack([self.blocks[unit] for unit in units])
            corner = self.P[index[:, :, None], index[:, None, :]]
            W = self.W[index]
            cost = (W * torch.linalg.solve(corner, W)).sum((1, 2)) / self.energy
            result[units] = cost.clamp(min=0).cpu().numpy()
        return result

    def remove(self, unit: int) -> None:
        if unit not in self.blocks:
            return
        block = self.blocks[unit]
        rows = self.P[block]
        gain = torch.linalg.solve(rows[:, block], rows).T  # [inputs, block]
        self.W.addmm_(gain, self.W[block], alpha=-1)
        self.P.addmm_(gain, rows, alpha=-1)

    def left_out_error(self) -> float | None:
        """The error on images that are left out, as it is now; None where no image can be."""
        if self.rows is None:
            return None
        return self._left_out(self.P, self.moments.matrix[self.g] - self.W)

    def _left_out(self, P: Tensor, change: Tensor) -> float:
        """Mean squared error of images that are left out, as a share of energy.

        Args:
            P: inverse of the Gram matrix of the inputs that stay, zero for others. change: what was taken from W.
        """
        assert self.rows is not None
        rows = self.rows.to(torch.float32)
        errors = rows @ change.to(rows.dtype)
        leverage = (rows @ P.to(rows.dtype)) @ rows.mT / self.moments.count
        system = (1 + 1e-4) * torch.eye(rows.shape[1], device=rows.device) - leverage
        return float(torch.linalg.solve(system, errors).double().square().sum(2).mean()) / self.energy

    def _best_ridge(self, least: float, blocks: list[list[int]]) -> float:
        """The ridge that images left out ask for, when the half of the channels with less energy is gone."""
        own, gram = self.moments, self.moments.gram[self.g]
        read = [block for block in blocks if block]
        if self.rows is None or len(read) < 2:
            return least
        W = own.matrix[self.g]
        energies = torch.stack([(W[b] * (gram[b][:, b] @ W[b])).sum() for b in read])
        gone = [i for b in energies.argsort()[: len(read) // 2].tolist() for i in read[b]]
        stays = torch.ones(len(gram), dtype=torch.bool, device=gram.device)
        stays[gone] = False
        errors = {}
        for ridge in (least * factor for factor in RIDGES):
            whole = damped(gram[None], ridge, own.constant)[0][0]
            factor, failed = torch.linalg.cholesky_ex(whole[stays][:, stays])
            if bool(failed):
                continue
            P = torch.zeros_like(gram)
            P[stays.nonzero(), stays.nonzero().T] = torch.cholesky_inverse(factor)
            change = torch.zeros_like(W)
            change[~stays] = W[~stays]
            change[stays] = -torch.cholesky_solve(whole[stays][:, ~stays] @ W[~stays], factor)
            errors[ridge] = self._left_out(P, change)
        return min(errors, key=errors.__getitem__) if errors else least


def reads(
    graph: ChannelGraph, group: ChannelGroup, moments: Mapping[str, Moments]
) -> Iterator[tuple[str, Moments, int, list[list[int]]]]:
    """Each layer (each group of a grouped one) that reads a group's channels.

    Yields:
        The layer's name and moments, which of its groups, and its inputs by the group's units.
    """
    position = {int(unit): i for i, unit in enumerate(group.units)}
    for name in group.consumers:
        layer = graph.layer(name)
        own = moments.get(name)
        if own is None or (layer.groups > 1 and layer.inputs.shape[1] == 1 and name in group.producers):
            continue  # a depthwise layer goes with its channels; what reads it next pays
        for g, row in enumerate(layer.inputs):
            blocks: list[list[int]] = [[] for _ in group.units]
            for column, unit in enumerate(row.tolist()):
                if unit in position:
                    blocks[position[unit]] += range(column * own.taps, (column + 1) * own.taps)
            if any(blocks):
                yield name, own, g, blocks


def _readers(
    graph: ChannelGraph, group: ChannelGroup, moments: Mapping[str, Moments], ridge: float
) -> list[tuple[str, _Reader]]:
    return [(name, _Reader(own, g, blocks, ridge)) for name, own, g, blocks in reads(graph, group, moments)]


@dataclass(frozen=True, eq=False)
class Elimination:
    """A group's curve, and what its readers are when about a third of its channels is gone."""

    curve: Curve
    trial: Trial


def eliminate(
    graph: ChannelGraph,
    group: ChannelGroup,
    moments: Mapping[str, Moments],
    *,
    ridge: float = 1e-4,
    order: Plane | None = None,
) -> Elimination | None:
    """The order in which a group's channels go, and the error after each.

    Args:
        graph, group: the group is one of the graph's.
        moments: from `gather_moments`.
        ridge: the least one, as in the repair.
        order: follow this order of positions (of another criterion) and only say what it costs.

    Returns:
        The curve, its errors shares of the signal's energy, summed over the layers that read the group; None where no
        layer that reads it has moments.
    """
    readers = _readers(graph, group, moments, ridge)
    if not readers:
        return None
    alive = group.free.copy()
    cells = group.cells
    counts = {int(cell): int((alive & (cells == cell)).sum()) for cell in np.unique(cells)}
    rounds = min(counts.values())
    sequence: list[int] = []
    errors = [0.0]
    given = [step.tolist() for step in group.steps(order)] if order is not None else None
    checks = {round(rounds * (i / _CHECKS) ** 2) for i in range(1, _CHECKS + 1)} | {1}
    ratios: dict[int, float] = {}
    tried: tuple[int, dict[str, Tensor]] = (0, {})
    for turn in range(rounds):
        todo = list(counts) if given is None else given[turn]
        total = errors[-1]
        for entry in todo:
            costs = sum((reader.costs(alive) for _, reader in readers), np.zeros(group.size))
            unit = entry
            if given is None:
                candidates = np.flatnonzero(alive & (cells == entry))
                unit = int(candidates[costs[candidates].argmin()])
            total += float(costs[unit])
            alive[unit] = False
            for _, reader in readers:
                reader.remove(unit)
            sequence.append(unit)
            errors.append(total)
        if turn + 1 in checks:
            honest = [reader.left_out_error() for _, reader in readers]
            if None not in honest:
                ratios[len(sequence)] = sum(honest) / max(total, 1e-300)  # type: ignore[arg-type]
        if turn == rounds // 3:
            tried = len(sequence), _changes(readers)
    curve = Curve(np.array(sequence, dtype=np.int64), _through(np.array(errors), ratios))
    return Elimination(curve, Trial(tried[0], float(curve.errors[tried[0]]), tried[1]))


def _changes(readers: Sequence[tuple[str, _Reader]]) -> dict[str, Tensor]:
    """By layer, what its matrix has gained."""
    changes: dict[str, Tensor] = {}
    for name, reader in readers:
        change = changes.setdefault(name, torch.zeros_like(reader.moments.matrix))
        change[reader.g] = reader.W - reader.moments.matrix[reader.g]
    return changes


def _through(errors: npt.NDArray[np.float64], ratios: Mapping[int, float]) -> npt.NDArray[np.float64]:
    """A curve times ratios that are known at some of its points; it does not fall."""
    if not ratios:
        return errors
    points = sorted(ratios)
    logs = np.log([max(ratios[point], 1e-300) for point in points])
    between = np.exp(np.interp(np.arange(len(errors)), points, logs))
    return np.asarray(np.maximum.accumulate(errors * between))


def error_curves(
    graph: ChannelGraph,
    moments: Mapping[str, Moments],
    *,
    ridge: float = 1e-4,
    orders: Mapping[str, Plane] | None = None,
    coupled: bool = False,
    criterion: str = "reconstruction",
    held_out: Tensor | None = None,
) -> ErrorCurves:
    """The curve of every group that may be cut; `choose` takes them in the place of scores.

    Args:
        graph: of the network that the moments are of.
        moments: from `gather_moments`.
        ridge: as in the repair.
        orders: by group, positions in the order of another criterion; greedy elimination by default.
        coupled: residual streams too.
        criterion: whose orders these are, for a plan to say.
        held_out: images that the moments are not of, float [n, ...]; with them every curve is multiplied by its group's
            sensitivity: what its error does to the network's outputs, measured once for each group.

    Raises:
        WrongKindError: a graph or moments of another kind.

    Example:
        >>> import reconv, torch
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 4, 3))
        >>> graph = reconv.trace(model, torch.zeros(1, 3, 8, 8))
        >>> curves = reconv.error_curves(graph, reconv.gather_moments(graph, torch.randn(16, 3, 8, 8)))
        >>> reconv.choose(graph, curves, reconv.Budget(macs=0.5)).groups[0].name
        '0'
    """
    check_kind("error_curves: graph", graph, ChannelGraph)
    check_kind(
        "error_curves: moments", moments, Mapping, "the moments that reconv.gather_moments(graph, images) returns"
    )
    if all(_tells_enough(own) for own in moments.values()):  # the error with all images is then the better guide
        moments = {name: replace(own, rows=None) for name, own in moments.items()}
    found = {}
    for group in graph.groups:
        if group.reason or (group.stream and not coupled) or (orders is not None and group.name not in orders):
            continue
        made = eliminate(graph, group, moments, ridge=ridge, order=None if orders is None else orders[group.name])
        if made is not None and len(made.curve.order):
            found[group.name] = made
    factors = {}
    if held_out is not None:
        trials = {name: made.trial for name, made in found.items() if made.trial.removed}
        factors = _factors(measure_sensitivities(graph, trials, held_out), found)
    curves = {name: _times(made.curve, factors.get(name, 1.0)) for name, made in found.items()}
    of_layer = {layer: factors.get(name, 1.0) for name, made in found.items() for layer in made.trial.changes}
    middle = float(np.median(list(factors.values()))) if factors else 1.0
    signals = {name: _LEFT * _variation(own) * of_layer.get(name, middle) for name, own in moments.items()}
    return ErrorCurves(criterion, curves, signals)


def _tells_enough(own: Moments) -> bool:
    if own.rows is None:
        return True
    return is_plenty(own.count, own.count // own.rows.shape[1], own.gram.shape[1])


def _factors(sensitivities: Mapping[str, float], groups: Iterable[str]) -> dict[str, float]:
    """What the groups' errors are multiplied by; one that was not measured has the middle sensitivity."""
    if not sensitivities:
        return {}
    middle = float(np.median(list(sensitivities.values())))
    return {name: middle * (sensitivities.get(name, middle) / middle) ** _POWER for name in groups}


def _times(curve: Curve, factor: float) -> Curve:
    return curve if factor == 1 else Curve(curve.order, curve.errors * factor)


def _variation(moments: Moments) -> float:
    """How much a layer's signal varies about its mean, as a share of the energy at the end of its chain."""
    weights, gram = moments.matrix, moments.gram
    energy = float((weights * (gram @ weights)).sum())
    if moments.constant:  # the constant input's row of second moments is the mean of all inputs
        energy -= float((gram[:, -1:] @ weights).square().sum())
    return max(energy, 0.0) / moments.energy

"""In which order channels go, and what each removal costs, by greedy elimination with a least-squares repair in mind.

With P = (U^T U / n + ridge)^-1 and the layer's matrix W, removing the inputs c and re-solving all others raises the
mean squared error by

    cost_c = tr( W_c^T (P_cc)^-1 W_c ),

after which W -= P_:c (P_cc)^-1 W_c and P -= P_:c (P_cc)^-1 P_c:. One inverse gives the whole order. A channel that
several layers read costs the sum of what it costs each, as a share of that layer's signal energy.

Source: the optimal brain surgeon (Hassibi & Stork, 1992) with the taps of a channel as a block.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from reconv.errors import check_kind
from reconv.graph.channels import ChannelGraph, ChannelGroup
from reconv.graph.labels import Plane
from reconv.plan import Curve, ErrorCurves
from reconv.refit.solve import damped
from reconv.saliency import Moments


class _Reader:
    """One layer (or one group of a grouped one) that reads a group's channels."""

    def __init__(self, gram: Tensor, matrix: Tensor, blocks: list[list[int]], energy: float):
        self.P = torch.linalg.inv(gram)
        self.P = (self.P + self.P.T) / 2
        self.W = matrix.clone()
        self.energy = energy
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


def reads(
    graph: ChannelGraph, group: ChannelGroup, moments: Mapping[str, Moments]
) -> Iterator[tuple[Moments, int, list[list[int]]]]:
    """Each layer (each group of a grouped one) that reads a group's channels.

    Yields:
        The layer's moments, which of its groups, and its inputs by the group's units.
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
                yield own, g, blocks


def _readers(graph: ChannelGraph, group: ChannelGroup, moments: Mapping[str, Moments], ridge: float) -> list[_Reader]:
    readers = []
    for own, g, blocks in reads(graph, group, moments):
        gram, _ = damped(own.gram[g : g + 1], ridge, own.constant)
        readers.append(_Reader(gram[0], own.matrix[g], blocks, own.energy))
    return readers


def eliminate(
    graph: ChannelGraph,
    group: ChannelGroup,
    moments: Mapping[str, Moments],
    *,
    ridge: float = 1e-4,
    order: Plane | None = None,
) -> Curve | None:
    """The order in which a group's channels go, and the error after each.

    Args:
        graph, group: the group is one of the graph's.
        moments: from `gather_moments`.
        ridge: as in the repair.
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
    for turn in range(rounds):
        todo = list(counts) if given is None else given[turn]
        total = errors[-1]
        for entry in todo:
            costs = sum((reader.costs(alive) for reader in readers), np.zeros(group.size))
            unit = entry
            if given is None:
                candidates = np.flatnonzero(alive & (cells == entry))
                unit = int(candidates[costs[candidates].argmin()])
            total += float(costs[unit])
            alive[unit] = False
            for reader in readers:
                reader.remove(unit)
            sequence.append(unit)
            errors.append(total)
    return Curve(np.array(sequence, dtype=np.int64), np.array(errors))


def error_curves(
    graph: ChannelGraph,
    moments: Mapping[str, Moments],
    *,
    ridge: float = 1e-4,
    orders: Mapping[str, Plane] | None = None,
    coupled: bool = False,
    criterion: str = "reconstruction",
) -> ErrorCurves:
    """The curve of every group that may be cut; `choose` takes them in the place of scores.

    Args:
        graph: of the network that the moments are of.
        moments: from `gather_moments`.
        ridge: as in the repair.
        orders: by group, positions in the order of another criterion; greedy elimination by default.
        coupled: residual streams too.
        criterion: whose orders these are, for a plan to say.

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
    curves = {}
    for group in graph.groups:
        if group.reason or (group.stream and not coupled) or (orders is not None and group.name not in orders):
            continue
        curve = eliminate(graph, group, moments, ridge=ridge, order=None if orders is None else orders[group.name])
        if curve is not None and len(curve.order):
            curves[group.name] = curve
    return ErrorCurves(criterion, curves, {name: _variation(own) for name, own in moments.items()})


def _variation(moments: Moments) -> float:
    """How much a layer's signal varies about its mean, as a share of the energy at the end of its chain."""
    weights, gram = moments.matrix, moments.gram
    energy = float((weights * (gram @ weights)).sum())
    if moments.constant:  # the constant input's row of second moments is the mean of all inputs
        energy -= float((gram[:, -1:] @ weights).square().sum())
    return max(energy, 0.0) / moments.energy

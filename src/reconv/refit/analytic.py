"""What a network's own numbers say about its signals: moments and a repair without any image.

SPSRC's Frobenius score of a channel is, per position, the variance of its signal under white input: the diagonal of
`G_ij = <A_i, A_j>`. Here the whole of it is taken, layer by layer, as a Gaussian field (`fields.py`):

1. A layer's kernel says how its signals vary together; the BatchNorm behind it, what mean and variance each one has.
2. What is unknown, the images first of all, is a field with equally correlated channels and a spectrum that falls as a
   power of the frequency: the one of a few under which the running variances behind the first layer are likeliest.
3. What a layer reads is then **given** the statistics of what it made of it: with z = W^T u, of covariance Z by the
   field and Z* by BatchNorm, u is its regression on z and a rest, so that
   `cov u  +=  B (Z* - Z) B^T`,  `mean u  +=  B (mean* - mean z)`,  `B = cov(u) W Z^-1`.

For a repair the two networks, original and cut, are followed side by side as one of twice the channels; each layer of
the cut one is solved for the original's signal from what it now reads.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from reconv.errors import ConfigError, GraphError
from reconv.graph.channels import ChannelGraph
from reconv.plan import Plan
from reconv.refit import norms
from reconv.refit.network import check_networks
from reconv.refit.report import LayerRepair, RepairReport
from reconv.refit.signals import Seen, follow
from reconv.refit.solve import damped
from reconv.refit.statistics import Moments

RIDGE = 1e-2  # larger than with images: these moments are less sure
_EXACT = 1e-10
_UNKNOWN = "weights and BatchNorm say nothing about what it reads"


def moments_from_weights(graph: ChannelGraph) -> dict[str, Moments]:
    """What every layer reads, by the weights and BatchNorm's statistics alone; takes the place of `gather_moments`.

    Args:
        graph: of the network; the network is not touched.

    Returns:
        Moments by layer, of those layers about whose input something is known.

    Raises:
        GraphError: the network has no BatchNorm of which anything could be learned.
    """
    found: dict[str, Seen] = {}

    def look(seen: Seen) -> Tensor:
        found[seen.chain.layer] = seen
        return seen.matrix

    follower = follow(graph, graph.model, 1, look)
    if not found:
        raise GraphError(
            "weights: no layer reads a signal that BatchNorm's statistics tell of; calibrate on images, or leaves"
        )
    return {name: _moments(seen, follower.energy.get(name)) for name, seen in found.items()}


def repair_from_weights(
    small: nn.Module, *, plan: Plan, reference: nn.Module, ridge: float = RIDGE
) -> tuple[nn.Module, RepairReport]:
    """As `repair`, without any image: by the weights and BatchNorm's statistics alone.

    Args:
        small: from `prune(reference, plan)`. plan: what was cut. reference: the original network.
        ridge: relative to the mean squared input of a layer.

    Returns:
        The repaired copy of `small`, and what became of every layer.

    Raises:
        ConfigError: a ridge that cannot be. GraphError: networks that the plan does not fit.
    """
    if not 0 < ridge < 1e3:
        raise ConfigError(f"repair: ridge={ridge:g}; give a small positive number, such as 1e-2")
    check_networks(small, plan, reference)
    device = next(small.parameters()).device
    with torch.no_grad():
        repaired, report = _repaired(copy.deepcopy(small).cpu(), plan, reference, ridge)
    return repaired.to(device), report


def _repaired(repaired: nn.Module, plan: Plan, reference: nn.Module, ridge: float) -> tuple[nn.Module, RepairReport]:
    repair = _Repair(plan, repaired, ridge)
    follower = follow(plan.graph, reference, 2, repair)
    left = {**follower.left}
    for layer in plan.graph.layers:
        if layer.name not in repair.seen and not plan.keep[layer.inputs].all():
            left.setdefault(layer.name, _UNKNOWN)
    return repaired, RepairReport(tuple(repair.done), left)


class _Repair:
    """Solves each layer of the cut network where the two networks reach it."""

    def __init__(self, plan: Plan, repaired: nn.Module, ridge: float):
        self.plan, self.ridge = plan, ridge
        self.modules: dict[str, Any] = dict(repaired.named_modules())
        self.seen: set[str] = set()
        self.done: list[LayerRepair] = []

    def __call__(self, seen: Seen) -> Tensor:
        """The cut layer's matrix in the original's size, zero where channels are gone."""
        chain, layer = seen.chain, self.plan.graph.layer(seen.chain.layer)
        self.seen.add(layer.name)
        inputs = torch.from_numpy(np.repeat(self.plan.keep[layer.inputs], seen.taps, 1))
        outputs = torch.from_numpy(self.plan.keep[layer.outputs]).reshape(layer.groups, -1)
        inputs = torch.cat([inputs, torch.ones(len(inputs), 1, dtype=torch.bool)], 1)[:, : seen.matrix.shape[1]]
        start = seen.matrix * inputs[:, :, None] * outputs[:, None, :]
        parts = [self._group(seen, g, inputs[g], outputs[g]) for g in range(layer.groups)]
        before, after, energy = (sum(part.errors[i] for part in parts) for i in range(3))
        # A layer that nothing is known behind keeps what it has unless its inputs are cut.
        if before <= _EXACT * energy or (chain.norm is None and bool(inputs.all())):
            return start
        alive = [
            part for part, rows, columns in zip(parts, inputs, outputs, strict=True) if rows.any() and columns.any()
        ]
        if seen.constant:
            alive = [part for part in alive if len(part.matrix) > 1]
        moments = torch.cat([part.mean for part in alive]), torch.cat([part.variance for part in alive])
        module, norm = self.modules[layer.name], self.modules.get(chain.norm or " ")
        norms.write(torch.stack([part.matrix for part in alive]), moments, module, norm, layer.kind)
        self.done.append(LayerRepair(layer.name, before / energy, after / energy, 0))
        whole = torch.zeros_like(start)
        for g, part in enumerate(parts):
            whole[g][inputs[g].nonzero(), outputs[g].nonzero().T] = part.matrix
        return whole

    def _group(self, seen: Seen, g: int, inputs: Tensor, outputs: Tensor) -> _Solved:
        """Least squares for one group: from what the cut network's layer reads to what the original's makes of its."""
        size = seen.matrix.shape[1]
        gram = seen.grams[g]
        reads = size - seen.constant
        ours = torch.cat([torch.arange(reads), torch.arange(2 * reads, 2 * reads + seen.constant)])
        theirs = torch.arange(reads, reads + size)[inputs]
        target = seen.matrix[g][:, outputs]
        start = target[inputs]
        own, cross = gram[theirs][:, theirs], gram[theirs][:, ours] @ target
        ridged, amount = damped(own[None], self.ridge, seen.constant)
        pull = amount[0] * start
        if seen.constant:
            pull[-1] = 0
        matrix = torch.linalg.solve(ridged[0], cross + pull)
        energy = float((target * (gram[ours][:, ours] @ target)).sum())
        errors = [energy + float((m * (own @ m)).sum() - 2 * (m * cross).sum()) for m in (start, matrix)]
        linear = matrix[: len(matrix) - seen.constant]
        mean = gram[2 * reads, theirs][: len(linear)] @ linear
        second = (linear * (own[: len(linear), : len(linear)] @ linear)).sum(0)
        return _Solved(matrix, mean, (second - mean.square()).clamp(min=1e-12), (*errors, energy))


@dataclass(frozen=True, eq=False)
class _Solved:
    """One group's matrix, the moments of its signal without the constant, and errors before, after, and the energy."""

    matrix: Tensor
    mean: Tensor
    variance: Tensor
    errors: tuple[float, ...]


def _moments(seen: Seen, energy: float | None) -> Moments:
    size = seen.matrix.shape[1]
    gram = torch.stack(seen.grams)[:, :size, :size]
    own = float((seen.matrix * (gram @ seen.matrix)).sum())
    return Moments(gram, seen.matrix, max(energy or own, 1e-300), seen.taps, seen.constant)

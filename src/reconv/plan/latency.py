"""Timings of a network's modules at 25 widths each, for budgets of time.

The widths are drawn up as a Latin hypercube on an orthogonal array: 25 pruned networks, no two of which leave a group
of channels equally wide, and in which any two groups that a layer joins take every pair of fifths once. The networks
are interleaved, on random input, and each module's time is the lower quartile of its passes.

Source: Tang, *Orthogonal array-based Latin hypercubes*, Journal of the American Statistical Association 88, 1993.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import numpy as np

from reconv.budget import Limits
from reconv.cost.features import Features
from reconv.cost.latency_table import LatencyTable, fit_table
from reconv.cost.timing import PYTORCH, WHOLE, Timer, random_like
from reconv.errors import check_kind
from reconv.graph.channels import ChannelGraph, Mask
from reconv.plan.plans import plan_keeping
from reconv.plan.queues import queue_of
from reconv.plan.rankings import Ranking
from reconv.surgery import prune

LEVELS = 5  # of widths, a prime number; as many networks as it has pairs


def measure_layers(
    graph: ChannelGraph, *, multiple: int = 1, coupled: bool = True, timer: Timer = PYTORCH
) -> LatencyTable:
    """Time a network's modules at candidate widths. Trained weights are not needed.

    Args:
        graph: of the network, whose example gives the input's shape; the values are random.
        multiple: widths are multiples of this where they can be.
        coupled: time residual streams at less than their whole width too; needed where they are cut.
        timer: of modules; PyTorch's, or that of another runtime.

    Returns:
        The table, which `choose` takes for a budget of latency.

    Raises:
        ConfigError: `graph` is not a traced graph.

    Cost: about a hundred forward passes of the network at half its width, and as many cuts; in a runtime, 26 exports.

    Example:
        >>> import torch, reconv
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 1), torch.nn.Conv2d(8, 8, 1))
        >>> table = reconv.measure_layers(reconv.trace(model, torch.zeros(1, 3, 4, 4)))
        >>> table.microseconds(table.whole) > 0
        True
    """
    check_kind("measure_layers: graph", graph, ChannelGraph)
    keeps = [np.ones(graph.classes, dtype=np.bool_), *candidates(graph, multiple, coupled=coupled)]
    example = random_like(graph.inputs)
    seconds: list[dict[str, list[float]]] = [{} for _ in keeps]
    for _ in range(timer.rounds):
        for keep, times in zip(keeps, seconds, strict=True):
            small = prune(graph.model, plan_keeping(graph, keep)).eval()
            for name, passes in timer.modules(small, example).items():
                times.setdefault(name, []).extend(passes)
    typical = [{name: 1e6 * _lower_quartile(passes) for name, passes in times.items()} for times in seconds]
    apart = any(name != WHOLE for times in seconds for name in times)
    features = Features(graph, [name for name, _ in graph.model.named_modules()] if apart else [WHOLE])
    return fit_table(features, keeps, typical, keeps[0])


def _lower_quartile(passes: Sequence[float]) -> float:
    """Of the times of several passes: what disturbs a pass only makes it longer."""
    return statistics.quantiles(passes, n=4)[0] if len(passes) > 1 else passes[0]


def candidates(graph: ChannelGraph, multiple: int = 1, *, coupled: bool = True) -> list[Mask]:
    """What stays in each of the networks that are timed."""
    generator = np.random.default_rng(0)
    limits = Limits(multiple=multiple)
    queues = [
        queue_of(graph, group, _shuffle(group.size, generator), limits, coupled=coupled, equal_shares=True)
        for group in graph.groups
    ]
    networks = np.arange(LEVELS**2)
    keeps = [np.ones(graph.classes, dtype=np.bool_) for _ in networks]
    for queue, column in zip(queues, _columns(graph), strict=True):
        levels = (networks // LEVELS + column * (networks % LEVELS)) % LEVELS
        for place, network in enumerate(np.lexsort((generator.random(len(networks)), levels)).tolist()):
            gone = place / (len(networks) - 1) * queue.group.size
            for step in queue.steps:
                gone -= len(step)
                if gone < 0:
                    break
                keeps[network][step] = False
    return keeps


def _shuffle(size: int, generator: np.random.Generator) -> Ranking:
    return Ranking(generator.random(size).argsort(kind="stable"), np.zeros(size))


def _columns(graph: ChannelGraph) -> list[int]:
    """A column of the array for each group; groups that a layer joins get different ones while there are enough."""
    group_of = {int(unit): i for i, group in enumerate(graph.groups) for unit in group.units}
    joined: list[set[int]] = [set() for _ in graph.groups]
    for layer in graph.layers:
        outputs, inputs = (
            {group_of[int(c)] for c in np.unique(plane) if int(c) in group_of}
            for plane in (layer.outputs, layer.inputs)
        )
        for a in outputs:
            for b in inputs - {a}:
                joined[a].add(b)
                joined[b].add(a)
    columns: list[int] = []
    for i, others in enumerate(joined):
        uses = [sum(columns[j] == c for j in others if j < i) for c in range(LEVELS)]
        columns.append(int(np.argmin(np.array(uses) * len(graph.groups) + (np.arange(LEVELS) - i) % LEVELS)))
    return columns

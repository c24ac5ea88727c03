"""Time the modules of a network at a few widths each, inside cut copies of the network itself.

The widths are drawn up as an orthogonal array: 25 cut networks in which any two groups of channels that a layer joins
take every pair of five shares once. The networks take turns, on random input, and each module's time is a median.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from reconv.cost.timing import by_pass
from reconv.graph.channels import ChannelGraph, Mask
from reconv.graph.tracing import call_arguments
from reconv.latency.table import Features, LatencyTable, fitted
from reconv.plan import Limits, plan_keeping
from reconv.plan.queues import queue_of
from reconv.plan.rankings import Ranking
from reconv.surgery import prune

Clock = Callable[[], float]  # seconds
SHARES = (1.0, 0.75, 0.5, 0.3, 0.12)  # of a group's channels
ROUNDS = 3
_SECONDS = 0.05  # for the passes of one network in one round, about
_PASSES = 5


def measure_layers(graph: ChannelGraph, *, multiple: int = 1, clock: Clock = time.perf_counter) -> LatencyTable:
    """Time a network's modules at candidate widths.

    Args:
        graph: of the network, whose example gives the input's shape; the values are random.
        multiple: widths are multiples of this where they can be.
        clock: seconds.

    Returns:
        The table, which `choose` takes for a budget of latency.

    Cost: about a hundred forward passes of the network at half its width, and as many cuts.
    """
    keeps = [np.ones(graph.classes, dtype=np.bool_), *candidates(graph, multiple)]
    example = random_like(graph.inputs)
    seen: list[dict[str, list[float]]] = [{} for _ in keeps]
    for _ in range(ROUNDS):
        for keep, times in zip(keeps, seen, strict=True):
            small = prune(graph.model, plan_keeping(graph, keep)).eval()
            for name, values in _timed(small, example, clock).items():
                times.setdefault(name, []).extend(values)
    medians = [{name: 1e6 * statistics.median(values) for name, values in times.items()} for times in seen]
    features = Features(graph, [name for name, _ in graph.model.named_modules()])
    return fitted(features, keeps, medians, keeps[0])


def _shuffled(size: int, generator: np.random.Generator) -> Ranking:
    return Ranking(generator.random(size).argsort(kind="stable"), np.zeros(size))


def candidates(graph: ChannelGraph, multiple: int = 1) -> list[Mask]:
    """What is left in each of the networks that are timed."""
    generator = np.random.default_rng(0)
    limits = Limits(multiple=multiple)
    queues = [
        queue_of(graph, group, _shuffled(group.size, generator), limits, coupled=True, equal_shares=True)
        for group in graph.groups
    ]
    columns = _columns(graph)
    keeps = []
    for k in range(len(SHARES)):
        for m in range(len(SHARES)):
            keep = np.ones(graph.classes, dtype=np.bool_)
            for queue, column in zip(queues, columns, strict=True):
                gone = (1 - SHARES[(k + column * m) % len(SHARES)]) * queue.group.size
                for step in queue.steps:
                    gone -= len(step)
                    if gone < 0:
                        break
                    keep[step] = False
            keeps.append(keep)
    return keeps


def _columns(graph: ChannelGraph) -> list[int]:
    """A column of the array for each group; groups that a layer joins get different ones while there are enough."""
    group_of = {int(unit): i for i, group in enumerate(graph.groups) for unit in group.units}
    joined: list[set[int]] = [set() for _ in graph.groups]
    for layer in graph.layers:
        here = {group_of[int(c)] for c in np.unique(layer.outputs) if int(c) in group_of}
        there = {group_of[int(c)] for c in np.unique(layer.inputs) if int(c) in group_of}
        for a in here:
            for b in there - {a}:
                joined[a].add(b)
                joined[b].add(a)
    columns: list[int] = []
    for i, others in enumerate(joined):
        uses = [sum(columns[j] == c for j in others if j < i) for c in range(len(SHARES))]
        columns.append(int(np.argmin(np.array(uses) * len(graph.groups) + (np.arange(len(SHARES)) - i) % len(SHARES))))
    return columns


def random_like(example: Any) -> Any:
    """Standard normal input of the example's shape; zeros would be too easy for some kernels."""
    generator = torch.Generator().manual_seed(0)

    def drawn(tensor: Tensor) -> Tensor:
        if not tensor.is_floating_point():
            return tensor
        return torch.randn(tensor.shape, generator=generator).to(tensor)

    return pytree.tree_map_only(Tensor, drawn, example)


def synchronized(example: Any, clock: Clock) -> Clock:
    """The clock, read when the accelerator that holds the example has done its work."""
    device = next((t.device for t in pytree.tree_leaves(example) if isinstance(t, Tensor)), torch.device("cpu"))
    if device.type != "cuda":
        return clock

    def read() -> float:
        torch.cuda.synchronize(device)
        return clock()

    return read


def _timed(model: nn.Module, example: Any, clock: Clock) -> dict[str, list[float]]:
    """Seconds that every module takes without the modules inside it, one entry a pass."""
    args, kwargs = call_arguments(example)
    read = synchronized(example, clock)
    with torch.inference_mode():
        model(*args, **kwargs)
        start = time.perf_counter()
        model(*args, **kwargs)
        passes = int(max(2, min(_PASSES, _SECONDS / max(time.perf_counter() - start, 1e-9))))
        with _watched(model, read) as seen:
            for _ in range(passes):
                model(*args, **kwargs)
    return {name: by_pass(calls, passes) for name, calls in seen.items()}


@contextmanager
def _watched(model: nn.Module, clock: Clock) -> Iterator[dict[str, list[float]]]:
    """While it runs, the time of every call of every module is noted, less that of the modules inside."""
    seen: dict[str, list[float]] = {}
    open_calls: list[list[float]] = []  # start, time of the calls inside
    handles = []
    for name, module in model.named_modules():

        def enter(_module: nn.Module, _args: Any) -> None:
            open_calls.append([clock(), 0.0])

        def leave(_module: nn.Module, _args: Any, _output: Any, name: str = name) -> None:
            start, inside = open_calls.pop()
            taken = clock() - start
            seen.setdefault(name, []).append(taken - inside)
            if open_calls:
                open_calls[-1][1] += taken

        handles += [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()

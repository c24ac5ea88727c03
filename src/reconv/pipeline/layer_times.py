"""How long each layer takes, in two networks that take turns on the same images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from reconv.cost import Latency
from reconv.cost.timing import by_pass, now
from reconv.data import DataSet
from reconv.modes import evaluating
from reconv.pipeline.stages import random_images

_WARMUP = 2
BATCH = 16  # images a pass


def layer_latencies(
    models: Sequence[nn.Module], names: Iterable[str], data: DataSet, device: torch.device, runs: int = 15
) -> list[dict[str, Latency]]:
    """Time the layers of several models within their forward passes; the models take turns.

    Args:
        models: on the device; their modes are restored. names: of modules; those that a model has not are left out.
        data: whose images' size it is timed with. runs: timed passes.

    Returns:
        By model, by layer: seconds a pass that the module's own forward took, all its calls together. A clock around
        every layer costs a microsecond or two each, so the sum is more than the network's latency; ratios are what
        this is for.
    """
    wanted, images = list(names), random_images(data, BATCH, device)
    seen: list[dict[str, list[float]]] = [{} for _ in models]
    handles = []
    try:
        for model, times in zip(models, seen, strict=True):
            modules = dict(model.named_modules())
            for name in wanted:
                if name in modules:
                    handles += _clocked(modules[name], name, times, images)
        with evaluating(*models), torch.inference_mode():
            for turn in range(_WARMUP + runs):
                for model, times in zip(models, seen, strict=True):
                    model(images)
                    if turn < _WARMUP:
                        times.clear()
    finally:
        for handle in handles:
            handle.remove()
    return [{name: Latency.of(by_pass(calls, runs), BATCH) for name, calls in times.items()} for times in seen]


def _clocked(module: nn.Module, name: str, times: dict[str, list[float]], images: Tensor) -> list[Any]:
    started: list[float] = []

    def before(*_: object) -> None:
        started.append(now(images))

    def after(*_: object) -> None:
        times.setdefault(name, []).append(now(images) - started.pop())

    return [module.register_forward_pre_hook(before), module.register_forward_hook(after)]


def both(before: Mapping[str, Latency], after: Mapping[str, Latency]) -> list[tuple[str, Latency, Latency]]:
    """The layers that both have."""
    return [(name, before[name], after[name]) for name in before if name in after]

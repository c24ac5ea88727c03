"""How long each layer takes, in two networks that take turns on the same images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack

import torch
from torch import nn

from reconv.cost import Latency
from reconv.cost.timing import clock_modules, per_pass
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
    images = random_images(data, BATCH, device)
    wanted = set(names)
    with ExitStack() as stack, evaluating(*models), torch.inference_mode():
        seconds = [stack.enter_context(clock_modules(model, images, wanted)) for model in models]
        for turn in range(_WARMUP + runs):
            for model, times in zip(models, seconds, strict=True):
                model(images)
                if turn < _WARMUP:
                    times.clear()
    return [{name: Latency.of(per_pass(calls, runs), BATCH) for name, calls in times.items()} for times in seconds]


def both(before: Mapping[str, Latency], after: Mapping[str, Latency]) -> list[tuple[str, Latency, Latency]]:
    """The layers that both have."""
    return [(name, before[name], after[name]) for name in before if name in after]

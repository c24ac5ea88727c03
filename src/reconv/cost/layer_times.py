"""How long each layer takes, in two networks interleaved on the same images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import nn

from reconv.cost import Latency
from reconv.cost.timing import clock_modules, first_tensor, per_pass
from reconv.graph.tracing import call_arguments
from reconv.modes import evaluating

_WARMUP = 2


def layer_latencies(
    models: Sequence[nn.Module], names: Iterable[str], images: Any, runs: int = 15
) -> list[dict[str, Latency]]:
    """Time the layers of several models within their forward passes; the models are interleaved.

    Args:
        models: on the device; their modes are restored. names: of modules; those that a model has not are left out.
        images: one batch, on the models' device, or another example as `measure_latency` takes it. runs: timed passes.

    Returns:
        By model, by layer: seconds per pass that the module's own forward took, all its calls together. A clock around
        every layer costs a microsecond or two each, so the sum is more than the network's latency; ratios are what
        this is for.
    """
    wanted = set(names)
    (args, kwargs), tensor = call_arguments(images), first_tensor(images)
    with ExitStack() as stack, evaluating(*models), torch.inference_mode():
        seconds = [stack.enter_context(clock_modules(model, images, wanted)) for model in models]
        for turn in range(_WARMUP + runs):
            for model, times in zip(models, seconds, strict=True):
                model(*args, **kwargs)
                if turn < _WARMUP:
                    times.clear()
    batch = len(tensor) if tensor.dim() else 1
    return [{name: Latency.of(per_pass(calls, runs), batch) for name, calls in times.items()} for times in seconds]

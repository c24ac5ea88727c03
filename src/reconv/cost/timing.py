"""Forward passes, timed."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from reconv.graph.channels import Mask
from reconv.modes import evaluating


class LatencyModel(Protocol):
    """Predicts how long a forward pass takes when only the channel classes in `keep` stay."""

    def microseconds(self, keep: Mask) -> float: ...


@dataclass(frozen=True)
class Latency:
    """Seconds for one forward pass: median, and the quartiles around it, over `runs` runs."""

    batch: int
    median: float
    low: float
    high: float
    runs: int

    def overlaps(self, other: Latency) -> bool:
        """Whether the quartiles of the two lie on each other, so that a difference may be noise."""
        return self.low <= other.high and other.low <= self.high

    @property
    def spread(self) -> float:
        """How many times the lower quartile the upper one is; far above 1 where other work kept the machine busy."""
        return self.high / self.low if self.low > 0 else 1.0

    @classmethod
    def of(cls, seconds: Sequence[float], batch: int) -> Latency:
        """Of the passes that were timed, each of a whole batch."""
        low, middle, high = statistics.quantiles(seconds, n=4) if len(seconds) > 1 else list(seconds) * 3
        return cls(batch, middle, low, high, len(seconds))


def measure_latency(
    models: Sequence[nn.Module],
    images: Tensor,
    runs: int = 21,
    warmup: int = 3,
    *,
    seconds: float = math.inf,
    least: int = 7,
) -> list[Latency]:
    """Time the forward passes of several models on the same images, taking turns so that noise hits all alike.

    Args:
        models: on the images' device; their modes are restored.
        images: one batch [N, C, H, W].
        runs: timed passes of each model. warmup: passes before them.
        seconds: after which no further pass begins, once there was one of warm-up and `least` were timed.

    Returns:
        One `Latency` a model, in seconds a batch.
    """
    times: list[list[float]] = [[] for _ in models]
    end = time.perf_counter() + seconds
    with evaluating(*models), torch.inference_mode():
        for turn in range(warmup):
            if turn == 0 or time.perf_counter() < end:
                _turn(models, images)
        for turn in range(runs):
            if turn < least or time.perf_counter() < end:
                for seen, taken in zip(times, _turn(models, images), strict=True):
                    seen.append(taken)
    return [Latency.of(seen, len(images)) for seen in times]


def _turn(models: Sequence[nn.Module], images: Tensor) -> list[float]:
    """Seconds of one forward pass of each model, one after the other."""
    taken = []
    for model in models:
        start = now(images)
        model(images)
        taken.append(now(images) - start)
    return taken


def by_pass(calls: Sequence[float], passes: int) -> list[float]:
    """Seconds a pass of what was timed call by call: all calls of one pass count together.

    Args:
        calls: seconds of each call, in order. passes: that they were made in, equally many in each.
    """
    each = max(len(calls) // passes, 1)
    return [sum(calls[i : i + each]) for i in range(0, len(calls), each)]


def now(tensor: Tensor) -> float:
    """Seconds by the clock, once what computes on the tensor's device is done."""
    if tensor.device.type == "cuda":
        torch.cuda.synchronize(tensor.device)
    return time.perf_counter()

"""Forward passes, timed: whole networks interleaved on one input, and the modules inside them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from reconv.cost.latency import Latency as Latency
from reconv.errors import check_kind
from reconv.graph.channels import Mask
from reconv.graph.tracing import call_arguments
from reconv.modes import evaluating

PairTimer: TypeAlias = Callable[[nn.Module, nn.Module, Any], tuple[float, float]]
"""Microseconds of a forward pass of two models on one example."""

ModuleTimer: TypeAlias = Callable[[nn.Module, Any], Mapping[str, Sequence[float]]]
"""Seconds that every module of a model takes without the modules inside it, by name, one entry per pass; those of the
whole model by the name `WHOLE` alone, where modules cannot be told apart."""

WHOLE = ""  # the model itself, among the names of its modules

_PAIR_SECONDS = 2.0  # spent on timing two networks, about
_MODULE_SECONDS = 0.05  # for the passes of one network whose modules are timed, about
_MODULE_PASSES = 5


class LatencyModel(Protocol):
    """Predicts how long a forward pass takes when only the channel classes in `keep` stay."""

    def microseconds(self, keep: Mask) -> float: ...


def measure_latency(
    models: Sequence[nn.Module],
    images: Any,
    runs: int = 21,
    warmup: int = 3,
    *,
    seconds: float = math.inf,
    least: int = 7,
) -> list[Latency]:
    """Time the forward passes of several models on the same input, interleaved so that noise hits all alike.

    Args:
        models: on the input's device; their modes are restored.
        images: one batch [N, C, H, W], or another example: a tuple of positional arguments, a mapping of keywords.
        runs: timed passes of each model. warmup: passes before them.
        seconds: after which no further pass begins, once there was one of warm-up and `least` were timed.

    Returns:
        One `Latency` per model, in seconds per batch.

    Raises:
        WrongKindError: `models` is not a sequence of modules.

    Example:
        >>> import torch, reconv
        >>> small, large = torch.nn.Conv2d(3, 8, 3), torch.nn.Conv2d(3, 64, 3)
        >>> [latency.runs for latency in reconv.measure_latency([small, large], torch.zeros(1, 3, 8, 8), runs=5)]
        [5, 5]
    """
    hint = "a list of models, such as [model, pruned]"
    check_kind("measure_latency: models", models, (list, tuple), hint)
    for model in models:
        check_kind("measure_latency: models", model, nn.Module, hint)
    tensor = first_tensor(images)
    passes = [partial(_time_once, model, images, tensor) for model in models]
    with evaluating(*models), torch.inference_mode():
        times = interleaved(passes, runs=runs, seconds=seconds, least=least, warmup=warmup)
    return [Latency.of(taken, len(tensor) if tensor.dim() else 1) for taken in times]


def time_pair(before: nn.Module, after: nn.Module, example: Any) -> tuple[float, float]:
    """Median microseconds of the forward passes of two models, interleaved on one example: PyTorch's `Timer`."""
    first, second = measure_latency([before, after], example, runs=201, warmup=1, seconds=_PAIR_SECONDS)
    return 1e6 * first.median, 1e6 * second.median


def interleaved(
    passes: Sequence[Callable[[], float]],
    *,
    runs: int,
    seconds: float = math.inf,
    least: int = 7,
    warmup: int = 1,
) -> list[list[float]]:
    """What several networks' passes took, one of each in turn, so that noise hits all alike.

    Args:
        passes: each call is a forward pass of one network and returns its time, in any unit.
        runs: timed passes of each. warmup: passes before them.
        seconds: after which no further pass begins, once there was one of warm-up and `least` were timed.

    Returns:
        For each network, the times of its passes.
    """
    times: list[list[float]] = [[] for _ in passes]
    end = time.perf_counter() + seconds
    for turn in range(warmup):
        if turn == 0 or time.perf_counter() < end:
            for run in passes:
                run()
    for turn in range(runs):
        if turn < least or time.perf_counter() < end:
            for run, taken in zip(passes, times, strict=True):
                taken.append(run())
    return times


def time_modules(
    model: nn.Module, example: Any, clock: Callable[[], float] = time.perf_counter
) -> Mapping[str, Sequence[float]]:
    """Seconds that every module takes without the modules inside it, by PyTorch: its `ModuleTimer`.

    Args:
        model: in evaluation mode. example: its input. clock: seconds.
    """
    args, kwargs = call_arguments(example)
    with torch.inference_mode():
        model(*args, **kwargs)
        start = time.perf_counter()
        model(*args, **kwargs)
        passes = int(max(2, min(_MODULE_PASSES, _MODULE_SECONDS / max(time.perf_counter() - start, 1e-9))))
        with clock_modules(model, example, clock=clock) as seconds:
            for _ in range(passes):
                model(*args, **kwargs)
    return {name: per_pass(calls, passes) for name, calls in seconds.items()}


@dataclass(frozen=True)
class Timer:
    """How forward passes are timed where latency is a budget: by PyTorch, or by the runtime of deployment.

    Args:
        pair: microseconds of a forward pass of two models on one example.
        modules: seconds of every module of a model, one entry per pass.
        name: what times, for plans and reports.
        rounds: how often every candidate of a table is made ready and timed; once where that takes longer than timing.

    Example:
        >>> import torch, reconv
        >>> timer = reconv.runtime_timer("torch", threads=1, batch=4)
        >>> before, after = timer.pair(torch.nn.Conv2d(3, 64, 3), torch.nn.Conv2d(3, 8, 3), torch.zeros(1, 3, 8, 8))
        >>> print(timer)
        torch, 1 thread, batch of 4
    """

    pair: PairTimer
    modules: ModuleTimer = time_modules
    name: str = "PyTorch"
    rounds: int = 3

    def __str__(self) -> str:
        return self.name


PYTORCH = Timer(time_pair)


def as_timer(timer: Timer | PairTimer | None) -> Timer:
    """A timer; a function of two models times these, and PyTorch their modules; None is PyTorch's."""
    if timer is None:
        return PYTORCH
    return timer if isinstance(timer, Timer) else Timer(timer, name=getattr(timer, "__name__", "timer"))


def _time_once(model: nn.Module, example: Any, tensor: Tensor) -> float:
    """Seconds of one forward pass."""
    args, kwargs = call_arguments(example)
    start = now(tensor)
    model(*args, **kwargs)
    return now(tensor) - start


@contextmanager
def clock_modules(
    model: nn.Module, example: Any, names: Container[str] | None = None, clock: Callable[[], float] | None = None
) -> Iterator[dict[str, list[float]]]:
    """Note how long each module takes in each of its calls, less the modules inside that are watched too.

    A clock around every module costs a microsecond or two each: the sum is more than the network's latency, and ratios
    are what this is for.

    Args:
        model: its forward passes within the block are timed. example: its device is waited for.
        names: of the modules to watch; None: all. clock: seconds.

    Returns:
        By name, seconds of every call.
    """
    tensor = first_tensor(example)
    seconds: dict[str, list[float]] = {}
    open_calls: list[list[float]] = []  # start, time of the calls inside

    def enter(*_: Any) -> None:
        open_calls.append([now(tensor, clock), 0.0])

    def leave_of(name: str) -> Callable[..., None]:
        def leave(*_: Any) -> None:
            start, inside = open_calls.pop()
            taken = now(tensor, clock) - start
            seconds.setdefault(name, []).append(taken - inside)
            if open_calls:
                open_calls[-1][1] += taken

        return leave

    handles = []
    try:
        for name, module in model.named_modules():
            if names is None or name in names:
                handles += [module.register_forward_pre_hook(enter), module.register_forward_hook(leave_of(name))]
        yield seconds
    finally:
        for handle in handles:
            handle.remove()


def per_pass(calls: Sequence[float], passes: int) -> list[float]:
    """Seconds per pass of what was timed call by call: all calls of one pass count together.

    Args:
        calls: seconds of each call, in order. passes: that they were made in, equally many in each.
    """
    each = max(len(calls) // passes, 1)
    return [sum(calls[i : i + each]) for i in range(0, len(calls), each)]


def now(tensor: Tensor, clock: Callable[[], float] | None = None) -> float:
    """Seconds by the clock, once what computes on the tensor's device is done."""
    if tensor.device.type == "cuda":
        torch.cuda.synchronize(tensor.device)
    return (clock or time.perf_counter)()


def first_tensor(example: Any) -> Tensor:
    """The first tensor of an example; an empty one where it has none."""
    return next((t for t in pytree.tree_leaves(example) if isinstance(t, Tensor)), torch.zeros(0))


def random_like(example: Any) -> Any:
    """Standard normal input of the example's shape; zeros would be too easy for some kernels."""
    generator = torch.Generator().manual_seed(0)

    def draw(tensor: Tensor) -> Tensor:
        if not tensor.is_floating_point():
            return tensor
        return torch.randn(tensor.shape, generator=generator).to(tensor)

    return pytree.tree_map_only(Tensor, draw, example)

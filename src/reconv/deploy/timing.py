"""Latency in the runtime of deployment: a `Timer` for budgets, and several networks in several runtimes for reports."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

from reconv.cost.timing import WHOLE, Latency, Timer, interleaved
from reconv.deploy.runtime import Pass, Runtime, TimedNetwork, batched
from reconv.errors import ConfigError, ExportError, ReconvError, first_line
from reconv.modes import evaluating
from reconv.optional import optional

PAIR_SECONDS = 3.0  # spent on timing two networks for a budget, about
_RUNS, _LEAST = 2001, 15
_PASSES, _SECONDS = 5, 0.1  # of a whole network, where the runtime does not tell its layers


def runtime_timer(runtime: str, *, threads: int | None = None, batch: int | None = None) -> Timer:
    """Times forward passes in a runtime, for budgets of latency.

    Args:
        runtime: a name of `reconv list runtimes`; `command:PROGRAM` for a program of yours.
        threads: that may compute; None: as many as PyTorch has.
        batch: images per pass; None: as many as the example has.

    Returns:
        What `choose(timer=...)` and `measure_layers(timer=...)` take; times of a pair are lower quartiles of
        interleaved passes.

    Raises:
        UnknownNameError: no such runtime. ConfigError: a package is missing, or a number below 1.

    Example:
        >>> import reconv
        >>> print(reconv.runtime_timer("torch", threads=2))
        torch, 2 threads
    """
    row, argument = runtime_named(runtime)
    for name, number in (("threads", threads), ("batch", batch)):
        if number is not None and number < 1:
            raise ConfigError(f"latency {name}: {number}; give a whole number of at least 1")
    threads = threads or torch.get_num_threads()

    ready: dict[nn.Module, Pass] = {}  # of the unpruned network, which each attempt is compared with

    def network(model: nn.Module, example: Any, is_candidate: bool = False) -> TimedNetwork:
        inputs = batched(example, batch)
        return TimedNetwork(model, inputs, threads, argument, is_candidate=is_candidate)

    def pair(before: nn.Module, after: nn.Module, example: Any) -> tuple[float, float]:
        with evaluating(before, after):
            if before not in ready:
                ready.clear()
                ready[before] = load(row, network(before, example))
            passes = [ready[before], load(row, network(after, example))]
            times = interleaved(passes, runs=_RUNS, seconds=PAIR_SECONDS, least=_least(row))
        a, b = (1000 * statistics.quantiles(taken, n=4)[0] for taken in times)  # what disturbs a pass makes it longer
        return a, b

    def modules(model: nn.Module, example: Any) -> Mapping[str, Sequence[float]]:
        with evaluating(model):
            if row.layers is not None:
                return _said_in_one_line(row, partial(row.layers, network(model, example, True)))  # type: ignore[no-any-return]
            run = load(row, network(model, example, True))
            start, passes = time.perf_counter(), [run()]
            while len(passes) < _PASSES and time.perf_counter() - start < _SECONDS:
                passes.append(run())
        return {WHOLE: [taken / 1000 for taken in passes]}

    return Timer(pair, modules, timing_text(runtime, threads, batch), rounds=1)


def _least(runtime: Runtime) -> int:
    """Passes of each network at least; a program of the user's makes several passes in each call."""
    return 3 if runtime.takes_argument else _LEAST


def timing_text(runtime: str, threads: int, batch: int | None) -> str:
    """What times, in words."""
    return f"{runtime}, {threads} thread{'s' * (threads != 1)}" + ("" if batch is None else f", batch of {batch}")


def runtime_named(name: str) -> tuple[Runtime, str]:
    """A runtime, and what stands after the colon of its name.

    Raises:
        UnknownNameError: there is none of this name. ConfigError: a program where none is taken, or none where one is.
    """
    head, _, argument = name.partition(":")
    row = Runtime.registry[head]
    if row.takes_argument != bool(argument):
        right = f"{row.name}:PROGRAM" if row.takes_argument else row.name
        raise ConfigError(f"runtime: {name!r}; give {right}")
    return row, argument


def check_runtime(name: str) -> None:
    """Refuse a runtime that there is not, or that is not installed, before any work.

    Raises:
        UnknownNameError, ConfigError: as `runtime_named`.
    """
    row, _ = runtime_named(name)
    for package in row.packages:
        optional(package, f"runtime: {row.name}", row.extra)


def load(runtime: Runtime, network: TimedNetwork) -> Pass:
    """Get a network ready in a runtime.

    Raises:
        ConfigError: a package is missing. ExportError: the runtime cannot run it.
    """
    with torch.no_grad():
        return _said_in_one_line(runtime, partial(runtime.load, network))  # type: ignore[no-any-return]


def _said_in_one_line(runtime: Runtime, work: Callable[[], Any]) -> Any:
    try:
        return work()
    except ReconvError:
        raise
    except Exception as error:
        raise ExportError(
            f"runtime: {runtime.name} cannot run this network ({first_line(error)}); give another of "
            "`reconv list runtimes`"
        ) from error


def latencies_in(runtime: str, networks: Sequence[TimedNetwork], *, seconds: float = PAIR_SECONDS) -> list[Latency]:
    """Several networks in one runtime, interleaved.

    Args:
        runtime: its name. networks: with their inputs and threads. seconds: spent on all of them, about.

    Returns:
        One `Latency` per network, in seconds per pass.
    """
    row, argument = runtime_named(runtime)
    with evaluating(*(network.model for network in networks)):
        passes = [load(row, TimedNetwork(n.model, n.example, n.threads, argument, n.file)) for n in networks]
        times = interleaved(passes, runs=_RUNS, seconds=seconds, least=_least(row))
    return [
        Latency.of([taken / 1000 for taken in each], network.batch)
        for each, network in zip(times, networks, strict=True)
    ]

"""Work in parts on all threads, with a result that does not depend on how many there are.

A product whose sum is split over threads rounds differently for each number of them, and what iterates on it ends
elsewhere. So no operation is split: work comes in parts whose number is fixed by the problem, each part is computed by
one thread, and parts are put together in their order. That is also faster where operations are small.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from typing import TypeVar

import torch

from reconv.threads import in_order, one_thread

_Part = TypeVar("_Part")
_Result = TypeVar("_Result")
_workers: ContextVar[tuple[ThreadPoolExecutor, int] | None] = ContextVar("reconv_refit_workers", default=None)


@contextlib.contextmanager
def in_parts(device: torch.device) -> Iterator[None]:
    """Within the block operations are not split on a CPU, and `each` uses as many threads as PyTorch has."""
    threads = torch.get_num_threads()
    if device.type != "cpu" or _workers.get() is not None:
        yield
        return
    with one_thread(), ThreadPoolExecutor(threads, "reconv") as pool:
        token = _workers.set((pool, threads) if threads > 1 else None)
        try:
            yield
        finally:
            _workers.reset(token)


def each(work: Callable[[_Part], _Result], parts: Iterable[_Part]) -> Iterator[_Result]:
    """`work(part)` for every part, in order, a few of them at a time; gradients are recorded as in the caller."""
    found = _workers.get()
    if found is None:
        yield from map(work, parts)
        return
    pool, threads = found
    enabled = torch.is_grad_enabled()

    def task(part: _Part) -> _Result:
        with torch.set_grad_enabled(enabled):
            return work(part)

    yield from in_order(pool, task, parts, 2 * threads)

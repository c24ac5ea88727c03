"""Using a CPU's cores without letting them wait for each other: one thread per operation, a pool that keeps the order.

PyTorch splits every operation over all cores and waits until the last part is done. Where an operation takes a tenth of
a millisecond that gains little on idle cores; on busy ones each operation waits for the thread that has no core, and
the whole takes ten times as long. Two remedies: one thread for what is small, and a batch per thread, instead of a part
of an operation per thread, for what has many batches.

Work in such parts also has a result that does not depend on the number of threads. A product whose sum is split over
threads rounds differently for each number of them, and what iterates on it ends elsewhere; parts whose number is fixed
by the problem, each computed by one thread and put together in their order, do not.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar
from typing import TypeVar

import torch

_SMALL = 1 << 15  # pixels in a batch; 64 digits of 8x8 have 2^12, 128 CIFAR images 2^17

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
_CPU = torch.device("cpu")
_pool: ContextVar[tuple[ThreadPoolExecutor, int] | None] = ContextVar("reconv_pool", default=None)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Operations are not split within the block, nor in threads that start in it; their number is restored after it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def in_order(
    pool: ThreadPoolExecutor, work: Callable[[_Item], _Result], items: Iterable[_Item], ahead: int
) -> Iterator[_Result]:
    """`work(item)` for every item, in order, computed by the pool.

    Args:
        pool: computes.
        work: must not change what several calls share.
        items: are drawn as they are needed.
        ahead: how many are under way at most. Those that have not begun when the caller stops are not computed.
    """
    waiting: deque[Future[_Result]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) == ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def few_threads(pixels: int, device: torch.device) -> contextlib.AbstractContextManager[None]:
    """One thread for the block, if batches on a CPU are small.

    Args:
        pixels: images in a batch times height times width.
        device: where the block computes.
    """
    return one_thread() if device.type == "cpu" and pixels <= _SMALL else contextlib.nullcontext()


def map_in_threads(
    function: Callable[[_Item], _Result], items: Iterable[_Item], device: torch.device
) -> Iterator[_Result]:
    """What a function gives for each item, in order; on a CPU as many at a time as PyTorch has threads.

    Args:
        function: must not change what several calls share.
        items: are drawn only a few ahead.
        device: where the function computes.
    """
    workers = torch.get_num_threads() if device.type == "cpu" else 1
    if workers == 1:
        yield from map(function, items)
        return
    with one_thread(), ThreadPoolExecutor(workers) as pool:
        yield from in_order(pool, function, items, 2 * workers)


@contextlib.contextmanager
def thread_pool(device: torch.device = _CPU) -> Iterator[None]:
    """Within the block operations are not split on a CPU, and `map_parts` uses as many threads as PyTorch has."""
    threads = torch.get_num_threads()
    if device.type != "cpu" or _pool.get() is not None:
        yield
        return
    with one_thread(), ThreadPoolExecutor(threads, "reconv") as pool:
        token = _pool.set((pool, threads) if threads > 1 else None)
        try:
            yield
        finally:
            _pool.reset(token)


def map_parts(work: Callable[[_Item], _Result], parts: Iterable[_Item]) -> Iterator[_Result]:
    """`work(part)` for every part, in order, a few of them at a time; gradients are recorded as in the caller."""
    current = _pool.get()
    if current is None:
        yield from map(work, parts)
        return
    pool, threads = current
    enabled = torch.is_grad_enabled()

    def task(part: _Item) -> _Result:
        with torch.set_grad_enabled(enabled):
            return work(part)

    yield from in_order(pool, task, parts, 2 * threads)

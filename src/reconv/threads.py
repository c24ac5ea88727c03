"""One thread per operation, and a pool that keeps the order."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


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

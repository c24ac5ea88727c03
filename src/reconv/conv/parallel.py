"""Many small jobs on all cores, one core per job.

Batches of small eigenproblems gain nothing from several threads inside an operation and much from several at
once. So the jobs go to as many worker threads as PyTorch has been given, each of which pins itself to one.
`torch.set_num_threads` acts on the calling thread and on the default of threads yet to start; the caller restores
that default as soon as the workers have pinned themselves, before the first job runs.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Job = TypeVar("Job")
Result = TypeVar("Result")


def run_all(work: Callable[[Job], Result], jobs: Sequence[Job], *, threads: bool) -> list[Result]:
    """`[work(job) for job in jobs]` without gradients, on all of PyTorch's threads if `threads`."""
    available = torch.get_num_threads()
    workers = min(available, len(jobs)) if threads else 1
    if workers < 2:
        with torch.no_grad():
            return [work(job) for job in jobs]
    pinned = threading.Barrier(workers + 1)

    def pin() -> None:
        torch.set_num_threads(1)
        torch.get_num_threads()  # the first call fixes the number for this thread: before the default is restored
        pinned.wait()

    def run(job: Job) -> Result:
        with torch.no_grad():
            return work(job)

    with ThreadPoolExecutor(workers, "reconv", initializer=pin) as pool:
        futures = [pool.submit(run, job) for job in jobs]
        pinned.wait()
        torch.set_num_threads(available)
        try:
            return [future.result() for future in futures]
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

"""Where cells are computed: a table. Each executor takes cells and gives records as they are done, in any order."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from multiprocessing.connection import wait as wait_for_sentinels
from typing import Any, TypeAlias

from reconv.errors import ConfigError, ReconvError, unknown_name
from reconv.optional import optional
from reconv.study.cell import Cell
from reconv.study.compute import ComputeOptions, compute

Outcome: TypeAlias = dict[str, Any] | ReconvError
Results: TypeAlias = Generator[tuple[Cell, Outcome], None, None]
Executor: TypeAlias = Callable[[Iterable[Cell], ComputeOptions, int], Results]

_AHEAD = 2  # cells per worker that are handed out in advance
_RETRIES = 3  # after workers died without finishing a cell in between; on Ray, of one cell


def _attempt(cell: Cell, options: ComputeOptions) -> Outcome:
    """An error that a user can cause is a value, so that one cell's failure is not the study's."""
    try:
        return compute(cell, options)
    except ReconvError as error:
        return error


def _in_worker(attempt: Callable[[Cell, ComputeOptions], Outcome], cell: Cell, options: ComputeOptions) -> Outcome:
    """In a process of a pool. An interrupted one ends here: the pool would give it the next cell instead."""
    try:
        return attempt(cell, options)
    except KeyboardInterrupt:  # a training's, which has kept its checkpoint
        os._exit(1)


def _end_with_parent() -> None:
    """In a worker process: leave Ctrl-C to the parent, and end as soon as the parent is gone, for whatever reason."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_exit_after, args=(parent.sentinel,), daemon=True).start()


def _exit_after(sentinel: int) -> None:
    wait_for_sentinels([sentinel])
    os._exit(1)  # the main thread computes, and would not notice


def in_processes(cells: Iterable[Cell], options: ComputeOptions, jobs: int) -> Results:
    """On this machine, `jobs` processes at a time; one: in this process. A cell whose process died is tried again."""
    if jobs == 1:
        for cell in cells:
            yield cell, _attempt(cell, options)
        return
    missing, retries = list(cells), _RETRIES
    while retries >= 0:
        try:
            for cell, outcome in _in_a_pool(tuple(missing), options, jobs):
                missing.remove(cell)
                retries = _RETRIES
                yield cell, outcome
            return
        except BrokenProcessPool:
            retries -= 1
    raise ConfigError(f"--jobs {jobs}: worker processes die again and again (too little memory?); give fewer jobs")


def _in_a_pool(cells: Iterable[Cell], options: ComputeOptions, jobs: int) -> Results:
    pool = ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"), initializer=_end_with_parent)
    waiting: dict[Future[Outcome], Cell] = {}
    queue = iter(cells)
    try:
        while True:
            while len(waiting) < _AHEAD * jobs and (cell := next(queue, None)) is not None:
                waiting[pool.submit(_in_worker, _attempt, cell, options)] = cell
            if not waiting:
                return
            for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                yield waiting.pop(future), future.result()
    finally:
        processes = list((getattr(pool, "_processes", None) or {}).values())  # the pool forgets them at its shutdown
        pool.shutdown(wait=False, cancel_futures=True)
        if waiting:  # interrupted: a long training is not waited for
            for process in processes:
                process.terminate()


def on_ray(cells: Iterable[Cell], options: ComputeOptions, jobs: int) -> Results:
    """As Ray tasks, on the cluster that `RAY_ADDRESS` names or that this process is connected to, else on this machine.

    A task whose worker or node dies is run again elsewhere, and is a failure of its cell where that does not help.
    Weights and data must be at the same paths on every node.
    """
    ray = _ray()
    if not ray.is_initialized():
        ray.init(address=os.environ.get("RAY_ADDRESS"), log_to_driver=False)
    resources = {"num_cpus": 1, "max_retries": _RETRIES, "num_gpus": 1 if "cuda" in options.device else 0}
    task = ray.remote(_attempt).options(**resources)
    elsewhere = replace(options, folder=None)  # no folder is known to be shared
    at_once = max(jobs, int(ray.cluster_resources().get("CPU", 1))) * _AHEAD
    waiting: dict[Any, Cell] = {}
    queue = iter(cells)
    while True:
        while len(waiting) < at_once and (cell := next(queue, None)) is not None:
            waiting[task.remote(cell, elsewhere)] = cell
        if not waiting:
            return
        done, _ = ray.wait(list(waiting), num_returns=1)
        for reference in done:
            yield waiting.pop(reference), _fetched(ray, reference)


def _fetched(ray: Any, reference: Any) -> Outcome:
    try:
        return ray.get(reference)  # type: ignore[no-any-return]
    except ray.exceptions.RayTaskError:  # a fault of ours, with the traceback of the task
        raise
    except ray.exceptions.RayError as error:
        why = str(error).strip().splitlines()[0]
        return ConfigError(f"--executor ray: workers die again and again ({why}); give the nodes more memory")


def _ray() -> Any:
    return optional("ray", "--executor ray", "ray")


EXECUTORS: dict[str, Executor] = {"processes": in_processes, "ray": on_ray}


def executor_named(name: str) -> Executor:
    """The executor of this name.

    Raises:
        UnknownNameError: there is none. ConfigError: its library is not installed.
    """
    if name not in EXECUTORS:
        raise unknown_name("executor", name, EXECUTORS)
    if name == "ray":
        _ray()
    return EXECUTORS[name]

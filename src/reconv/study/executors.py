"""Where cells are computed: a table. Each executor takes cells and gives records as they are done, in any order."""

from __future__ import annotations

import importlib
import multiprocessing
import os
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeAlias

from reconv.errors import ConfigError, ReconvError, unknown_name
from reconv.study.cell import Cell
from reconv.study.compute import ComputeOptions, compute
from reconv.study.stopping import end_with_parent

Record: TypeAlias = dict[str, Any]
Outcome: TypeAlias = Record | ReconvError
Result: TypeAlias = tuple[Cell, Outcome]
Results: TypeAlias = Generator[Result, None, None]
Executor: TypeAlias = Callable[[Iterable[Cell], ComputeOptions, int], Results]

_AHEAD = 2  # cells a worker that are handed out in advance
_RETRIES = 3  # after workers died, without a cell done in between; on Ray, of a cell


def _attempt(cell: Cell, place: ComputeOptions) -> Outcome:
    """What a user can cause comes back as a value, so that one cell's failure is not the study's."""
    try:
        return compute(cell, place)
    except ReconvError as error:
        return error


def _in_worker(attempt: Callable[[Cell, ComputeOptions], Outcome], cell: Cell, place: ComputeOptions) -> Outcome:
    """In a process of a pool. One that is told to stop ends here: the pool would give it the next cell instead."""
    try:
        return attempt(cell, place)
    except KeyboardInterrupt:  # a training's, which has kept its checkpoint
        os._exit(1)


def in_processes(cells: Iterable[Cell], place: ComputeOptions, jobs: int) -> Results:
    """On this machine, `jobs` processes at a time; one: in this process. A cell whose process died is tried again."""
    if jobs == 1:
        for cell in cells:
            yield cell, _attempt(cell, place)
        return
    left, retries = list(cells), _RETRIES
    while retries >= 0:
        try:
            for cell, result in _in_a_pool(tuple(left), place, jobs):
                left.remove(cell)
                retries = _RETRIES
                yield cell, result
            return
        except BrokenProcessPool:
            retries -= 1
    raise ConfigError(f"--jobs {jobs}: worker processes die again and again (too little memory?); give fewer jobs")


def _in_a_pool(cells: Iterable[Cell], place: ComputeOptions, jobs: int) -> Results:
    pool = ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"), initializer=end_with_parent)
    waiting: dict[Future[Outcome], Cell] = {}
    queue = iter(cells)
    try:
        while True:
            while len(waiting) < _AHEAD * jobs and (cell := next(queue, None)) is not None:
                waiting[pool.submit(_in_worker, _attempt, cell, place)] = cell
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


def on_ray(cells: Iterable[Cell], place: ComputeOptions, jobs: int) -> Results:
    """As Ray tasks, on the cluster that `RAY_ADDRESS` names or that this process is connected to, else on this machine.

    A task whose worker or node dies is run again elsewhere, and is a failure of its cell where that does not help.
    Weights and data must be at the same paths on every node.
    """
    ray = _ray()
    if not ray.is_initialized():
        ray.init(address=os.environ.get("RAY_ADDRESS"), log_to_driver=False)
    options = {"num_cpus": 1, "max_retries": _RETRIES, "num_gpus": 1 if "cuda" in place.device else 0}
    task = ray.remote(_attempt).options(**options)
    elsewhere = ComputeOptions(place.device, None)  # no folder is known to be shared
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
    try:
        return importlib.import_module("ray")
    except ImportError:
        raise ConfigError("--executor ray: ray is not installed; pip install 'reconv[ray]', or leave it out") from None


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

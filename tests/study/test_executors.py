"""Where cells are computed: what an interrupt and a worker's death come to."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from made import study_of

from reconv.errors import ConfigError, ReconvError
from reconv.study import Cell, executors
from reconv.study.compute import ComputeOptions
from reconv.training import Interrupted
from reconv.training.interrupt import stop_request

_CELLS = study_of("l1", "l2").cells()


def _sleeps(cell: Cell, options: ComputeOptions) -> dict[str, Any]:
    """The whole network at once; any other keeps its process busy."""
    if not cell.is_unpruned:
        assert options.folder is not None
        (options.folder / str(os.getpid())).touch()
        time.sleep(300)
    return {}


def _listens(cell: Cell, options: ComputeOptions) -> dict[str, Any]:
    """The whole network at once; any other notices that it is told to stop, as a training does."""
    if not cell.is_unpruned:
        assert options.folder is not None
        with stop_request() as stop:
            (options.folder / f"{cell.criterion} {os.getpid()}").touch()
            while not stop.received:
                time.sleep(0.05)
            raise Interrupted("kept")
    return {}


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def _wait_for(is_so: Callable[[], Any], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not is_so() and time.monotonic() < until:
        time.sleep(0.1)


@pytest.mark.slow
def test_a_long_training_is_not_waited_for_at_an_interrupt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executors, "_attempt", _sleeps)
    results = executors.in_processes(_CELLS, ComputeOptions("cpu", tmp_path), 2)
    assert next(results)[0].is_unpruned
    _wait_for(lambda: list(tmp_path.iterdir()))
    (pid, *_) = (int(file.name) for file in tmp_path.iterdir())
    assert _is_running(pid)
    results.close()
    _wait_for(lambda: not _is_running(pid))
    assert not _is_running(pid)


@pytest.mark.slow
def test_a_training_that_is_told_to_stop_is_followed_by_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executors, "_attempt", _listens)
    cells = study_of("l1", "l2", "spectral", "nuclear", "frobenius", "fpgm").cells()
    results = executors.in_processes(cells, ComputeOptions("cpu", tmp_path), 2)
    assert next(results)[0].is_unpruned
    _wait_for(lambda: len(list(tmp_path.iterdir())) == 2)
    begin_study = {file.name for file in tmp_path.iterdir()}
    results.close()
    workers = [int(name.split()[1]) for name in begin_study]
    _wait_for(lambda: not any(map(_is_running, workers)))
    assert not any(map(_is_running, workers))
    assert {file.name for file in tmp_path.iterdir()} == begin_study


def test_workers_may_die_as_long_as_cells_are_done(monkeypatch: pytest.MonkeyPatch) -> None:
    cells = study_of("random", seeds=10).cells()

    def one_and_dies(cells: Any, options: ComputeOptions, jobs: int) -> Any:
        yield cells[0], {}
        if len(cells) > 1:
            raise BrokenProcessPool

    monkeypatch.setattr(executors, "_in_a_pool", one_and_dies)
    assert [cell for cell, _ in executors.in_processes(cells, ComputeOptions(), 2)] == cells


def test_workers_that_only_die_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    started = []

    def dies(cells: Any, options: ComputeOptions, jobs: int) -> Any:
        started.append(jobs)
        raise BrokenProcessPool
        yield

    monkeypatch.setattr(executors, "_in_a_pool", dies)
    with pytest.raises(ConfigError, match="fewer jobs"):
        list(executors.in_processes(_CELLS, ComputeOptions(), 2))
    assert len(started) == 1 + executors._RETRIES


class _RayError(Exception):
    """As Ray's."""


class _RayTaskError(_RayError):
    """As Ray's, of an exception inside a task."""


class _Ray:
    """As much of Ray as an executor uses: tasks are done in the order in which they came."""

    exceptions = SimpleNamespace(RayError=_RayError, RayTaskError=_RayTaskError)

    def __init__(self, error: Exception) -> None:
        self._error = error

    def is_initialized(self) -> bool:
        return True

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 1}

    def remote(self, function: Any) -> Any:
        task = SimpleNamespace(remote=lambda cell, options: cell)
        return SimpleNamespace(options=lambda **_: task)

    def wait(self, waiting: list[Any], num_returns: int) -> tuple[list[Any], list[Any]]:
        return waiting[:num_returns], waiting[num_returns:]

    def get(self, cell: Cell) -> dict[str, Any]:
        if cell.criterion == "l1":
            raise self._error
        return {}


def test_a_cell_whose_workers_die_on_ray_is_its_own_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executors, "_ray", lambda: _Ray(_RayError("The worker died.\nThe whole log.")))
    by_criterion = {cell.criterion: result for cell, result in executors.on_ray(_CELLS, ComputeOptions(), 1)}
    assert isinstance(by_criterion["l1"], ReconvError)
    assert "The worker died." in str(by_criterion["l1"])
    assert "\n" not in str(by_criterion["l1"])
    assert by_criterion["l2"] == by_criterion[""] == {}


def test_a_fault_of_ours_keeps_its_traceback_on_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executors, "_ray", lambda: _Ray(_RayTaskError("KeyError")))
    with pytest.raises(_RayTaskError):
        list(executors.on_ray(_CELLS, ComputeOptions(), 1))

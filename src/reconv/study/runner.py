"""`run_study`: cells that the folder has stay, the missing ones are computed."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from reconv.errors import ConfigError, ReconvError
from reconv.networks import saved_model_in
from reconv.study.cell import Cell
from reconv.study.compute import ComputeOptions
from reconv.study.context import context_for
from reconv.study.design import Study
from reconv.study.epochs import watch_epochs
from reconv.study.executors import executor_named
from reconv.study.measures import describe_networks, measure_latencies
from reconv.study.store import Store
from reconv.training.interrupt import sigterm_is_ctrl_c
from reconv.zoo.code import named_code


class StudyLog:
    """Says nothing; to show what happens, override what is wanted."""

    def begin(self, cached: int, missing: int) -> None:
        """So many cells are there, and so many have to be computed."""

    def done(self, cell: Cell, accuracy: float | None, seconds: float, why: str) -> None:
        """A cell is computed, or cannot be for this reason."""

    def note(self, text: str) -> None:
        """Something the user should read."""


@dataclass(frozen=True)
class StudyResult:
    """What became of a study.

    Args:
        store: its folder. cached, computed: how many cells were there, and are new.
        failed: those that cannot be computed, and why. seconds: it took now.
        is_empty: no cell of a pruned network is there.
    """

    store: Store
    cached: int
    computed: int
    failed: tuple[tuple[Cell, str], ...]
    seconds: float
    is_empty: bool = False


def run_study(
    study: Study,
    folder: Path | str,
    *,
    jobs: int = 1,
    executor: str = "processes",
    device: str = "cpu",
    log: StudyLog | None = None,
    command: str = "",
) -> StudyResult:
    """Compute the cells of a study that its folder does not have; Ctrl-C and SIGTERM interrupt it.

    Args:
        study: what is compared. folder: an earlier study's, of these or other settings, or a new one.
        jobs: processes at a time. executor: a name in `EXECUTORS`. device: where cells are computed.
        log: shows what happens. command: by which the study was started, for the report.

    Returns:
        What became of it. Interrupted and called again, it continues where it was; the outcome of a cell does not
        depend on jobs, executor or order.

    Raises:
        ReconvError: settings, weights or data that cannot be used, before anything is written.
    """
    start = time.perf_counter()
    log = log or StudyLog()
    if jobs < 1:
        raise ConfigError(f"--jobs {jobs}; give the number of processes, at least 1")
    run = executor_named(executor)
    store = Store(Path(folder))
    store.check()
    with sigterm_is_ctrl_c():
        study = begin_study(study, store, device, command)
        for network in study.networks:
            if network.weights is None and saved_model_in(network.model) is None:
                log.note(f"{network.name}: no weights given; the network's are random.")
        for text in study.left_out():
            log.note(text)
        cells = {cell.key: cell for cell in study.cells()}
        cached = store.records().keys() & cells.keys()
        missing = {key: cell for key, cell in cells.items() if key not in cached}
        log.begin(len(cached), len(missing))
        describe_networks(study, store, device)
        failed: dict[str, str] = {}
        trainings = {key: cell for key, cell in missing.items() if cell.arm.training}
        options = ComputeOptions(device, store.trainings, named_code()[::-1])  # the last named last again
        watcher = watch_epochs(trainings, store.trainings, log.note)
        with watcher, closing(run(missing.values(), options, jobs)) as outcomes:
            for cell, outcome in outcomes:
                if isinstance(outcome, ReconvError):
                    failed[cell.key] = str(outcome)
                    store.keep_failure(cell.key, str(outcome))
                    log.done(cell, None, 0.0, str(outcome))
                else:
                    store.keep(outcome)
                    log.done(cell, outcome["outcome"]["accuracy"], outcome["made"]["seconds"], "")
        if study.latency:
            measure_latencies(cells.values(), store, device, log.note)
    return StudyResult(
        store,
        len(cached),
        len(missing) - len(failed),
        tuple((cells[key], why) for key, why in failed.items()),
        time.perf_counter() - start,
        all(cell.is_unpruned or key in failed for key, cell in cells.items()),
    )


def begin_study(study: Study, store: Store, device: str = "cpu", command: str = "") -> Study:
    """The study with the fingerprints of its networks, written as the store's latest request once all of it is checked.

    Raises:
        ReconvError: a network, data set or protocol that cannot be loaded, damaged cells, nothing to compare, or a
            folder of something else.
    """
    study = identify(study, device)
    if all(cell.is_unpruned for cell in study.cells()):
        reasons = "; ".join(study.left_out())
        raise ConfigError(f"study: nothing is left to compute ({reasons}); give other combinations")
    store.records()
    store.begin(study.to_json() | ({"command": command} if command else {}))
    return study


def identify(study: Study, device: str = "cpu") -> Study:
    """The study with the fingerprints of its networks' weights and labels; loads each once.

    Raises:
        ReconvError: a network or data set that cannot be loaded.
    """
    return replace(study, networks=tuple(context_for(network, device).fingerprinted for network in study.networks))

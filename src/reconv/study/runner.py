"""A study's way: what is known stays, what is missing is computed."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

from reconv.errors import ConfigError, ReconvError
from reconv.pipeline.inputs import saved_model_in
from reconv.study.bench import bench_for
from reconv.study.cell import Cell
from reconv.study.compute import Place
from reconv.study.design import Study
from reconv.study.executors import executor_named
from reconv.study.measures import describe_networks, latencies
from reconv.study.store import Store


class Progress:
    """Is told what happens; says nothing itself."""

    def begin(self, known: int, missing: int) -> None:
        """Cells that are known, and that have to be computed."""

    def done(self, cell: Cell, accuracy: float | None, seconds: float, why: str) -> None:
        """A cell is done, or cannot be computed for this reason."""

    def note(self, text: str) -> None:
        """Something else is done."""


@dataclass(frozen=True)
class Finished:
    """What became of a study.

    Args:
        store: where it lies. known, computed: how many cells. failed: those that cannot be, and why.
        seconds: it took now.
    """

    store: Store
    known: int
    computed: int
    failed: tuple[tuple[Cell, str], ...]
    seconds: float


def run_study(
    study: Study,
    folder: Path | str,
    *,
    jobs: int = 1,
    executor: str = "processes",
    device: str = "cpu",
    progress: Progress | None = None,
) -> Finished:
    """Compute the cells of a study that its folder does not have.

    Args:
        study: what is asked. folder: an earlier study's, of these or other settings, or a new one.
        jobs: processes at a time. executor: a name in `EXECUTORS`. device: where cells compute.
        progress: is told.

    Returns:
        What became of it. Interrupted and called again, it goes on where it was; the outcome of a cell does not depend
        on jobs, executor or order.

    Raises:
        ReconvError: settings, weights or data that cannot be used, before any cell is computed.
    """
    start = time.perf_counter()
    progress = progress or Progress()
    if jobs < 1:
        raise ConfigError(f"--jobs {jobs}; give the number of processes, at least 1")
    run = executor_named(executor)
    store = Store(Path(folder))
    store.check()
    known_study = begun(study, store, device)
    for network in known_study.networks:
        if network.weights is None and saved_model_in(network.model) is None:
            progress.note(f"{network.name}: no weights given; the network's are random.")
    cells = known_study.cells()
    records = store.records()
    missing = [cell for cell in cells if cell.key not in records]
    progress.begin(len(cells) - len(missing), len(missing))
    describe_networks(known_study, store, device)
    failed = []
    for cell, result in run(missing, Place(device, store.trainings), jobs):
        if isinstance(result, ReconvError):
            failed.append((cell, str(result)))
            progress.done(cell, None, 0.0, str(result))
        else:
            store.keep(result)
            progress.done(cell, result["outcome"]["accuracy"], result["made"]["seconds"], "")
    if study.latency:
        latencies(known_study, cells, store, device, progress.note)
    computed = len(missing) - len(failed)
    return Finished(store, len(cells) - len(missing), computed, tuple(failed), time.perf_counter() - start)


def begun(study: Study, store: Store, device: str = "cpu") -> Study:
    """The study, identified, as what the store was asked last.

    Raises:
        ReconvError: a network or data set that cannot be loaded, or a folder of something else.
    """
    known = identified(study, device)
    store.begin(known.to_json())
    return known


def identified(study: Study, device: str = "cpu") -> Study:
    """The study with the fingerprints of its networks' weights and labels; loads each once.

    Raises:
        ReconvError: a network or data set that cannot be loaded.
    """
    return replace(study, networks=tuple(bench_for(network, device).identified for network in study.networks))

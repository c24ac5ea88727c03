"""A study's way: what is known stays, what is missing is computed."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from reconv.errors import ConfigError, ReconvError
from reconv.pipeline.inputs import saved_model_in
from reconv.study.cell import Cell
from reconv.study.compute import ComputeOptions
from reconv.study.context import context_for
from reconv.study.design import Study
from reconv.study.epochs import EpochsTold
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
        seconds: it took now. nothing_cut: not one cut network is known.
    """

    store: Store
    known: int
    computed: int
    failed: tuple[tuple[Cell, str], ...]
    seconds: float
    nothing_cut: bool = False


def run_study(
    study: Study,
    folder: Path | str,
    *,
    jobs: int = 1,
    executor: str = "processes",
    device: str = "cpu",
    progress: Progress | None = None,
    command: str = "",
) -> Finished:
    """Compute the cells of a study that its folder does not have.

    Args:
        study: what is asked. folder: an earlier study's, of these or other settings, or a new one.
        jobs: processes at a time. executor: a name in `EXECUTORS`. device: where cells compute.
        progress: is told. command: that asks for it, for the report.

    Returns:
        What became of it. Interrupted and called again, it goes on where it was; the outcome of a cell does not depend
        on jobs, executor or order.

    Raises:
        ReconvError: settings, weights or data that cannot be used, before anything is written.
    """
    start = time.perf_counter()
    progress = progress or Progress()
    if jobs < 1:
        raise ConfigError(f"--jobs {jobs}; give the number of processes, at least 1")
    run = executor_named(executor)
    store = Store(Path(folder))
    store.check()
    known_study = begin_study(study, store, device, command)
    for network in known_study.networks:
        if network.weights is None and saved_model_in(network.model) is None:
            progress.note(f"{network.name}: no weights given; the network's are random.")
    for text in known_study.left_out():
        progress.note(text)
    cells = known_study.cells()
    records = store.records()
    once = {cell.key: cell for cell in cells}
    missing = [cell for key, cell in once.items() if key not in records]
    progress.begin(len(once) - len(missing), len(missing))
    describe_networks(known_study, store, device)
    failed = []
    trained = {cell.key: cell for cell in missing if cell.arm.training}
    told = EpochsTold(trained, store.trainings, progress.note)
    with told, closing(run(missing, ComputeOptions(device, store.trainings), jobs)) as results:
        for cell, result in results:
            if isinstance(result, ReconvError):
                failed.append((cell, str(result)))
                store.keep_failure(cell.key, str(result))
                progress.done(cell, None, 0.0, str(result))
            else:
                store.keep(result)
                progress.done(cell, result["outcome"]["accuracy"], result["made"]["seconds"], "")
    if study.latency:
        latencies(known_study, cells, store, device, progress.note)
    not_there = {cell.key for cell, _ in failed}
    return Finished(
        store,
        len(once) - len(missing),
        len(missing) - len(failed),
        tuple(failed),
        time.perf_counter() - start,
        all(cell.is_unpruned or cell.key in not_there for cell in cells),
    )


def begin_study(study: Study, store: Store, device: str = "cpu", command: str = "") -> Study:
    """The study, identified, as what the store was asked last by this command; written when all of it is known.

    Raises:
        ReconvError: a network, data set or protocol that cannot be loaded, damaged cells, nothing to compare, or a
            folder of something else.
    """
    known = identify(study, device)
    cells = known.cells()
    if all(cell.is_unpruned for cell in cells):
        raise ConfigError(f"study: nothing is left to compute ({'; '.join(known.left_out())}); ask other combinations")
    store.records()
    store.begin(known.to_json() | ({"command": command} if command else {}))
    return known


def identify(study: Study, device: str = "cpu") -> Study:
    """The study with the fingerprints of its networks' weights and labels; loads each once.

    Raises:
        ReconvError: a network or data set that cannot be loaded.
    """
    return replace(study, networks=tuple(context_for(network, device).fingerprinted for network in study.networks))

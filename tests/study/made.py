"""A study whose outcomes are made up, so that what is shown of it can be asked without computing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from reconv.study import Cell, Grid, Network, Store, Study
from reconv.study.record import pack

NETWORK = Network("net", "resnet20", None, {}, "digits", None, "f" * 64, "l" * 64)
WHOLE_WIDTHS, CUT_WIDTHS = [16, 32, 10], [16, 8, 10]
IMAGES = 400


def study_of(*criteria: str, **changes: Any) -> Study:
    """One network, these criteria, one budget, as cut, unless said otherwise."""
    settings: dict[str, Any] = {"budgets": ("macs=0.5",), "arms": ("pruned only",)} | changes
    return Study("t", (NETWORK,), (Grid(("net",), criteria, **settings),))


def accuracy_by_seed(cell: Cell) -> float:
    """What a cell is right on: less with every seed."""
    return 0.9 if cell.is_unpruned else 0.8 - 0.05 * cell.seed


def record(cell: Cell, accuracy: float) -> dict[str, Any]:
    """A cell's record; all are right on the first images."""
    widths = WHOLE_WIDTHS if cell.is_unpruned else CUT_WIDTHS
    outcome = {
        "accuracy": accuracy,
        "images": IMAGES,
        "loss": 1.0,
        "correct": pack(np.arange(IMAGES) < round(accuracy * IMAGES)),
        "macs": [100, 100 if cell.is_unpruned else 50],
        "parameters": [100, 100 if cell.is_unpruned else 50],
        "widths": widths,
        "history": [],
    }
    made = {"seconds": 1.0, "processor_seconds": 1.0, "device": "cpu", "versions": {"torch": "2", "reconv": "0"}}
    names = {"key": cell.key, "name": cell.network.name, "arm": cell.arm.name}
    return {**names, "cell": cell.identity, "outcome": outcome, "made": made}


def stored(study: Study, folder: Path, accuracy: Callable[[Cell], float] = accuracy_by_seed) -> Store:
    """The study with an outcome of every cell."""
    store = Store(folder)
    store.begin(study.to_json())
    for cell in study.cells():
        store.keep(record(cell, accuracy(cell)))
    return store

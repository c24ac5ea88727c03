"""Epochs of the trainings that cells do, reported as they end, in whatever process that is."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from reconv.study.cell import Cell

SECONDS = 5.0  # between two looks at the files


@contextmanager
def watch_epochs(
    cells: Mapping[str, Cell], folder: Path, report: Callable[[str], None]
) -> Iterator[Callable[[], None]]:
    """While the block runs, report of each training the latest epoch that is new; those of earlier tries are not.

    Args:
        cells: by their keys, which are the names of their trainings' folders. folder: that holds these.
        report: is given a line.

    Yields:
        A function that looks at once.
    """
    reported = {key: _latest(folder / key)[0] for key in cells}

    def look() -> None:
        for key, cell in cells.items():
            epoch, loss = _latest(folder / key)
            if epoch > reported[key]:
                reported[key] = epoch
                epochs = cell.identity["arm"]["protocol"]["epochs"]
                report(f"           {cell}: epoch {epoch} of {epochs}, training loss {loss:.3g}")

    def watch() -> None:
        while not end.wait(SECONDS):
            look()

    end, thread = threading.Event(), threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield look
    finally:
        end.set()
        thread.join()


def _latest(training: Path) -> tuple[int, float]:
    """Epoch and loss of the last whole line of a training; 0 where there is none."""
    try:
        lines = (training / "metrics.jsonl").read_text(encoding="utf-8").rpartition("\n")[0]
        row = json.loads(lines.rpartition("\n")[2])
    except (OSError, ValueError):  # no training, not yet an epoch, or just removed
        return 0, 0.0
    return row["epoch"], row["loss"]

"""Epochs of the trainings that cells do, reported as they end, in whatever process that is."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType

from reconv.study.cell import Cell

SECONDS = 5.0  # between two looks at the files


class EpochWatcher:
    """While the block runs, reads what trainings have written, and reports of each the latest epoch that is new.

    Args:
        cells: by their keys, which are the names of their trainings' folders. folder: that holds these.
        report: is given a line.
    """

    def __init__(self, cells: Mapping[str, Cell], folder: Path, report: Callable[[str], None]) -> None:
        self._cells, self._folder, self._report = cells, folder, report
        self._reported: dict[str, int] = {}
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> EpochWatcher:
        """Begin; epochs of earlier tries are not reported."""
        self._reported = {key: epoch for key in self._cells if (epoch := self._latest(key)[0])}
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End."""
        self._end.set()
        self._thread.join()

    def look(self) -> None:
        """Report what is new."""
        for key, cell in self._cells.items():
            epoch, loss = self._latest(key)
            if epoch > self._reported.get(key, 0):
                self._reported[key] = epoch
                epochs = cell.identity["arm"]["protocol"]["epochs"]
                self._report(f"           {cell}: epoch {epoch} of {epochs}, training loss {loss:.3g}")

    def _watch(self) -> None:
        while not self._end.wait(SECONDS):
            self.look()

    def _latest(self, key: str) -> tuple[int, float]:
        """Epoch and loss of the last whole line of a training; 0 where there is none."""
        try:
            lines = (self._folder / key / "metrics.jsonl").read_text(encoding="utf-8").rpartition("\n")[0]
            row = json.loads(lines.rpartition("\n")[2])
        except (OSError, ValueError):  # no training, not yet an epoch, or just taken away
            return 0, 0.0
        return row["epoch"], row["loss"]

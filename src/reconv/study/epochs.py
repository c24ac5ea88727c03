"""Trainings take long: their epochs are told while cells are computed, in whatever process that is."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from reconv.study.cell import Cell

SECONDS = 5.0  # between two looks


class EpochsTold:
    """While the block runs, looks at what trainings have written, and tells of each the latest epoch that is new.

    Args:
        cells: by their keys, after which trainings' folders are called. folder: that holds these.
        tell: is given a line.
    """

    def __init__(self, cells: Mapping[str, Cell], folder: Path, tell: Callable[[str], None]) -> None:
        self._cells, self._folder, self._tell = cells, folder, tell
        self._told: dict[str, int] = {}
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> EpochsTold:
        """Begin; what earlier tries have written is not told."""
        for key, row in self._latest():
            self._told[key] = row["epoch"]
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Look no more."""
        self._end.set()
        self._thread.join()

    def look(self) -> None:
        """Tell what is new."""
        for key, row in self._latest():
            if row["epoch"] > self._told.get(key, 0):
                self._told[key] = row["epoch"]
                cell = self._cells[key]
                epochs = cell.identity["arm"]["protocol"]["epochs"]
                self._tell(f"           {cell}: epoch {row['epoch']} of {epochs}, training loss {row['loss']:.3g}")

    def _watch(self) -> None:
        while not self._end.wait(SECONDS):
            self.look()

    def _latest(self) -> list[tuple[str, dict[str, Any]]]:
        """The last whole line of each training of these cells."""
        found = []
        for key in self._cells:
            try:
                lines = (self._folder / key / "metrics.jsonl").read_text(encoding="utf-8").rpartition("\n")[0]
                found.append((key, json.loads(lines.rpartition("\n")[2])))
            except (OSError, ValueError):  # no training, not yet an epoch, or just taken away
                continue
        return found

"""Who is told what a run is doing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from reconv.report import Row


class Watcher:
    """Is told what happens; says nothing itself. Override what is wanted.

    `progress` says whether trainings show their own bars.
    """

    progress = False

    def begin(self, stage: str, shows_itself: bool) -> None:
        """A stage begins; one that shows itself has a bar of its own, where `progress` allows."""

    def end(self, row: Row | None) -> None:
        """A stage has ended, with what came out; None: by an error or an interruption."""

    def note(self, text: str) -> None:
        """Something the user should read."""


class Diary:
    """The stages of a run as they happen: told to a watcher, and kept for the report."""

    def __init__(self, watcher: Watcher) -> None:
        self.watcher = watcher
        self.rows: list[Row] = []
        self.notes: list[str] = []
        self._part = ""

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Within the block stages are told as those of this part of the run."""
        self._part = f"{name}: "
        try:
            yield
        finally:
            self._part = ""

    @contextmanager
    def stage(self, title: str, *, shows_itself: bool = False) -> Iterator[Stage]:
        """Time a stage; what it finds out is put on the object that it is given."""
        title = self._part + title
        self.watcher.begin(title, shows_itself)
        stage, start = Stage(), time.perf_counter()
        try:
            yield stage
        except BaseException:
            self.watcher.end(None)
            raise
        row = Row(title, time.perf_counter() - start, stage.accuracy, stage.note)
        self.rows.append(row)
        self.watcher.end(row)

    def note(self, text: str) -> None:
        """Tell and keep."""
        self.notes.append(text)
        self.watcher.note(text)


class Stage:
    """What a stage found out."""

    accuracy: float | None = None
    note: str = ""

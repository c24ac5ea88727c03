"""What happens during a compression or a training: stages with their times and results, and notes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from reconv.report.facts import Row


class Stage:
    """What a stage gives, put on it by the code within: the accuracy on the validation images, and a few words."""

    accuracy: float | None = None
    note: str = ""


class RunLog:
    """Keeps stages and notes, and says nothing; to show them, override `begin`, `end` and `show`.

    Attributes:
        progress: whether trainings show a bar of their own.
        measures: whether networks are measured on the validation images after each stage.
        rows, notes: what has happened so far.

    Example:
        >>> log = RunLog()
        >>> with log.stage("score") as stage:
        ...     stage.note = "508 channels"
        >>> log.rows[0].stage, log.rows[0].note
        ('score', '508 channels')
    """

    progress = False
    measures = True

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.notes: list[str] = []
        self._part = ""

    def begin(self, stage: str, has_own_bar: bool) -> None:
        """A stage begins; one with a bar of its own shows it where `progress` allows."""

    def end(self, row: Row | None) -> None:
        """A stage has ended, with its result; None: by an error or an interruption."""

    def show(self, note: str) -> None:
        """Something the user should read."""

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Within the block stages are named as those of this part; "" changes nothing."""
        self._part = f"{name}: " if name else ""
        try:
            yield
        finally:
            self._part = ""

    @contextmanager
    def stage(self, title: str, *, has_own_bar: bool = False) -> Iterator[Stage]:
        """Time a stage; its results are put on the object that it gives."""
        title = self._part + title
        self.begin(title, has_own_bar)
        stage, start = Stage(), time.perf_counter()
        try:
            yield stage
        except BaseException:
            self.end(None)
            raise
        row = Row(title, time.perf_counter() - start, stage.accuracy, stage.note)
        self.rows.append(row)
        self.end(row)

    def note(self, text: str) -> None:
        """Keep and show a note."""
        self.notes.append(text)
        self.show(text)

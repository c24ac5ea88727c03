"""What the user sees while a command works, and when it is done: progress on stderr, results on stdout."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.status import Status
from rich.table import Table

from reconv.cli.stopped import Stopped
from reconv.report import Measures, Row, numbers
from reconv.runlog import RunLog

_PIPE_WIDTH = 160


def stdout() -> Console:
    """For results; wide where it is no screen. Made anew each time, since tests and pipes replace the stream."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_PIPE_WIDTH)


def stderr() -> Console:
    """For progress."""
    return Console(stderr=True, highlight=False)


class Progress(RunLog):
    """A line per stage, with a spinner while it lasts where there is a terminal."""

    progress = True

    def __init__(self) -> None:
        super().__init__()
        self._console = stderr()
        self._status: Status | None = None

    def begin(self, stage: str, has_own_bar: bool) -> None:
        if not has_own_bar:
            self._status = self._console.status(stage)
            self._status.start()

    def end(self, row: Row | None) -> None:
        if self._status:
            self._status.stop()
            self._status = None
        if row is None:
            return
        accuracy = "" if row.accuracy is None else f"validation {numbers.percent(row.accuracy)}"
        details = escape(", ".join(filter(None, (accuracy, row.note))))
        line = f"[green]\u2713[/green] {escape(row.stage):<22} {numbers.duration(row.seconds):>11}  {details}"
        self._print(line)

    def show(self, note: str) -> None:
        self._print(f"[yellow]note:[/yellow] {escape(note)}")

    def _print(self, line: str) -> None:
        """Break a line at spaces where it is read on a terminal, and nowhere in a file."""
        self._console.print(line, soft_wrap=not self._console.is_terminal)


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], left: int = 1) -> Table:
    """A table whose first `left` columns are text and whose others are numbers."""
    made = Table(title=escape(title) or None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for i, column in enumerate(columns):
        made.add_column(escape(column), justify="left" if i < left else "right", overflow="fold")
    for row in rows:
        made.add_row(*(escape(str(cell)) for cell in row))
    return made


def before_and_after(before: Measures, after: Measures) -> Table:
    """The closing table of a run."""
    count, size, time = numbers.count, numbers.size, numbers.duration
    rows = [
        ("top-1 accuracy, test", numbers.percent(before.accuracy), numbers.percent(after.accuracy), ""),
        ("MACs", count(before.macs), count(after.macs), numbers.ratio(before.macs, after.macs)),
        (
            "parameters",
            count(before.parameters),
            count(after.parameters),
            numbers.ratio(before.parameters, after.parameters),
        ),
        (
            "file size",
            size(before.file_bytes),
            size(after.file_bytes),
            numbers.ratio(before.file_bytes, after.file_bytes),
        ),
        *(
            (f"latency, batch {old.batch}", time(old.median), time(new.median), numbers.ratio(old.median, new.median))
            for old, new in zip(before.latency, after.latency)
        ),
    ]
    return table("", ("", "before", "after", "ratio"), rows)


@contextmanager
def resumable(folder: Path, flag: str = "--resume") -> Iterator[None]:
    """Ctrl-C inside says how to go on: in this folder, with this flag, if it takes one."""
    try:
        yield
    except KeyboardInterrupt as stop:
        raise Stopped(folder, flag) from stop

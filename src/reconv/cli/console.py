"""What the user sees while a command works, and when it is done: progress on stderr, results on stdout."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.status import Status
from rich.table import Table

from reconv.cli.stopped import Stopped
from reconv.report import Row, RunFacts, numbers
from reconv.runlog import RunLog

if TYPE_CHECKING:
    from reconv.cost import Latency

_PIPE_WIDTH = 160


class _AtSpaces(Console):
    """Breaks lines at spaces on a terminal, whatever the caller says of wrapping, and nowhere in a file."""

    def print(self, *objects: Any, **options: Any) -> None:
        """As of the base class."""
        if self.is_terminal:
            options["soft_wrap"] = False
        super().print(*objects, **options)


def stdout() -> Console:
    """For results; wide where it is no screen. Made anew each time, since tests and pipes replace the stream."""
    console = _AtSpaces(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_PIPE_WIDTH)


def stderr() -> Console:
    """For progress."""
    return _AtSpaces(stderr=True, highlight=False)


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
        """A line of progress."""
        self._console.print(line, soft_wrap=True)


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], left: int = 1) -> Table:
    """A table whose first `left` columns are text and whose others are numbers."""
    made = Table(title=escape(title) or None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for i, column in enumerate(columns):
        made.add_column(escape(column), justify="left" if i < left else "right", overflow="fold")
    for row in rows:
        made.add_row(*(escape(str(cell)) for cell in row))
    return made


def summary(facts: RunFacts, folder: Path, next_command: str) -> None:
    """The end of a run and of a pruning: the table, where everything lies, and what may be done next."""
    out = stdout()
    out.print(before_and_after(facts))
    if facts.tested is not None and facts.tested.is_noise:
        out.print("accuracy within noise: the 95 % interval of the difference holds zero", markup=False, soft_wrap=True)
    if any(old.overlaps(new) for old, new in zip(facts.before.latency, facts.after.latency)):
        out.print("latency within noise: the ranges between the quartiles overlap", markup=False, soft_wrap=True)
    for row in facts.runtimes:
        of_budget = ", which the budget refers to" if row.is_budget else ""
        out.print(f"in {row.text}{of_budget}", markup=False, soft_wrap=True)
    for file in facts.exported:
        out.print(f"file    {file.path} ({file.precision})", markup=False, soft_wrap=True)
    for name, path in (("report", folder / "report.html"), ("model", folder / "model")):
        out.print(f"{name:<7} {path}", markup=False, soft_wrap=True)
    out.print(f"next    {next_command}", markup=False, soft_wrap=True)


def _quality(facts: RunFacts) -> tuple[str, str, str, str]:
    """The row of accuracy, or of what stands in its place."""
    images = "" if facts.tested is None else f", {facts.tested.split}"
    before, after = facts.before, facts.after
    if before.metric is not None:
        return f"{facts.quality}{images}", f"{before.metric:.4g}", f"{after.metric:.4g}", ""
    is_noise = facts.tested is not None and facts.tested.is_noise
    change = "within noise" if is_noise else numbers.points(before.accuracy, after.accuracy)
    return f"{facts.quality}{images}", numbers.percent(before.accuracy), numbers.percent(after.accuracy), change


def _speed(old: Latency, new: Latency) -> str:
    return "within noise" if old.overlaps(new) else numbers.ratio(old.median, new.median)


def before_and_after(facts: RunFacts) -> Table:
    """The closing table of a run."""
    before, after = facts.before, facts.after
    count, size, time = numbers.count, numbers.size, numbers.duration
    rows = [
        _quality(facts),
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
            (f"latency, batch {old.batch}", time(old.median), time(new.median), _speed(old, new))
            for old, new in zip(before.latency, after.latency)
        ),
    ]
    return table("", ("", "before", "after", "change"), rows)


@contextmanager
def resumable(folder: Path, flag: str = "--resume") -> Iterator[None]:
    """Ctrl-C inside says how to go on: in this folder, with this flag, if it takes one."""
    try:
        yield
    except KeyboardInterrupt as stop:
        raise Stopped(folder, flag) from stop

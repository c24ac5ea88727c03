"""What `reconv study` prints and writes."""

from __future__ import annotations

import time
from pathlib import Path

from rich.markup import escape

from reconv.cli import console
from reconv.files import write_atomically, write_json
from reconv.report import StudyFacts, numbers, render_study
from reconv.report.study_facts import Entry
from reconv.study import Cell, Store, StudyLog, StudyResult, study_facts
from reconv.study.frames import study_tables
from reconv.study.kept_facts import keep_facts
from reconv.study.tables import as_csv, summary_json, tidy


class Lines(StudyLog):
    """A line per cell, on standard error, with how many are left."""

    def __init__(self) -> None:
        self._console = console.stderr()
        self._missing = self._computed = 0
        self._start = time.perf_counter()

    def begin(self, cached: int, missing: int) -> None:
        self._missing, self._start = missing, time.perf_counter()
        self._console.print(f"{cached:,} cells cached, {missing:,} to compute", soft_wrap=True)

    def done(self, cell: Cell, accuracy: float | None, seconds: float, why: str) -> None:
        self._missing -= 1
        self._computed += 1
        what = f"[green]\u2713[/green] {numbers.percent(accuracy):>9}" if not why else "[yellow]-[/yellow]"
        pace = (time.perf_counter() - self._start) / self._computed
        remaining = (
            f"{self._missing:,} left, about {numbers.duration(self._missing * pace)}" if self._missing else "last one"
        )
        detail = escape(f"{cell}: {why}" if why else f"{cell}  {numbers.duration(seconds)}  ({remaining})")
        self._console.print(f"{what}  {detail}", soft_wrap=True)

    def note(self, text: str) -> None:
        self._console.print(escape(text), soft_wrap=True)


def print_outcome(done: StudyResult) -> None:
    """How many cells were cached, computed, and could not be."""
    out = console.stdout()
    parts = [f"{done.cached:,} cells cached", f"{done.computed:,} computed in {numbers.duration(done.seconds)}"]
    parts += [f"{len(done.failed):,} that cannot be computed"] if done.failed else []
    out.print(", ".join(parts), markup=False)
    for cell, why in done.failed[:10]:
        out.print(f"  {cell}: {why}", markup=False, soft_wrap=True)


def write(store: Store, *, pack: Path | None) -> None:
    """Tables, summary and report into the study's folder, and into the folder of a pack; prints what they say."""
    facts, summary, records = study_facts(store)
    rows = tidy(records)
    tables = study_tables(facts.title, records, summary)
    page = render_study(facts)
    elsewhere = None if pack is None or pack.resolve() == store.path.resolve() else pack
    for folder in filter(None, (store.path, elsewhere)):
        if folder is elsewhere:
            store.copy_to(folder)
        write_atomically(folder / "results.csv", as_csv(rows))
        write_json(folder / "results.json", rows)
        write_json(folder / "summary.json", summary_json(summary))
        write_atomically(folder / "summary.csv", tables.to_csv())
        write_atomically(folder / "summary.tex", tables.to_latex())
        write_atomically(folder / "report.html", page)
        keep_facts(facts, folder)
    _print(facts)  # the methods, of thirty lines, are in the report alone
    size = numbers.size(len(page.encode()))
    console.stdout().print(f"report  {store.path / 'report.html'}  ({size})", markup=False, soft_wrap=True)


def _print(facts: StudyFacts) -> None:
    out = console.stdout()
    for section in facts.sections:
        for table in section.tables:
            title = f"{section.title}, {table.title}"
            out.print(
                console.table(title, ("", *table.columns), [(name, *map(_entry, row)) for name, row in table.rows])
            )
    out.print("* in a table: the difference is beyond noise", markup=False)
    for text in facts.findings:
        out.print(f"- {text}", markup=False, soft_wrap=True)
    for text in facts.missing:
        out.print(f"missing: {text}", markup=False, soft_wrap=True)


def _entry(entry: Entry) -> str:
    mark = "*" if entry.kind in ("better", "worse") else ""
    return " ".join(filter(None, (entry.text, entry.below + mark)))

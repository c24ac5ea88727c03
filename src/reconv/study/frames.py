"""A study's results as tables: for pandas, CSV, LaTeX and notebooks, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reconv.html_table import Bar, Cell, html_table
from reconv.optional import optional
from reconv.significance import Interval
from reconv.study.store import Store
from reconv.study.tables import Summary, as_csv, current, summarize, tidy

Row = dict[str, Any]


@dataclass(frozen=True, repr=False)
class StudyTables:
    """The cells of a study, and what they come to.

    Args:
        title: the study's.
        cells: one row per cell and seed.
        lines: one row per criterion and setting, over seeds: accuracy in percent and the difference to the reference in
            points, each with the ends of its 95 % interval; shares of MACs and parameters left.
    """

    title: str
    cells: tuple[Row, ...]
    lines: tuple[Row, ...]

    def to_pandas(self, table: str = "lines") -> Any:
        """As a pandas DataFrame.

        Args:
            table: "lines" (over seeds, with intervals) or "cells" (one row per cell and seed).

        Raises:
            ConfigError: pandas is not installed.
        """
        return optional("pandas", "to_pandas", "plot").DataFrame(list(getattr(self, table)))

    def to_csv(self) -> str:
        """The lines as CSV."""
        return as_csv(self.lines)

    def to_latex(self) -> str:
        """The lines as a LaTeX table (booktabs): accuracy and difference with their intervals."""
        settings = ("network", "arm", "scheme", "budget", "criterion")
        columns = (*settings, "accuracy, %", "difference, points")
        rows = [
            [*(_escape(str(row[name])) for name in settings), _ends(row, "accuracy"), _ends(row, "difference")]
            for row in self.lines
        ]
        body = [" & ".join(cells) + r" \\" for cells in rows]
        head = " & ".join(map(_escape, columns)) + r" \\"
        lines = [r"\begin{tabular}{lllllrr}", r"\toprule", head, r"\midrule", *body, r"\bottomrule", r"\end{tabular}"]
        return "\n".join(lines) + "\n"

    def __repr__(self) -> str:
        return f"StudyTables({self.title!r}, {len(self.cells)} cells, {len(self.lines)} lines)"

    def _repr_html_(self) -> str:
        header = ("network", "arm", "scheme", "budget", "criterion", "accuracy, %", "difference, points")
        rows: list[Sequence[Cell]] = [
            (
                *(str(row[name]) for name in header[:5]),
                Bar(row["accuracy"] / 100, _text(row, "accuracy")),
                _text(row, "difference"),
            )
            for row in self.lines
        ]
        return html_table(self.title, header, rows)


def load_study(folder: Path | str) -> StudyTables:
    """The results of a study's folder, as far as it was computed.

    Raises:
        ArtifactError: the folder holds no study, or one that cannot be read.
    """
    store = Store(Path(folder))
    study = store.requested
    records = current(store.records(), study.cells())
    return study_tables(study.title, records, summarize(records, study.reference))


def study_tables(title: str, records: Sequence[Any], summary: Summary) -> StudyTables:
    """The tables of these records."""
    return StudyTables(title, tuple(tidy(records)), tuple(_lines(summary)))


def _lines(summary: Summary) -> list[Row]:
    return [
        {
            "network": line.setting.network,
            "arm": line.setting.arm,
            "scheme": line.setting.scheme,
            "budget": line.setting.budget,
            **line.setting.options,
            "criterion": line.criterion,
            "seeds": len(line.seeds),
            **_columns("accuracy", line.accuracy),
            **_columns("difference", line.difference),
            "macs_left": line.macs,
            "parameters_left": line.parameters,
        }
        for line in summary.lines
    ]


def _columns(name: str, interval: Interval | None) -> Row:
    ends = (None, None, None) if interval is None else (interval.value, interval.low, interval.high)
    names = (name, f"{name}_low", f"{name}_high")
    return {key: None if end is None else 100 * end for key, end in zip(names, ends, strict=True)}


def _text(row: Row, name: str) -> str:
    value, low, high = row[name], row[f"{name}_low"], row[f"{name}_high"]
    return "" if value is None else f"{value:.2f} [{low:.2f}, {high:.2f}]"


def _ends(row: Row, name: str) -> str:
    return "" if row[name] is None else f"${row[name]:.2f}$ $[{row[f'{name}_low']:.2f}, {row[f'{name}_high']:.2f}]$"


def _escape(text: str) -> str:
    for character in "&%$#_{}":
        text = text.replace(character, "\\" + character)
    return text

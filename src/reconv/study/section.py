"""One network of a study's report: its pictures, and its tables of accuracies and of differences."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from reconv.report import numbers
from reconv.report.numbers import in_points
from reconv.report.study_facts import Entry, Matrix, Section, Table
from reconv.significance import Interval
from reconv.study.cell import Network
from reconv.study.design import Study
from reconv.study.labels import (
    arm_rank,
    bounds,
    budget_rank,
    budget_text,
    by_panel,
    panel_title,
    rank,
    setting_title,
    verdict,
)
from reconv.study.measures import criteria_of
from reconv.study.pictures import accuracy_plot, difference_plots, kept_widths, speed_plots
from reconv.study.store import LATENCY, NETWORKS, Store
from reconv.study.tables import Control, Line, Setting, Summary


def section_of(network: Network, study: Study, store: Store, summary: Summary) -> Section:
    """What a study's report shows of one network."""
    base = summary.base[network.name]["outcome"]
    lines = [line for line in summary.lines if line.setting.network == network.name]
    controls = [row for row in summary.controls if row.setting.network == network.name]
    panels, described = by_panel(lines), store.read(NETWORKS).get(network.fingerprint, {})
    plot = accuracy_plot(lines, base, study.split, study.reference) if lines else None
    speed = speed_plots(lines, base, store.read(LATENCY), network, study.split, study.reference) if lines else ()
    tables = (_accuracies(panel, rows, study) for panel, rows in panels.items())
    return Section(
        title=network.name,
        lead=f"{network.model} on {network.data_set}: "
        f"{numbers.percent(base['accuracy'])} of {base['images']:,} {study.split} images unpruned, "
        f"{numbers.count(base['macs'][0])} MACs per image, {numbers.count(base['parameters'][0])} parameters.",
        costs=(*(() if plot is None else (plot,)), *speed),
        differences=difference_plots(lines, study.split, study.reference),
        tables=(*_controlled(controls, study), *tables),
        agreement=_agreement(described, criteria_of(study, network)),
        widths=kept_widths(lines, base, described),
    )


def _agreement(described: Mapping[str, Any], criteria: Collection[str]) -> Matrix | None:
    names = described.get("criteria", ())
    order = sorted((i for i, name in enumerate(names) if name in criteria), key=lambda i: rank(names[i]))
    if len(order) < 2:
        return None
    return Matrix(
        "How alike the criteria rank channels",
        "Kendall's tau of two criteria's scores, mean over the layers that may be pruned: 1 is the same order, 0 none. "
        "Of criteria that need weights alone.",
        tuple(names[i] for i in order),
        tuple(tuple(described["tau"][i][j] for j in order) for i in order),
    )


def _controlled(controls: Sequence[Control], study: Study) -> Iterator[Table]:
    """What training from random weights comes to, a table per setting and control."""
    tables: dict[tuple[Setting, str], list[Control]] = defaultdict(list)
    for row in controls:
        tables[replace(row.setting, arm=""), row.arm].append(row)
    for (setting, control), rows in tables.items():
        values = [row.accuracy.value for row in rows]
        ends = dict.fromkeys(f"{100 * end:.2f} %" for end in (min(values), max(values)))
        yield table(
            f"{setting_title(setting)}: difference to {control}",
            f"Percentage points of {study.split} accuracy, with 95 % intervals, against the control: a network of the "
            f"same budget and scheme trained from random weights ({' to '.join(ends)}).",
            {(row.criterion, row.setting.arm): difference_entry(row.difference) for row in rows},
            columns=(arm_rank, str),
        )


def _accuracies(panel: Setting, lines: Sequence[Line], study: Study) -> Table:
    differences = (
        f"; below: difference to {study.reference} in points with its 95 % interval, paired by images (and by "
        "seeds, over those that both have if they are several), bold where that does not contain zero"
    )
    return table(
        panel_title(panel),
        f"Top-1 accuracy in % of the {study.split} images, mean ± standard deviation over seeds (their number in "
        f"brackets, if not one){differences if any(line.difference for line in lines) else ''}.",
        {(line.criterion, line.setting.budget): _accuracy(line) for line in lines},
        columns=(budget_rank, budget_text),
    )


def _accuracy(line: Line) -> Entry:
    text = f"{100 * line.accuracy.value:.2f}"
    if line.sd is not None:
        text += f" ± {100 * line.sd:.2f} ({len(line.seeds)})"
    if line.difference is None:
        return Entry(text)
    return Entry(text, f"{in_points(line.difference.value)} {bounds(line.difference)}", verdict(line.difference))


def difference_entry(difference: Interval, note: str = "") -> Entry:
    """A difference in points, and its interval below it."""
    return Entry(in_points(difference.value) + note, bounds(difference), verdict(difference))


def table(
    title: str,
    caption: str,
    entries: Mapping[tuple[Any, Any], Entry],
    *,
    columns: tuple[Callable[[Any], Any], Callable[[Any], str]],
    rows: tuple[Callable[[Any], Any], Callable[[Any], str]] = (rank, str),
) -> Table:
    """Entries by row and column, which are criteria and settings, in order.

    Args:
        title, caption: as `Table` has them. entries: those that there are.
        columns, rows: the sort key of each, and its text.
    """
    (row_key, row_text), (column_key, column_text) = rows, columns
    headers = sorted({column for _, column in entries}, key=column_key)
    return Table(
        title,
        caption,
        tuple(map(column_text, headers)),
        tuple(
            (row_text(row), tuple(entries.get((row, column), Entry("")) for column in headers))
            for row in sorted({row for row, _ in entries}, key=row_key)
        ),
    )

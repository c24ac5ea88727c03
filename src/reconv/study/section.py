"""One network of a study's report: its pictures, and its tables of accuracies and of differences."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from reconv.report import numbers
from reconv.report.numbers import in_points
from reconv.report.study_facts import Entry, Matrix, Section, Table
from reconv.significance import Interval
from reconv.study.arms import UNTRAINED
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
    setting_rank,
    setting_title,
    verdict,
)
from reconv.study.measures import criteria_of
from reconv.study.pictures import accuracy_plots, kept_widths, speed_plots
from reconv.study.store import LATENCY, NETWORKS, Store
from reconv.study.tables import Control, Line, Setting, Summary


def section_of(network: Network, study: Study, store: Store, summary: Summary) -> Section:
    """What a study's report shows of one network."""
    base = summary.base[network.name]["outcome"]
    lines = [line for line in summary.lines if line.setting.network == network.name]
    controls = [row for row in summary.controls if row.setting.network == network.name]
    panels, described = by_panel(lines), store.read(NETWORKS).get(network.fingerprint, {})
    tables = (_accuracies(panel, rows, study) for panel, rows in panels.items())
    return Section(
        title=network.name,
        lead=f"{network.model} on {network.data_set}: "
        f"{numbers.percent(base['accuracy'])} of {base['images']:,} {study.split} images unpruned, "
        f"{numbers.count(base['macs'][0])} MACs per image, {numbers.count(base['parameters'][0])} parameters.",
        plots=accuracy_plots(panels, base, study.split),
        speed=speed_plots(panels, base, store.read(LATENCY), network, study.split),
        tables=(*_untrained(lines, study), *_controlled(controls, study), *tables),
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


def _untrained(lines: Sequence[Line], study: Study) -> Iterator[Table]:
    """All that was done without training, in one table."""
    means: dict[Setting, dict[str, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    for line in lines:
        if line.setting.arm in UNTRAINED:
            means[replace(line.setting, arm="")][line.criterion][line.setting.arm] = line.accuracy.value
    arms = [arm for arm in UNTRAINED if any(arm in row for rows in means.values() for row in rows.values())]
    if len(arms) < 2:
        return
    criteria = sorted({criterion for rows in means.values() for criterion in rows}, key=rank)

    def entry(row: Mapping[str, float]) -> Entry:
        return Entry(" / ".join(f"{100 * row[arm]:.1f}" if arm in row else "–" for arm in arms) if row else "")

    yield Table(
        "without training, at a glance",
        f"Top-1 accuracy in % of the {study.split} images: {' / '.join(arms)}; mean over seeds.",
        tuple(criteria),
        tuple(
            (setting_title(setting), tuple(entry(means[setting].get(criterion, {})) for criterion in criteria))
            for setting in sorted(means, key=setting_rank)
        ),
    )


def _controlled(controls: Sequence[Control], study: Study) -> Iterator[Table]:
    """What training from random weights comes to, a table per setting and control."""
    tables: dict[tuple[Setting, str], dict[tuple[str, str], Control]] = defaultdict(dict)
    for row in controls:
        tables[replace(row.setting, arm=""), row.arm][row.criterion, row.setting.arm] = row
    for (setting, control), rows in tables.items():
        criteria = sorted({criterion for criterion, _ in rows}, key=rank)
        arms = sorted({arm for _, arm in rows}, key=arm_rank)
        values = [row.accuracy.value for row in rows.values()]
        ends = dict.fromkeys(f"{100 * end:.2f} %" for end in (min(values), max(values)))
        yield Table(
            f"{setting_title(setting)}: difference to {control}",
            f"Percentage points of {study.split} accuracy, with 95 % intervals, against the control: a network of the "
            f"same budget and scheme trained from random weights ({' to '.join(ends)}).",
            tuple(arms),
            tuple((name, tuple(_against(rows.get((name, arm))) for arm in arms)) for name in criteria),
        )


def _against(row: Control | None) -> Entry:
    return Entry("") if row is None else difference_entry(row.difference)


def difference_entry(difference: Interval, note: str = "") -> Entry:
    """A difference in points, and its interval below it."""
    return Entry(in_points(difference.value) + note, bounds(difference), verdict(difference))


def _accuracies(panel: Setting, lines: Sequence[Line], study: Study) -> Table:
    budgets = sorted({line.setting.budget for line in lines}, key=budget_rank)
    rows = {(line.criterion, line.setting.budget): line for line in lines}
    criteria = sorted({line.criterion for line in lines}, key=rank)
    differences = (
        f"; below: difference to {study.reference} in points with its 95 % interval, paired by images (and by "
        "seeds, over those that both have if they are several), bold where that does not contain zero"
    )
    return Table(
        panel_title(panel),
        f"Top-1 accuracy in % of the {study.split} images, mean ± standard deviation over seeds (their number in "
        f"brackets, if not one){differences if any(line.difference for line in lines) else ''}.",
        tuple(map(budget_text, budgets)),
        tuple((name, tuple(_accuracy(rows.get((name, budget))) for budget in budgets)) for name in criteria),
    )


def _accuracy(line: Line | None) -> Entry:
    if line is None:
        return Entry("")
    text = f"{100 * line.accuracy.value:.2f}"
    if line.sd is not None:
        text += f" ± {100 * line.sd:.2f} ({len(line.seeds)})"
    if line.difference is None:
        return Entry(text)
    return Entry(text, f"{in_points(line.difference.value)} {bounds(line.difference)}", verdict(line.difference))

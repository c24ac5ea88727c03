"""A study's tables of one network: every accuracy, its spread over seeds, and its difference to the reference."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from reconv.report.numbers import in_points
from reconv.report.study_facts import Entry, Table
from reconv.study.arms import UNTRAINED
from reconv.study.design import Study
from reconv.study.panels import Panel
from reconv.study.tables import Control, Line, Setting
from reconv.study.words import arm_rank, bounds, budget_rank, budget_text, rank, setting_text, verdict


def accuracy_tables(
    panels: Mapping[Panel, Sequence[Line]], controls: Sequence[Control], study: Study
) -> tuple[Table, ...]:
    """First all that was done without training, then what training from random weights comes to, then a table a panel.

    Args:
        panels: lines of one network. controls: its lines beside the controls.
    """
    lines = [line for rows in panels.values() for line in rows]
    tables = (_table(panel, rows, study) for panel, rows in panels.items())
    return (*_untrained(lines, study), *_controlled(controls, study), *tables)


def _untrained(lines: Sequence[Line], study: Study) -> list[Table]:
    means: dict[Setting, dict[str, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    for line in lines:
        if line.setting.arm in UNTRAINED:
            means[replace(line.setting, arm="")][line.criterion][line.setting.arm] = line.accuracy.value
    arms = [arm for arm in UNTRAINED if any(arm in row for rows in means.values() for row in rows.values())]
    if len(arms) < 2:
        return []
    criteria = sorted({criterion for rows in means.values() for criterion in rows}, key=rank)
    body = []
    for setting in sorted(means, key=lambda s: (s.scheme != "uniform", budget_rank(s.budget), s)):
        entries = []
        for criterion in criteria:
            row = means[setting].get(criterion)
            texts = [f"{100 * row[arm]:.1f}" if arm in row else "–" for arm in arms] if row else []
            entries.append(Entry(" / ".join(texts)))
        body.append((setting_text(setting), tuple(entries)))
    caption = f"Top-1 accuracy in % of the {study.split} images: {' / '.join(arms)}; mean over seeds."
    return [Table("without training, at a glance", caption, tuple(criteria), tuple(body))]


def _controlled(controls: Sequence[Control], study: Study) -> Iterator[Table]:
    found: dict[tuple[Setting, str], dict[tuple[str, str], Control]] = defaultdict(dict)
    for row in controls:
        found[replace(row.setting, arm=""), row.arm][row.criterion, row.setting.arm] = row
    for (setting, control), rows in found.items():
        criteria = sorted({criterion for criterion, _ in rows}, key=rank)
        arms = sorted({arm for _, arm in rows}, key=lambda arm: (arm_rank(arm), arm))
        accuracies = dict.fromkeys(f"{100 * end:.2f} %" for end in _ends(row.accuracy.value for row in rows.values()))
        yield Table(
            f"{setting_text(setting)}: difference to {control}",
            f"Percentage points of {study.split} accuracy, with 95 % intervals, against the control: a network of the "
            f"same budget and scheme trained from random weights ({' to '.join(accuracies)}).",
            tuple(arms),
            tuple((name, tuple(_against(rows.get((name, arm))) for arm in arms)) for name in criteria),
        )


def _ends(values: Iterable[float]) -> tuple[float, float]:
    known = list(values)
    return min(known), max(known)


def _against(row: Control | None) -> Entry:
    if row is None:
        return Entry("")
    return Entry(in_points(row.difference.value), bounds(row.difference), verdict(row.difference))


def _table(panel: Panel, lines: Sequence[Line], study: Study) -> Table:
    budgets = sorted({line.setting.budget for line in lines}, key=budget_rank)
    found = {(line.criterion, line.setting.budget): line for line in lines}
    criteria = sorted({line.criterion for line in lines}, key=rank)
    differences = (
        f"; below: difference to {study.reference} in points with its 95 % interval, paired by images (and by "
        "seeds, over those that both have if they are several), bold where that does not contain zero"
    )
    return Table(
        str(panel),
        f"Top-1 accuracy in % of the {study.split} images, mean ± standard deviation over seeds (their number in "
        f"brackets, if not one){differences if any(line.difference for line in lines) else ''}.",
        tuple(map(budget_text, budgets)),
        tuple(
            (criterion, tuple(_entry(found.get((criterion, budget))) for budget in budgets)) for criterion in criteria
        ),
    )


def _entry(line: Line | None) -> Entry:
    if line is None:
        return Entry("")
    text = f"{100 * line.accuracy.value:.2f}"
    if line.sd is not None:
        text += f" ± {100 * line.sd:.2f} ({len(line.seeds)})"
    if line.difference is None:
        return Entry(text)
    return Entry(text, f"{in_points(line.difference.value)} {bounds(line.difference)}", verdict(line.difference))

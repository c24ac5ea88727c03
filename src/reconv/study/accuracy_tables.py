"""A study's tables of one network: every accuracy, its spread over seeds, and its difference to the reference."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from reconv.report.numbers import in_points
from reconv.report.study_facts import Entry, Table
from reconv.study.arms import UNTRAINED
from reconv.study.design import Study
from reconv.study.panels import Panel
from reconv.study.tables import Line, Setting
from reconv.study.words import bounds, budget_rank, budget_text, rank, verdict


def accuracy_tables(name: str, panels: Mapping[Panel, Sequence[Line]], study: Study) -> tuple[Table, ...]:
    """First all that was done without training, then a table a panel."""
    lines = [line for rows in panels.values() for line in rows]
    return (*_untrained(name, lines, study), *(_table(panel, rows, study) for panel, rows in panels.items()))


def _untrained(name: str, lines: Sequence[Line], study: Study) -> list[Table]:
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
        words = f"{budget_text(setting.budget)}, {setting.scheme}{', residual streams too' * setting.coupled}"
        entries = []
        for criterion in criteria:
            row = means[setting].get(criterion)
            texts = [f"{100 * row[arm]:.1f}" if arm in row else "–" for arm in arms] if row else []
            entries.append(Entry(" / ".join(texts)))
        body.append((words, tuple(entries)))
    caption = f"Top-1 accuracy in % of the {study.split} images: {' / '.join(arms)}; mean over seeds."
    return [Table(f"{name}: without training, at a glance", caption, tuple(criteria), tuple(body))]


def _table(panel: Panel, lines: Sequence[Line], study: Study) -> Table:
    budgets = sorted({line.setting.budget for line in lines}, key=budget_rank)
    found = {(line.criterion, line.setting.budget): line for line in lines}
    criteria = sorted({line.criterion for line in lines}, key=rank)
    differences = (
        f"; below: difference to {study.reference} in points with its 95 % interval, paired by images, bold where that "
        "does not contain zero"
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

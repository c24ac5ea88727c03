"""One network of a study: its pictures and tables."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from reconv.report import numbers
from reconv.report.plots import WHOLE, Plot, Point, Series
from reconv.report.study_facts import Entry, Matrix, Section, Table, Widths
from reconv.study.arms import UNTRAINED
from reconv.study.measures import LATENCY, NETWORKS, latency_key, speedup
from reconv.study.store import Store
from reconv.study.tables import Line, Setting, Summary, current, summarize
from reconv.study.words import arm_rank, budget_text, panel, points, rank, style

_MOST_WIDTHS = 2  # pictures of kept channels a network


def points_of_network(store: Store, fingerprint: str) -> tuple[Series, ...]:
    """A study's points of one network, by its weights: one series an arm and scheme, of the best criterion's mean.

    Raises:
        ArtifactError: no study.
    """
    study = store.study
    names = [name for name, row in study["networks"].items() if row["weights"] == fingerprint]
    if not names:
        return ()
    summary = summarize(current(store.records(), study), study["reference"])
    panels: dict[tuple[str, str, bool], list[Line]] = defaultdict(list)
    for line in summary.lines:
        if line.setting.network == names[0]:
            panels[line.setting.arm, line.setting.scheme, line.setting.coupled].append(line)
    found = []
    for number, (key, rows) in enumerate(sorted(panels.items(), key=lambda item: (arm_rank(item[0][0]), item[0]))):
        by_budget: dict[str, Line] = {}
        for line in rows:
            best = by_budget.get(line.setting.budget)
            if best is None or line.accuracy.value > best.accuracy.value:
                by_budget[line.setting.budget] = line
        points = tuple(
            Point(100 * line.macs, 100 * line.accuracy.value, text=f"{panel(key)}, {line.criterion}")
            for line in sorted(by_budget.values(), key=lambda line: line.macs)
        )
        found.append(Series(f"{panel(key)} (best criterion)", points, number % 8))
    return tuple(found)


def section_of(name: str, study: Mapping[str, Any], store: Store, summary: Summary) -> Section:
    base = summary.base[name]["outcome"]
    lines = [line for line in summary.lines if line.setting.network == name]
    panels: dict[tuple[str, str, bool], list[Line]] = defaultdict(list)
    for line in lines:
        panels[line.setting.arm, line.setting.scheme, line.setting.coupled].append(line)
    ordered = sorted(panels.items(), key=lambda item: (arm_rank(item[0][0]), item[0][1] != "uniform", item[0]))
    mended = any(line.setting.arm != "as cut" for line in lines)
    known = store.read(LATENCY)
    described = store.read(NETWORKS).get(name, {})
    fingerprint = study["networks"][name]["weights"]
    return Section(
        title=name,
        lead=f"{study['networks'][name]['model']} on {study['networks'][name]['data_set']}: "
        f"{numbers.percent(base['accuracy'])} of {base['images']:,} {study['split']} images before the cut, "
        f"{numbers.count(base['macs'][0])} MACs an image, {numbers.count(base['parameters'][0])} parameters.",
        plots=tuple(_plot(key, rows, base) for key, rows in ordered if _several(rows)),
        speed=tuple(
            plot
            for key, rows in ordered
            if (plot := _speed_plot(key, rows, base, known, fingerprint)) is not None
            and not (mended and key[0] == "as cut")
        ),
        tables=(*_untrained(name, lines, study), *(_table(key, rows, study) for key, rows in ordered)),
        agreement=_agreement(described),
        widths=tuple(_widths(lines, described)),
    )


def _several(rows: Sequence[Line]) -> bool:
    return len(rows) > 1


def _plot(key: tuple[str, str, bool], rows: Sequence[Line], base: Mapping[str, Any]) -> Plot:
    series = [
        Series(
            criterion,
            tuple(
                Point(
                    100 * line.macs,
                    100 * line.accuracy.value,
                    100 * line.accuracy.low,
                    100 * line.accuracy.high,
                    f"{criterion}, {budget_text(line.setting.budget)}: {100 * line.accuracy.value:.2f} %",
                )
                for line in mine
            ),
            style(criterion),
        )
        for criterion, mine in _by_criterion(rows)
    ]
    whole = Point(100.0, 100 * base["accuracy"], text=f"whole network: {100 * base['accuracy']:.2f} %")
    return Plot(
        panel(key),
        "MACs left, % of the whole network's",
        "top-1 accuracy, %",
        (*series, Series("whole network", (whole,), WHOLE, line=False)),
        f"Mean over seeds; bars: 95 % bootstrap intervals of each accuracy by itself (differences are known better). "
        f"{base['images']:,} images.",
    )


def _by_criterion(rows: Sequence[Line]) -> list[tuple[str, list[Line]]]:
    found: dict[str, list[Line]] = defaultdict(list)
    for line in rows:
        found[line.criterion].append(line)
    return [
        (criterion, sorted(mine, key=lambda line: line.macs))
        for criterion, mine in sorted(found.items(), key=lambda item: rank(item[0]))
    ]


def _speed_plot(
    key: tuple[str, str, bool],
    rows: Sequence[Line],
    base: Mapping[str, Any],
    known: Mapping[str, Any],
    fingerprint: str,
    batch: int = 64,
) -> Plot | None:
    series = []
    machine: dict[str, str] = {}
    for criterion, mine in _by_criterion(rows):
        found = []
        for line in mine:
            entry = known.get(latency_key(fingerprint, line.widths))
            times = entry and speedup(entry, batch)
            if entry and times:
                machine = entry["machine"]
                text = f"{criterion}, {budget_text(line.setting.budget)}: {times:.2f} times as fast"
                found.append(Point(100 / times, 100 * line.accuracy.value, text=text))
        if found:
            series.append(Series(criterion, tuple(found), style(criterion)))
    if not series:
        return None
    whole = Point(100.0, 100 * base["accuracy"], text="whole network")
    where = f"{machine.get('processor', '')}, {machine.get('threads', '1')} thread, PyTorch {machine.get('torch', '')}"
    return Plot(
        panel(key),
        f"time of {batch} images, % of the whole network's",
        "top-1 accuracy, %",
        (*series, Series("whole network", (whole,), WHOLE, line=False)),
        f"Median of passes in which both networks take turns; {where}.",
    )


def _untrained(name: str, lines: Sequence[Line], study: Mapping[str, Any]) -> list[Table]:
    """All that was done without training, in one table."""
    means: dict[Setting, dict[str, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    for line in lines:
        if line.setting.arm in UNTRAINED:
            means[replace(line.setting, arm="")][line.criterion][line.setting.arm] = line.accuracy.value
    arms = [arm for arm in UNTRAINED if any(arm in row for rows in means.values() for row in rows.values())]
    if len(arms) < 2:
        return []
    criteria = sorted({criterion for rows in means.values() for criterion in rows}, key=rank)
    settings = sorted(
        means, key=lambda s: (s.scheme != "uniform", s.budget.startswith("cfg"), _share_gone(s.budget), s)
    )
    body = []
    for setting in settings:
        words = f"{budget_text(setting.budget)}, {setting.scheme}{', residual streams too' * setting.coupled}"
        entries = []
        for criterion in criteria:
            row = means[setting].get(criterion)
            texts = [f"{100 * row[arm]:.1f}" if arm in row else "–" for arm in arms] if row else []
            entries.append(Entry(" / ".join(texts)))
        body.append((words, tuple(entries)))
    caption = f"Top-1 accuracy in % of the {study['split']} images: {' / '.join(arms)}; mean over seeds."
    return [Table(f"{name}: without training, at a glance", caption, tuple(criteria), tuple(body))]


def _share_gone(budget: str) -> tuple[str, float]:
    """What budgets are ordered by: their kind, then how much they take."""
    name, _, value = budget.partition("=")
    return (name, -float(value)) if value.replace(".", "", 1).isdigit() else (budget, 0.0)


def _table(key: tuple[str, str, bool], rows: Sequence[Line], study: Mapping[str, Any]) -> Table:
    budgets = sorted({line.setting.budget for line in rows}, reverse=True)
    body = []
    for criterion, mine in _by_criterion(rows):
        by_budget = {line.setting.budget: line for line in mine}
        body.append((criterion, tuple(_entry(by_budget.get(budget)) for budget in budgets)))
    return Table(
        panel(key),
        f"Top-1 accuracy in % of the {study['split']} images, mean ± standard deviation over seeds (their number in "
        f"brackets, if not one); below: difference to {study['reference']} in points with its 95 % interval, paired by "
        "images, bold where that does not contain zero.",
        tuple(map(budget_text, budgets)),
        tuple(body),
    )


def _entry(line: Line | None) -> Entry:
    if line is None:
        return Entry("")
    text = f"{100 * line.accuracy.value:.2f}"
    if line.sd is not None:
        text += f" ± {100 * line.sd:.2f} ({len(line.seeds)})"
    if line.difference is None:
        return Entry(text)
    known = line.difference
    kind = "noise" if not known.excludes_zero else "better" if known.value > 0 else "worse"
    return Entry(text, f"{points(known.value)} [{points(known.low)}, {points(known.high)}]", kind)


def _agreement(described: Mapping[str, Any]) -> Matrix | None:
    names = described.get("criteria", ())
    if len(names) < 2:
        return None
    order = sorted(range(len(names)), key=lambda i: rank(names[i]))
    return Matrix(
        "How alike the criteria rank channels",
        "Kendall's tau of two criteria's scores, mean over the layers that may be cut: 1 is the same order, 0 none.",
        tuple(names[i] for i in order),
        tuple(tuple(described["tau"][i][j] for j in order) for i in order),
    )


def _widths(lines: Sequence[Line], described: Mapping[str, Any]) -> list[Widths]:
    layers = described.get("layers", ())
    cut = [i for i, name in enumerate(layers) if name in set(described.get("cut", ()))]
    found: dict[Setting, dict[str, Line]] = defaultdict(dict)
    for line in lines:
        plain = Setting(line.setting.network, "", line.setting.scheme, line.setting.budget, line.setting.coupled)
        if len(line.widths) == len(layers):
            found[plain].setdefault(line.criterion, line)
    pictures: list[Widths] = []
    for setting, by_criterion in found.items():
        if setting.scheme == "uniform" or "0.5" not in setting.budget or len(pictures) == _MOST_WIDTHS:
            continue
        uniform = found.get(Setting(setting.network, "", "uniform", setting.budget, setting.coupled), {})
        rows = {"uniform": next(iter(uniform.values()))} if uniform else {}
        rows |= {criterion: by_criterion[criterion] for criterion in sorted(by_criterion, key=rank)}
        before = _before(lines, cut)
        pictures.append(
            Widths(
                f"{budget_text(setting.budget)}, {setting.scheme}",
                "Share of each layer's output channels that is kept, in the layers that may be cut.",
                tuple(layers[i] for i in cut),
                before,
                {name: tuple(line.widths[i] for i in cut) for name, line in rows.items()},
            )
        )
    return pictures


def _before(lines: Sequence[Line], cut: Sequence[int]) -> tuple[int, ...]:
    return tuple(max(line.widths[i] for line in lines) for i in cut)

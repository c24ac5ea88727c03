"""What a study's tables come to: findings in sentences, pictures, and what a reviewer asks for."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from reconv.report import numbers
from reconv.report.plots import Plot, Point, Series
from reconv.report.study_facts import Entry, Matrix, Section, StudyFacts, Table, Widths
from reconv.study.arms import ARMS, Arm
from reconv.study.design import study_from_json
from reconv.study.measures import LATENCY, NETWORKS, latency_key, speedup
from reconv.study.store import Store
from reconv.study.tables import Line, Pooled, Record, Setting, Summary, current, summarize

PAPERS = ("spectral", "nuclear", "frobenius")
_ORDER = ("spectral", "nuclear", "frobenius", "l1", "l2", "fpgm", "bn_scale", "random", "reconstruction")
_MOST_WIDTHS = 2  # pictures of kept channels a network


def study_facts(store: Store, command: str = "") -> tuple[StudyFacts, Summary, list[Record]]:
    """A study's report, its summary, and the records that they rest on."""
    study = store.study
    records = current(store.records(), study)
    summary = summarize(records, study["reference"])
    sections = [_section(name, study, store, summary) for name in study["networks"] if name in summary.base]
    facts = StudyFacts(
        title=study["title"],
        description=study["description"],
        findings=tuple(findings(summary, study)),
        review=_review(study, records, summary),
        claims=tuple(_claims(summary, study)),
        sections=tuple(section for section in sections if section.plots),
        missing=tuple(_missing(study, records)),
        command=command or "reconv study STUDY.toml --weights-root W --data-root D --save-path FOLDER",
        versions=_versions(records),
    )
    return facts, summary, records


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
    for number, (key, rows) in enumerate(sorted(panels.items(), key=lambda item: (_arm_rank(item[0][0]), item[0]))):
        by_budget: dict[str, Line] = {}
        for line in rows:
            best = by_budget.get(line.setting.budget)
            if best is None or line.accuracy.value > best.accuracy.value:
                by_budget[line.setting.budget] = line
        points = tuple(
            Point(100 * line.macs, 100 * line.accuracy.value, text=f"{_panel(key)}, {line.criterion}")
            for line in sorted(by_budget.values(), key=lambda line: line.macs)
        )
        found.append(Series(f"{_panel(key)} (best criterion)", points, number % 8))
    return tuple(found)


def rank(criterion: str) -> tuple[int, str]:
    """Criteria in the same order everywhere."""
    return (_ORDER.index(criterion) if criterion in _ORDER else len(_ORDER), criterion)


def style(criterion: str) -> int:
    """The same color and marker everywhere; peers have those of what they imitate."""
    plain = criterion.split(":")[-1]
    return _ORDER.index(plain) if plain in _ORDER else 8


def budget_text(budget: str) -> str:
    """`macs=0.5` as `-50 % MACs`."""
    name, _, value = budget.partition("=")
    try:
        share = float(value)
    except ValueError:
        return budget
    what = {"macs": "MACs", "params": "parameters"}.get(name, name)
    return f"−{100 * (1 - share):.3g} % {what}" if share < 1 else f"{numbers.count(share)} {what}"


def points(value: float) -> str:
    """A difference of fractions in percentage points, with its sign."""
    return f"{100 * value:+.2f}".replace("-", "−")


def findings(summary: Summary, study: Mapping[str, Any]) -> list[str]:
    """Sentences, each with its interval."""
    reference, texts = study["reference"], []
    for (network, arm), rows in _by_arm(summary.pooled).items():
        papers = [row for row in rows if row.criterion in PAPERS]
        if papers and reference == "l1":
            texts.append(_about_the_paper(network, arm, papers))
        drawn = next((row for row in rows if row.criterion == "random"), None)
        if drawn is not None:
            texts.append(
                f"{network}, {arm}: random channels against {reference}: {points(drawn.difference.value)} points "
                f"{_bounds(drawn)}, the mean of {drawn.settings} settings."
            )
    return texts


def _about_the_paper(network: str, arm: str, papers: Sequence[Pooled]) -> str:
    """What became of the claim that the paper's norms beat L1."""
    ranked = sorted(papers, key=lambda row: rank(row.criterion))
    parts = [
        f"{row.criterion} {points(row.difference.value)} {_bounds(row)}, ahead beyond noise in {row.wins} and behind "
        f"in {row.losses} of {row.settings} settings"
        for row in ranked
    ]
    kinds = {
        "beats": [row.criterion for row in ranked if row.difference.low > 0],
        "loses to": [row.criterion for row in ranked if row.difference.high < 0],
        "cannot be told from": [row.criterion for row in ranked if not row.difference.excludes_zero],
    }
    verdict = ", ".join(f"{' and '.join(names)} {verb} L1" for verb, names in kinds.items() if names)
    holds = "borne out" if len(kinds["beats"]) == len(ranked) else "not borne out" if not kinds["beats"] else "mixed"
    return f"{network}, {arm}: that the paper's norms beat L1 is {holds} here: {verdict} (points: {'; '.join(parts)})."


def _bounds(row: Pooled) -> str:
    return f"[{points(row.difference.low)}, {points(row.difference.high)}]"


def _by_arm(pooled: Iterable[Pooled]) -> dict[tuple[str, str], list[Pooled]]:
    found: dict[tuple[str, str], list[Pooled]] = defaultdict(list)
    for row in pooled:
        found[row.network, row.arm].append(row)
    return dict(sorted(found.items(), key=lambda item: (item[0][0], _arm_rank(item[0][1]))))


def _arm_rank(arm: str) -> int:
    return list(ARMS).index(arm) if arm in ARMS else len(ARMS)


def _claims(summary: Summary, study: Mapping[str, Any]) -> list[Table]:
    """Against the reference, averaged over budgets and schemes: a table a network."""
    tables = []
    for network in study["networks"]:
        by_arm = {arm: rows for (name, arm), rows in _by_arm(summary.pooled).items() if name == network}
        criteria = sorted({row.criterion for rows in by_arm.values() for row in rows}, key=rank)
        if not criteria:
            continue
        rows = []
        for criterion in criteria:
            found = {
                arm: next((row for row in rows if row.criterion == criterion), None) for arm, rows in by_arm.items()
            }
            rows.append((criterion, tuple(_pooled_entry(row) for row in found.values())))
        tables.append(
            Table(
                f"{network}: difference to {study['reference']}",
                f"Percentage points of {_split(study)} accuracy, the mean over budgets and schemes (their number in "
                "brackets), with 95 % bootstrap intervals over images and seeds; bold where the interval does not "
                "contain zero, so that the difference is beyond noise.",
                tuple(by_arm),
                tuple(rows),
            )
        )
    return tables


def _pooled_entry(row: Pooled | None) -> Entry:
    if row is None:
        return Entry("")
    kind = "noise" if not row.difference.excludes_zero else "better" if row.difference.value > 0 else "worse"
    return Entry(f"{points(row.difference.value)} ({row.settings})", _bounds(row), kind)


def _section(name: str, study: Mapping[str, Any], store: Store, summary: Summary) -> Section:
    base = summary.base[name]["outcome"]
    lines = [line for line in summary.lines if line.setting.network == name]
    panels: dict[tuple[str, str, bool], list[Line]] = defaultdict(list)
    for line in lines:
        panels[line.setting.arm, line.setting.scheme, line.setting.coupled].append(line)
    ordered = sorted(panels.items(), key=lambda item: (_arm_rank(item[0][0]), item[0][1] != "uniform", item[0]))
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
        tables=tuple(_table(key, rows, study) for key, rows in ordered),
        agreement=_agreement(described),
        widths=tuple(_widths(lines, described)),
    )


def _several(rows: Sequence[Line]) -> bool:
    return len(rows) > 1


def _panel(key: tuple[str, str, bool]) -> str:
    arm, scheme, coupled = key
    words = {"uniform": "the same share of every layer", "allocated": "widths by predicted error"}.get(scheme, scheme)
    return f"{arm}; {words}{', residual streams too' if coupled else ''}"


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
        _panel(key),
        "MACs left, % of the whole network's",
        "top-1 accuracy, %",
        (*series, Series("whole network", (whole,), 8, line=False)),
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
        _panel(key),
        f"time of {batch} images, % of the whole network's",
        "top-1 accuracy, %",
        (*series, Series("whole network", (whole,), 8, line=False)),
        f"Median of passes in which both networks take turns; {where}.",
    )


def _table(key: tuple[str, str, bool], rows: Sequence[Line], study: Mapping[str, Any]) -> Table:
    budgets = sorted({line.setting.budget for line in rows}, reverse=True)
    body = []
    for criterion, mine in _by_criterion(rows):
        by_budget = {line.setting.budget: line for line in mine}
        body.append((criterion, tuple(_entry(by_budget.get(budget)) for budget in budgets)))
    return Table(
        _panel(key),
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


def _split(study: Mapping[str, Any]) -> str:
    return str(study["split"])


def _review(study: Mapping[str, Any], records: Sequence[Record], summary: Summary) -> dict[str, str]:
    """What a careful reviewer asks for."""
    base = "; ".join(
        f"{name} {numbers.percent(record['outcome']['accuracy'])} of {record['outcome']['images']:,} "
        f"{study['split']} images ({numbers.count(record['outcome']['macs'][0])} MACs, "
        f"{numbers.count(record['outcome']['parameters'][0])} parameters, weights "
        f"{record['cell']['network']['weights'][:12]})"
        for name, record in summary.base.items()
    )
    arms = {record["arm"]: record["cell"]["arm"] for record in records if record["cell"]["criterion"]}
    settings = [line for line in summary.lines if line.difference is not None]
    noise = sum(not line.difference.excludes_zero for line in settings if line.difference)
    seeds: dict[str, set[int]] = defaultdict(set)
    for line in summary.lines:
        seeds["random" if line.criterion == "random" else line.setting.arm].add(len(line.seeds))
    by = ", ".join(f"{name}: {_range(numbers_)}" for name, numbers_ in seeds.items())
    cpu = sum(record["made"]["processor_seconds"] for record in records)
    return {
        "base accuracy": base,
        "MACs": "of convolutions and linear layers, for one image, one fused multiply-add counted as one; BatchNorm, "
        "activations and additions are not counted",
        "split": f"accuracy on the {study['split']} images, every one of them; calibration and training images are "
        "from the training split without the validation images held out (weights trained elsewhere may have seen both)",
        "what was done after the cut": "; ".join(f"{name}: {_described(name, arm)}" for name, arm in arms.items()),
        "model selection": "none: no epoch, seed or setting was chosen by these images; a training's last epoch counts",
        "seeds": f"{by}; a seed draws random scores, calibration images and the order of a training. Scores of the "
        "other criteria are not random",
        "intervals": "95 %, percentile bootstrap of 2,000 replicates over the images (the same for all networks) and, "
        "where there are several, over seeds; of a line with one seed it lacks the noise of the images drawn for "
        "statistics and repair. They say nothing about other trained networks or data sets, and are not "
        f"corrected for the {len(settings)} comparisons, of which about {0.05 * len(settings):.0f} would be beyond "
        "noise by chance alone",
        "within noise": f"{noise} of {len(settings)} differences to {study['reference']}",
        "computed": f"{len(records):,} cells in {numbers.duration(cpu)} of processor time",
    }


def _range(values: set[int]) -> str:
    return str(min(values)) if len(values) == 1 else f"{min(values)} to {max(values)}"


def _described(name: str, arm: Mapping[str, Any]) -> str:
    protocol = arm.get("protocol") or {}
    epochs = protocol.get("epochs")
    known = Arm(
        name,
        arm["mend"],
        int(arm.get("images", 1000)),
        ARMS[name].protocol if name in ARMS and protocol else "a protocol" if protocol else "",
        epochs,
        bool(arm["fresh"]),
    )
    return str(known)


def _missing(study: Mapping[str, Any], records: Sequence[Record]) -> list[str]:
    """How many of the cells that were asked are not there, by network and arm."""
    have = {record["key"] for record in records}
    asked: Counter[tuple[str, str]] = Counter()
    missing: Counter[tuple[str, str]] = Counter()
    for cell in study_from_json(study).cells():
        place = cell.network.name, cell.arm.name
        asked[place] += 1
        missing[place] += cell.key not in have
    return [
        f"{network}, {arm}: {missing[network, arm]:,} of {number:,} cells"
        for (network, arm), number in asked.items()
        if missing[network, arm]
    ]


def _versions(records: Sequence[Record]) -> dict[str, str]:
    found: dict[str, set[str]] = defaultdict(set)
    for record in records:
        for name, version in record["made"]["versions"].items():
            found[name].add(str(version))
        found["device"].add(str(record["made"]["device"]))
    return {name: ", ".join(sorted(values)) for name, values in found.items()}

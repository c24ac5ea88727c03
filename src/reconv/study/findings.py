"""What a study's tables come to: findings in sentences, and all facts that its report shows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from reconv.report import numbers
from reconv.report.numbers import in_points
from reconv.report.plots import Difference, Forest
from reconv.report.study_facts import Claim, Entry, StudyFacts
from reconv.study.design import Study
from reconv.study.labels import arm_rank, bounds, rank, setting_title, style, verdict
from reconv.study.peers import is_peer
from reconv.study.review import arms_of, missing_of, review_of, versions_of
from reconv.study.section import difference_entry, section_of, table
from reconv.study.store import FAILED, Store
from reconv.study.tables import Control, Pooled, Record, Setting, Standing, Summary, current, summarize

NORMS = ("spectral", "nuclear", "frobenius")  # the paper's


def study_facts(store: Store) -> tuple[StudyFacts, Summary, list[Record]]:
    """A study's report, its summary, and the records that they rest on."""
    study = store.requested
    cells = study.cells()
    records = current(store.records(), cells)
    summary = summarize(records, study.reference)
    networks = [network for network in study.networks if network.name in summary.base]
    facts = StudyFacts(
        title=study.title,
        description=study.description,
        findings=tuple(findings(summary, study)),
        arms=arms_of(study, records, summary),
        review=review_of(study, records, summary),
        claims=tuple(_claims(summary, study)),
        sections=tuple(section_of(network, study, store, summary) for network in networks),
        missing=(*missing_of(cells, records, store.read(FAILED)), *study.left_out()),
        command=store.command or "reconv study STUDY.toml --weights-root W --data-root D --save-path FOLDER",
        versions=versions_of(records),
    )
    return facts, summary, records


def findings(summary: Summary, study: Study) -> list[str]:
    """Sentences: the paper's claim, every criterion of each network and arm from the best on, the controls."""
    by_arm = _by_arm(summary.pooled)
    standings = {(row.network, row.arm, row.criterion): row for row in summary.standings}
    texts = _about_the_paper(by_arm.values()) if study.reference == "l1" else []
    if by_arm:
        texts.append(
            f"In brackets: the difference to {study.reference} in points of accuracy, mean over budgets and schemes."
        )
    for (network, arm), rows in by_arm.items():
        of_arm = {name: row for (*where, name), row in standings.items() if where == [network, arm]}
        texts.append(f"{network}, {arm}: {_about(rows, of_arm, study.reference)}")
    return [*texts, *_about_controls(summary)]


def _about_the_paper(settings: Iterable[Sequence[Pooled]]) -> list[str]:
    """What became of the claim that the paper's norms beat L1; nothing where none of them was tried."""
    norms = [{row.criterion: verdict(row.difference) for row in rows if row.criterion in NORMS} for rows in settings]
    norms = [verdicts for verdicts in norms if verdicts]
    if not norms:
        return []
    tried = [name for name in NORMS if any(name in verdicts for verdicts in norms)]
    all_of = sum(set(verdicts.values()) == {"better"} for verdicts in norms)
    none_of = sum("better" not in verdicts.values() for verdicts in norms)
    which, rest = f"the paper's norm that was tried ({tried[0]})", ""
    if len(tried) > 1:
        which = f"each of the paper's norms that were tried there ({_listed(tried)})"
        rest = f"; in {len(norms) - all_of - none_of} some do, in {none_of} none does"
    combinations = numbers.counted(len(norms), "combination")
    return [f"In {all_of} of {combinations} of network and arm, {which} beats L1 beyond noise{rest}."]


def _about(rows: Sequence[Pooled], standings: Mapping[str, Standing], reference: str) -> str:
    """The best criterion, those that cannot be told from it, and those behind it."""
    differences = {reference: 0.0} | {row.criterion: row.difference.value for row in rows}
    ordered = sorted(differences, key=lambda name: (-differences[name], rank(name)))
    best = next(name for name in ordered if name not in standings)
    groups: dict[str, list[str]] = defaultdict(list)
    for name in ordered:
        text = f"{name} (reference)" if name == reference else f"{name} ({in_points(differences[name])})"
        if name in standings:
            groups[verdict(standings[name].difference)].append(text)
    interval = next((f" {bounds(row.difference)}" for row in rows if row.criterion == best), "")
    amount = "the reference" if best == reference else in_points(differences[best]) + interval
    sentences = [f"{best} is best ({amount})."]
    sentences += [f"Cannot be told from it: {_listed(groups['noise'])}."] if groups["noise"] else []
    sentences += [f"Behind it beyond noise: {_listed(groups['worse'])}."] if groups["worse"] else []
    if groups["better"]:  # tried in fewer settings, and ahead of it there
        sentences.append(f"Tried in fewer settings, and ahead of it there: {_listed(groups['better'])}.")
    return " ".join(sentences)


def _about_controls(summary: Summary) -> Iterator[str]:
    """Against training the small network from random weights: the criterion whose network that is, arm by arm."""
    groups: dict[tuple[Setting, str, str], list[Control]] = defaultdict(list)
    own = {(line.setting, line.criterion) for line in summary.lines}
    for control in summary.controls:
        if (replace(control.setting, arm=control.arm), control.criterion) in own:
            groups[replace(control.setting, arm=""), control.criterion, control.arm].append(control)
    for (setting, criterion, arm), rows in groups.items():
        parts = (
            f"{row.setting.arm} {in_points(row.difference.value)} {bounds(row.difference)}"
            for row in sorted(rows, key=lambda row: arm_rank(row.setting.arm))
        )
        yield (
            f"{setting.network}, {setting_title(setting)}, the control: {arm} comes to "
            f"{numbers.percent(rows[0].accuracy.value)}; against it, {criterion} {', '.join(parts)}."
        )


def _listed(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _by_arm(pooled: Iterable[Pooled]) -> dict[tuple[str, str], list[Pooled]]:
    groups: dict[tuple[str, str], list[Pooled]] = defaultdict(list)
    for row in pooled:
        groups[row.network, row.arm].append(row)
    return dict(sorted(groups.items(), key=lambda item: (item[0][0], arm_rank(item[0][1]))))


def _claims(summary: Summary, study: Study) -> Iterator[Claim]:
    """Against the reference, averaged over budgets and schemes: a table per network, and a picture per arm."""
    for network in study.networks:
        by_arm = {arm: rows for (name, arm), rows in _by_arm(summary.pooled).items() if name == network.name}
        if not by_arm:
            continue
        differences = table(
            f"{network.name}: difference to {study.reference}",
            f"Percentage points of {study.split} accuracy, the mean over budgets and schemes, with 95 % bootstrap "
            "intervals over images and seeds; bold where the interval does not contain zero, so that the difference "
            "is beyond noise. (10: 5+, 4−) is a mean of 10 settings, in 5 of which the criterion is above "
            f"{study.reference} beyond noise, and in 4 below. Settings near chance, where no criterion keeps much, "
            "count like the others.",
            {(row.criterion, arm): _entry(row) for arm, rows in by_arm.items() for row in rows},
            columns=(arm_rank, str),
        )
        yield Claim(tuple(_forest(arm, rows, study) for arm, rows in by_arm.items()), differences)


def _forest(arm: str, rows: Sequence[Pooled], study: Study) -> Forest:
    """One arm's differences as a picture."""
    most = max(row.settings for row in rows)
    return Forest(
        arm,
        f"difference to {study.reference}, points of {study.split} accuracy",
        tuple(_difference(row) for row in sorted(rows, key=lambda row: rank(row.criterion))),
        f"Mean over {numbers.counted(most, 'budget and scheme', 'budgets and schemes')}"
        f"{'' if all(row.settings == most for row in rows) else ' at most'}, with its 95 % bootstrap interval; bold: "
        "beyond noise. A triangle at the edge: farther away than the picture goes.",
    )


def _difference(row: Pooled) -> Difference:
    value, low, high = (100 * end for end in (row.difference.value, row.difference.low, row.difference.high))
    text = in_points(row.difference.value)
    return Difference(row.criterion, value, low, high, text, style(row.criterion), is_peer(row.criterion))


def _entry(row: Pooled) -> Entry:
    return difference_entry(row.difference, f" ({row.settings}: {row.wins}+, {row.losses}−)")

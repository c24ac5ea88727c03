"""What a study's tables come to: findings in sentences, and everything that its report shows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from reconv.report import numbers
from reconv.report.forest import Difference, Forest
from reconv.report.numbers import in_points
from reconv.report.study_facts import Claim, Entry, StudyFacts, Table
from reconv.study.design import Study
from reconv.study.review import arms_of, missing_of, review_of, versions_of
from reconv.study.sections import section_of
from reconv.study.store import FAILED, Store
from reconv.study.tables import Control, Pooled, Record, Setting, Summary, current, summarize
from reconv.study.words import arm_rank, bounds, is_peer, rank, setting_text, style, verdict

PAPERS = ("spectral", "nuclear", "frobenius")


def study_facts(store: Store) -> tuple[StudyFacts, Summary, list[Record]]:
    """A study's report, its summary, and the records that they rest on."""
    study = store.asked
    cells = study.cells()
    records = current(store.records(), cells)
    summary = summarize(records, study.reference)
    networks = [network for network in study.networks if network.name in summary.base]
    sections = [section_of(network, study, store, summary) for network in networks]
    facts = StudyFacts(
        title=study.title,
        description=study.description,
        findings=tuple(findings(summary, study)),
        arms=arms_of(study, records, summary),
        review=review_of(study, records, summary),
        claims=tuple(_claims(summary, study)),
        sections=tuple(sections),
        missing=(*missing_of(cells, records, store.read(FAILED)), *study.left_out()),
        command=store.command or "reconv study STUDY.toml --weights-root W --data-root D --save-path FOLDER",
        versions=versions_of(records),
    )
    return facts, summary, records


def findings(summary: Summary, study: Study) -> list[str]:
    """Sentences, each with its interval: first what becomes of the paper's claim, then of each network and arm."""
    by_arm = _by_arm(summary.pooled)
    texts = [_about(network, arm, rows, study.reference) for (network, arm), rows in by_arm.items()]
    texts = [text for text in texts if text] + list(_about_controls(summary))
    if study.reference == "l1":
        texts[:0] = _about_the_paper([[row for row in rows if row.criterion in PAPERS] for rows in by_arm.values()])
    return texts


def _about_the_paper(settings: Iterable[Sequence[Pooled]]) -> list[str]:
    """What became of the claim that the paper's norms beat L1."""
    found = [[verdict(row.difference) for row in rows] for rows in settings if rows]
    if not found:
        return []
    all_of = sum(set(kinds) == {"better"} for kinds in found)
    none_of = sum("better" not in kinds for kinds in found)
    return [
        f"In {all_of} of {numbers.counted(len(found), 'combination')} of network and arm, all of the paper's norms "
        f"({_listed(PAPERS)}) that were tried beat L1; in {len(found) - all_of - none_of} some do, in {none_of} none "
        "does. The differences to L1, in points, means over budgets and schemes:"
    ]


def _about(network: str, arm: str, rows: Sequence[Pooled], reference: str) -> str:
    """Where the paper's norms and random channels are, against the reference; empty where neither was asked."""
    shown = sorted((row for row in rows if row.criterion in (*PAPERS, "random")), key=lambda row: rank(row.criterion))
    places = {"better": "above", "worse": "below", "noise": "within noise of"}
    parts = []
    for kind, place in places.items():
        here = [
            f"{row.criterion} {in_points(row.difference.value)} {bounds(row.difference)}"
            for row in shown
            if verdict(row.difference) == kind
        ]
        if here:
            parts.append(f"{_listed(here)} {place} {reference}")
    return f"{network}, {arm}: {'; '.join(parts)}." if parts else ""


def _about_controls(summary: Summary) -> Iterator[str]:
    """Against training the small network from random weights: the criterion whose network that is, arm by arm."""
    found: dict[tuple[Setting, str, str], list[Control]] = defaultdict(list)
    own = {(line.setting, line.criterion) for line in summary.lines}
    for control in summary.controls:
        if (replace(control.setting, arm=control.arm), control.criterion) in own:
            found[replace(control.setting, arm=""), control.criterion, control.arm].append(control)
    for (setting, criterion, arm), rows in found.items():
        parts = (
            f"{row.setting.arm} {in_points(row.difference.value)} {bounds(row.difference)}"
            for row in sorted(rows, key=lambda row: (arm_rank(row.setting.arm), row.setting.arm))
        )
        yield (
            f"{setting.network}, {setting_text(setting)}, the control: {arm} comes to "
            f"{numbers.percent(rows[0].accuracy.value)}; against it, {criterion} {', '.join(parts)}."
        )


def _listed(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _by_arm(pooled: Iterable[Pooled]) -> dict[tuple[str, str], list[Pooled]]:
    found: dict[tuple[str, str], list[Pooled]] = defaultdict(list)
    for row in pooled:
        found[row.network, row.arm].append(row)
    return dict(sorted(found.items(), key=lambda item: (item[0][0], arm_rank(item[0][1]))))


def _claims(summary: Summary, study: Study) -> Iterator[Claim]:
    """Against the reference, averaged over budgets and schemes: a table a network, and a picture an arm."""
    for network in study.networks:
        by_arm = {arm: rows for (name, arm), rows in _by_arm(summary.pooled).items() if name == network.name}
        criteria = sorted({row.criterion for rows in by_arm.values() for row in rows}, key=rank)
        if not criteria:
            continue
        rows = []
        for criterion in criteria:
            found = {
                arm: next((row for row in rows if row.criterion == criterion), None) for arm, rows in by_arm.items()
            }
            rows.append((criterion, tuple(_pooled_entry(row) for row in found.values())))
        table = Table(
            f"{network.name}: difference to {study.reference}",
            f"Percentage points of {study.split} accuracy, the mean over budgets and schemes, with 95 % bootstrap "
            "intervals over images and seeds; bold where the interval does not contain zero, so that the difference "
            "is beyond noise. (10: 5+, 4−) is a mean of 10 settings, in 5 of which the criterion is above "
            f"{study.reference} beyond noise, and in 4 below. Settings near chance, where no criterion leaves much, "
            "count like the others.",
            tuple(by_arm),
            tuple(rows),
        )
        yield Claim(tuple(_forest(arm, rows, study) for arm, rows in by_arm.items()), table)


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


def _pooled_entry(row: Pooled | None) -> Entry:
    if row is None:
        return Entry("")
    text = f"{in_points(row.difference.value)} ({row.settings}: {row.wins}+, {row.losses}−)"
    return Entry(text, bounds(row.difference), verdict(row.difference))

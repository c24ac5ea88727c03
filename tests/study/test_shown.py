"""What is shown of a study: the cells that it asks, by today's names, each criterion as itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from made import CUT_WIDTHS, NETWORK, WHOLE_WIDTHS, accuracy_by_seed, record, stored, study_of
from markupsafe import escape

from reconv.errors import ReconvError
from reconv.files import write_json
from reconv.report import render_study
from reconv.report.plots import COLORS, SHAPES, UNPRUNED, Series, css
from reconv.significance import Interval
from reconv.steps import Finetune, Recalibrate, Reinitialize
from reconv.study import Arm, Cell, Grid, Study, points_of_network, study_facts
from reconv.study.findings import findings
from reconv.study.kept_facts import keep_facts, kept_facts
from reconv.study.labels import _ORDER, bounds, budget_rank, panel_title, style, verdict
from reconv.study.measures import LATENCY, NETWORKS, latency_key
from reconv.study.peers import is_peer
from reconv.study.review import arms_of, review_of
from reconv.study.tables import Pooled, Setting, Summary, current, summarize, tidy

MINE = Arm("mine", (Recalibrate(),), 50)


def _renamed(study: Study) -> Study:
    """The same cells by other names of network and arm."""
    networks = (replace(NETWORK, name="other"),)
    grids = tuple(replace(grid, networks=("other",), arms=("yours",)) for grid in study.grids)
    return replace(study, networks=networks, grids=grids, arms=(replace(MINE, name="yours"),))


def test_other_names_lose_no_cell(tmp_path: Path) -> None:
    study = replace(
        study_of("l1", "l2"), arms=(MINE,), grids=(Grid(("net",), ("l1", "l2"), ("macs=0.5",), arms=("mine",)),)
    )
    store = stored(study, tmp_path / "s")
    store.begin(_renamed(study).to_json())
    facts, summary, records = study_facts(store)
    assert len(records) == len(study.cells())
    assert {(row["network"], row["arm"]) for row in tidy(records)} == {("other", "unpruned"), ("other", "yours")}
    assert (facts.sections[0].title, facts.missing) == ("other", ())
    assert {line.setting.arm for line in summary.lines} == {"yours"}


@pytest.mark.parametrize(
    "change", [{"fingerprint": "0" * 64}, {"labels": "0" * 64}, {"arguments": {"shortcut": "conv"}}]
)
def test_results_of_another_network_or_data_set_are_not_shown(change: dict[str, Any]) -> None:
    study = study_of("l1")
    records = {cell.key: record(cell, 0.5) for cell in study.cells()}
    other = replace(study, networks=(replace(NETWORK, **change),))
    assert current(records, other.cells()) == []


@pytest.mark.parametrize("criterion", ["bn_scale", "random"])  # before and after the reference by name
def test_seeds_are_paired_whatever_the_order_of_records(criterion: str) -> None:
    study = study_of(criterion, "l1", arms=("recalibrated",), seeds=3)
    rows = [record(cell, accuracy_by_seed(cell)) for cell in study.cells()]
    for order in (rows, rows[::-1]):
        line = next(line for line in summarize(order, "l1").lines if line.criterion == criterion)
        assert line.seeds == (0, 1, 2)
        # Seed by seed both are right on the same images.
        assert line.difference == Interval(0, 0, 0)


def test_rows_go_by_the_number_of_the_seed() -> None:
    rows = tidy([record(cell, 0.5) for cell in study_of("random", seeds=11).cells()])
    assert [row["seed"] for row in rows if row["criterion"]] == list(range(11))


def test_kept_channels_are_shares_of_the_whole_networks(tmp_path: Path) -> None:
    store = stored(study_of("l1", schemes=("uniform", "allocated"), budgets=("macs=0.5", "macs=0.55")), tmp_path / "s")
    entry = {"layers": ["a", "b", "fc"], "cut": ["a", "b"], "criteria": [], "tau": []}
    write_json(store.path / NETWORKS, {NETWORK.fingerprint: entry})
    (picture,) = study_facts(store)[0].sections[0].widths
    assert picture.title == "−50 % MACs, allocated"
    assert picture.before == tuple(WHOLE_WIDTHS[:2])
    assert picture.rows == {"uniform": tuple(CUT_WIDTHS[:2]), "l1": tuple(CUT_WIDTHS[:2])}
    assert [picture.style(name) for name in picture.rows] == [UNPRUNED, style("l1")]


def test_every_criterion_has_a_marker_of_its_own() -> None:
    styles = [style(name) for name in (*_ORDER, "torch-pruning:lamp")]
    assert len({*styles, UNPRUNED}) == len(styles) + 1
    assert max(styles) < COLORS == len(SHAPES)
    assert style("torch-pruning:lamp") == style("mine")


def test_a_peer_looks_like_what_it_imitates_but_hollow(tmp_path: Path) -> None:
    store = stored(study_of("l1", "l2", "torch-pruning:l2"), tmp_path / "s")
    facts = study_facts(store)[0]
    rows = {row.name: row for row in facts.claims[0].pictures[0].rows}
    ours, peers = rows["l2"], rows["torch-pruning:l2"]
    assert (ours.style, ours.hollow, peers.style, peers.hollow) == (style("l2"), False, style("l2"), True)
    assert is_peer(peers.name)
    assert f'class="c{style("l2")} hollow"' in render_study(facts)


def test_a_series_of_every_style_is_drawn_in_its_own() -> None:
    assert [css(Series(str(i), (), i)) for i in range(COLORS)] == [f"c{i}" for i in range(COLORS)]


def _entry(seconds: float, **device: str) -> dict[str, Any]:
    times = {"batch": 64, "before": {"median": 1.0}, "after": {"median": seconds}}
    machine = {"torch": "2", "processor": "EPYC", "accelerator": "H100"}
    return {"rows": [times], "machine": machine, **device}


def test_latency_is_shown_of_the_device_that_it_was_measured_on(tmp_path: Path) -> None:
    store = stored(study_of("l1", "l2"), tmp_path / "s")
    of_cpu = {latency_key(NETWORK, CUT_WIDTHS, "cpu"): _entry(0.5)}  # the first ones named no device
    of_gpu = {latency_key(NETWORK, CUT_WIDTHS, "cuda"): _entry(0.8, device="cuda")}
    for latencies, shown in (
        (of_cpu, {"EPYC": 50.0}),
        (of_gpu, {"H100": 80.0}),
        (of_cpu | of_gpu, {"EPYC": 50, "H100": 80}),
    ):
        write_json(store.path / LATENCY, latencies)
        plots = study_facts(store)[0].sections[0].costs
        assert len(plots) == len(shown)
        for plot, (machine, share) in zip(plots, shown.items(), strict=True):
            assert machine in plot.caption
            assert plot.series[0].points[0].x == pytest.approx(share)


def test_differences_are_small_plots_a_criterion_each_on_the_same_axes(tmp_path: Path) -> None:
    by_name = {"l1": 0.7, "l2": 0.65, "nuclear": 0.75, "": 0.9}
    budgets = {"macs=0.5": 50, "macs=0.6": 60, "cfg1": 70, "cfg2": 80}
    study = study_of("l1", "nuclear", "l2", budgets=tuple(budgets), arms=("repaired",))
    store = stored(study, tmp_path / "s", lambda cell: by_name[cell.criterion])
    for cell in study.cells():  # recipes of other sizes than the budgets
        row = record(cell, by_name[cell.criterion])
        row["outcome"]["macs"] = [100, budgets.get(cell.budget, 100)]
        store.keep(row)
    facts = study_facts(store)[0]
    (repaired,) = facts.sections[0].differences
    assert (repaired.title, [panel.title for panel in repaired.panels]) == ("repaired", ["nuclear", "l2"])
    steps, recipes = repaired.panels[0].series
    assert [(point.x, point.y) for point in steps.points] == [(50, pytest.approx(5)), (60, pytest.approx(5))]
    assert [point.x for point in recipes.points] == [70, 80]
    assert (steps.line, recipes.line) == (True, False)  # recipes are no steps of one budget
    assert [series.name for series in repaired.series] == [steps.name, recipes.name]
    page = render_study(facts)
    assert page.count(f"</svg>{escape(recipes.name)}</li>") == 1  # one legend
    assert page.count('<div class="multiples">') == 1


def test_what_a_budget_costs_is_drawn_of_the_reference_alone_a_color_per_arm(tmp_path: Path) -> None:
    arms, schemes, budgets = ("repaired", "pruned only"), ("allocated", "uniform"), ("macs=0.5", "macs=0.6")
    store = stored(study_of("l1", "l2", arms=arms, schemes=schemes, budgets=budgets), tmp_path / "s")
    write_json(store.path / LATENCY, {latency_key(NETWORK, CUT_WIDTHS, "cpu"): _entry(0.5)})
    by_macs, by_time = study_facts(store)[0].sections[0].costs
    panels = [panel_title(Setting("", arm, scheme, "")) for arm in arms[::-1] for scheme in schemes[::-1]]
    for plot, joined in ((by_macs, True), (by_time, False)):  # time does not fall with every budget
        *series, unpruned = plot.series
        assert [row.name for row in series] == panels
        assert [row.line for row in series] == [joined] * 4
        assert [row.style for row in series[:2]] == [series[0].style] * 2 != [series[2].style] * 2
        assert not any("l2" in point.text for row in series for point in row.points)
        assert unpruned.points[0].x == 100


def test_a_runs_series_come_in_the_order_of_the_pictures(tmp_path: Path) -> None:
    arms, schemes = ("repaired", "pruned only"), ("allocated", "uniform")
    store = stored(study_of("l1", "l2", arms=arms, schemes=schemes), tmp_path / "s")
    titles = [series.name for series in points_of_network(store, NETWORK.fingerprint)]
    assert titles == [panel_title(Setting("", arm, scheme, "")) for arm in arms[::-1] for scheme in schemes[::-1]]


def test_budgets_go_from_much_that_is_left_to_little() -> None:
    ordered = ["macs=0.8", "macs=0.5", "macs=0.35", "macs=0.05", "macs=1e-03", "cfg1", "cfg2", "cfg10"]
    assert sorted({*ordered}, key=budget_rank) == ordered


def test_a_difference_is_called_alike_everywhere() -> None:
    assert [verdict(Interval(value, value - 0.01, value + 0.01)) for value in (0.02, -0.02, 0.005)] == [
        "better",
        "worse",
        "noise",
    ]
    assert bounds(Interval(0, -0.0123, 0.02)) == "[−1.23, +2.00]"


def test_random_is_random_whoever_draws() -> None:
    cells = [Cell(NETWORK, name, "macs=0.5", "uniform") for name in ("random", "torch-pruning:random", "l1")]
    assert [cell.is_random for cell in cells] == [True, True, False]
    study = study_of("torch-pruning:random", random_seeds=3)
    records = [record(cell, 0.5) for cell in study.cells()]
    assert arms_of(study, records, summarize(records, "l1")) == {"pruned only": "pruned weights; random scores 3 seeds"}


@pytest.mark.parametrize("criterion", ["l1", "random"])
def test_one_cell_has_its_table_though_no_picture(criterion: str, tmp_path: Path) -> None:
    facts = study_facts(stored(study_of(criterion), tmp_path / "s"))[0]
    (section,) = facts.sections
    assert (section.costs, section.differences) == ((), ())
    assert [entry.text for _, entries in section.tables[-1].rows for entry in entries] == ["80.00"]
    assert "80.00" in render_study(facts)


def test_a_reference_that_is_not_there_is_told(tmp_path: Path) -> None:
    facts = study_facts(stored(study_of("nuclear", "fpgm"), tmp_path / "s"))[0]
    assert "l1, the reference, is not among" in facts.review["within noise"]
    assert "--reference" in facts.review["within noise"]
    assert not any("l1" in table.caption for table in facts.sections[0].tables)
    together = study_facts(stored(study_of("nuclear", "l1"), tmp_path / "t"))[0]
    assert together.review["within noise"] == "1 of 1 differences to l1"


def test_kept_channels_are_pictured_of_the_budget_nearest_to_half_of_the_macs(tmp_path: Path) -> None:
    study = study_of("l1", schemes=("global", "allocated"), budgets=("macs=0.2", "macs=0.35", "params=0.9"))
    store = stored(study, tmp_path / "s")
    for cell in study.cells():
        row = record(cell, 0.5)
        row["outcome"]["macs"] = [100, round(100 * float(cell.budget.partition("=")[2] or 1))]
        store.keep(row)
    entry = {"layers": ["a", "b", "fc"], "cut": ["a", "b"], "criteria": [], "tau": []}
    write_json(store.path / NETWORKS, {NETWORK.fingerprint: entry})
    pictures = study_facts(store)[0].sections[0].widths
    assert [picture.title for picture in pictures] == ["−65 % MACs, allocated", "−65 % MACs, global"]


@pytest.mark.parametrize("split", ["test", "validation"])
def test_pictures_say_whose_images_they_are_of(split: str, tmp_path: Path) -> None:
    store = stored(replace(study_of("l1", "l2", budgets=("macs=0.5", "macs=0.6")), split=split), tmp_path / "s")
    write_json(store.path / LATENCY, {latency_key(NETWORK, CUT_WIDTHS, "cpu"): _entry(0.5)})
    (section,) = study_facts(store)[0].sections
    assert {plot.y_label for plot in section.costs} == {f"top-1 accuracy, % of {split} images"}
    assert f"{split} images" in section.costs[0].caption
    assert f"{split} accuracy" in section.differences[0].panels[0].y_label


def test_points_of_other_images_are_not_drawn_among_a_runs(tmp_path: Path) -> None:
    store = stored(replace(study_of("l1", "l2"), split="validation"), tmp_path / "s")
    with pytest.raises(ReconvError, match="validation images"):
        points_of_network(store, NETWORK.fingerprint)


def test_epochs_are_counted_in_words() -> None:
    assert str(Arm("mine", (Finetune("short", 1),))).endswith("for 1 epoch")
    assert str(Arm("mine", (Finetune("short", 2),))).endswith("for 2 epochs")
    assert str(Arm("mine", (Finetune("short"),))).endswith("for its own number of epochs")


def test_seeds_that_are_not_the_same_are_no_pairs() -> None:
    def interval_with(seeds: range) -> Interval:
        cells = study_of("l2", "l1", arms=("recalibrated",), seeds=9).cells()
        rows = [record(cell, 0.9 - 0.1 * (cell.seed % 3)) for cell in cells if cell.criterion == "l1" and cell.seed < 3]
        rows += [record(c, 0.9 - 0.1 * (c.seed % 3)) for c in cells if c.criterion == "l2" and c.seed in seeds]
        result = next(line for line in summarize(rows, "l1").lines if line.criterion == "l2").difference
        assert result is not None
        return result

    assert interval_with(range(3)) == Interval(0, 0, 0)
    others = interval_with(range(3, 6))  # right on the same images, but seeds of their own
    assert others.low < 0 < others.high


_BETTER, _WORSE, _NOISE = Interval(0.02, 0.01, 0.03), Interval(-0.04, -0.05, -0.03), Interval(0.001, -0.06, 0.06)


def _pooled(verdicts: dict[tuple[str, str], Interval]) -> Summary:
    rows = (Pooled("net", arm, criterion, difference, 1, 0, 0) for (arm, criterion), difference in verdicts.items())
    return Summary((), tuple(rows), {})


def test_findings_name_every_criterion_from_the_best_on_and_none_that_was_not_tried(tmp_path: Path) -> None:
    by_name = {"l1": 0.7, "l2": 0.7, "nuclear": 0.75, "activation": 0.75, "random": 0.2, "": 0.9}
    study = study_of("l1", "l2", "nuclear", "activation", "random")
    facts, summary, _ = study_facts(stored(study, tmp_path / "s", lambda cell: by_name[cell.criterion]))
    claim, lead, text = facts.findings
    assert claim == (
        "In 1 of 1 combination of network and arm, the paper's norm that was tried (nuclear) beats L1 beyond noise."
    )
    assert lead == "In brackets: the difference to l1 in points of accuracy, mean over budgets and schemes."
    interval = next(bounds(row.difference) for row in summary.pooled if row.criterion == "nuclear")
    assert text == (
        f"net, pruned only: activation is best (+5.00 {interval}). Cannot be told from it: nuclear (+5.00). Behind it "
        "beyond noise: l1 (reference), l2 (+0.00) and random (−50.00)."
    )
    other = findings(summary, replace(study, reference="l2"))  # the paper's claim is about l1
    assert not any("paper" in text for text in other)


def test_what_was_tried_in_fewer_settings_is_compared_where_it_was_tried() -> None:
    full = study_of("l1", "nuclear", budgets=("macs=0.5", "macs=0.6"))
    part = study_of("torch-pruning:l2", budgets=("macs=0.6",))
    at_budget = {"macs=0.5": {"l1": 0.5, "nuclear": 0.6}, "macs=0.6": {"l1": 0.8, "nuclear": 0.7}}
    rows = [record(cell, at_budget.get(cell.budget, {}).get(cell.criterion, 0.9)) for cell in full.cells()]
    rows += [record(cell, 0.85) for cell in part.cells() if cell.criterion]
    summary = summarize(rows, "l1")
    standing = {row.criterion: row for row in summary.standings}["torch-pruning:l2"]
    assert standing.settings == 1
    text = findings(summary, full)[-1]
    assert "Tried in fewer settings, and ahead of it there: torch-pruning:l2 (+5.00)." in text


def test_the_papers_claim_is_counted() -> None:
    arms = {"a": (_BETTER, _BETTER), "b": (_BETTER, _WORSE), "c": (_NOISE, _WORSE)}
    rows = {(arm, name): row for arm, pair in arms.items() for name, row in zip(("spectral", "nuclear"), pair)}
    assert findings(_pooled(rows), study_of("l1"))[0] == (
        "In 1 of 3 combinations of network and arm, each of the paper's norms that were tried there (spectral and "
        "nuclear) beats L1 beyond noise; in 1 some do, in 1 none does."
    )


@pytest.mark.parametrize(
    ("budgets", "messages"),
    [
        ((), ""),
        (("macs=0.5",), ", and are not corrected for 1 comparison"),
        (
            tuple(f"macs=0.{i}" for i in range(10, 50)),
            ", and are not corrected for 40 comparisons, of which about 2 would be beyond noise by chance alone",
        ),
    ],
)
def test_what_chance_would_bring_is_told(budgets: tuple[str, ...], messages: str) -> None:
    study = study_of("l1", "l2", budgets=budgets) if budgets else study_of("l1")
    records = [record(cell, 0.5) for cell in study.cells()]
    arguments = review_of(study, records, summarize(records, "l1"))["intervals"]
    assert arguments.endswith("other trained networks or data sets" + messages)


def test_an_arm_is_told_with_its_epochs_and_seeds() -> None:
    study = study_of("l1", "random", arms=("short fine-tune", "pruned only"), seeds=2, random_seeds=3)
    records = [record(cell, 0.5) for cell in study.cells()]
    assert arms_of(study, records, summarize(records, "l1")) == {
        "pruned only": "pruned weights; 1 seed, random scores 3 seeds",
        "short fine-tune": "pruned weights, trained by the protocol short for 2 epochs; 2 seeds, random scores 3 seeds",
    }


def test_every_line_stands_beside_the_control_of_its_own_setting(tmp_path: Path) -> None:
    control = Arm("control", (Reinitialize(), Finetune("short")))
    grids = (
        Grid(("net",), ("l1", "l2"), ("macs=0.5", "macs=0.6"), arms=("pruned only", "recalibrated")),
        Grid(("net",), ("l1",), ("macs=0.5",), arms=("control",), seeds=2),
    )
    study = replace(study_of("l1"), grids=grids, arms=(control,))
    accuracies = {"unpruned": 0.95, "pruned only": 0.5, "recalibrated": 0.9, "control": 0.8}
    store = stored(study, tmp_path / "s", lambda cell: accuracies[cell.arm.name])
    facts, summary, _ = study_facts(store)
    result = {(row.setting.budget, row.setting.arm, row.criterion): row for row in summary.controls}
    assert set(result) == {("macs=0.5", arm, name) for arm in ("pruned only", "recalibrated") for name in ("l1", "l2")}
    for (_, arm, _), row in result.items():
        assert (row.arm, row.accuracy.value) == ("control", pytest.approx(0.8))
        assert row.difference.value == pytest.approx(accuracies[arm] - 0.8)
        # All are right on the first images: between the two, every image is one way or the other.
        assert row.difference.low < row.difference.value < row.difference.high
        assert row.difference.excludes_zero
    messages = facts.findings[-1]
    assert messages.startswith(
        "net, −50 % MACs, uniform, the control: control comes to 80.00 %; against it, l1 pruned only −30.00 ["
    )
    assert "recalibrated +10.00 [" in messages
    table = next(table for table in facts.sections[0].tables if "difference to control" in table.title)
    assert (table.columns, [name for name, _ in table.rows]) == (("pruned only", "recalibrated"), ["l1", "l2"])
    assert [entry.kind for entry in table.rows[0][1]] == ["worse", "better"]


def test_a_line_stands_beside_its_own_criterions_control_if_there_is_one(tmp_path: Path) -> None:
    control = Arm("control", (Reinitialize(), Finetune("short")))
    grids = (
        Grid(("net",), ("l1", "l2", "fpgm"), ("macs=0.5",), arms=("pruned only",)),
        Grid(("net",), ("l1", "l2"), ("macs=0.5",), arms=("control",)),
    )
    by_name = {"l1": 0.8, "l2": 0.7, "fpgm": 0.0, "": 0.9}
    store = stored(
        replace(study_of("l1"), grids=grids, arms=(control,)),
        tmp_path / "s",
        lambda cell: by_name[cell.criterion] if cell.arm is control or cell.is_unpruned else 0.5,
    )
    facts, summary, _ = study_facts(store)
    assert {row.criterion: row.difference.value for row in summary.controls} == pytest.approx(
        {"l1": -0.3, "l2": -0.2, "fpgm": -0.3}
    )
    (table,) = (table for table in facts.sections[0].tables if "difference to control" in table.title)
    assert "(70.00 % to 80.00 %)" in table.caption


def test_without_a_control_none_is_told_of(tmp_path: Path) -> None:
    facts, summary, _ = study_facts(stored(study_of("l1", "l2"), tmp_path / "s"))
    assert summary.controls == ()
    assert not any("control" in text for text in facts.findings)


def test_a_claim_is_pictured_arm_by_arm_with_the_table_s_numbers(tmp_path: Path) -> None:
    by_name = {"l1": 0.7, "l2": 0.65, "nuclear": 0.75, "": 0.9}
    study = study_of("l1", "nuclear", "l2", arms=("pruned only", "recalibrated"))
    (claim,) = study_facts(stored(study, tmp_path / "s", lambda cell: by_name[cell.criterion]))[0].claims
    assert tuple(picture.title for picture in claim.pictures) == claim.table.columns == ("pruned only", "recalibrated")
    for picture in claim.pictures:
        assert [row.name for row in picture.rows] == [name for name, _ in claim.table.rows] == ["nuclear", "l2"]
        assert [row.value for row in picture.rows] == pytest.approx([5, -5])
        assert [row.style for row in picture.rows] == [style("nuclear"), style("l2")]


def test_a_report_is_made_again_from_what_is_kept_until_the_results_change(tmp_path: Path) -> None:
    store = stored(study_of("l1", "l2", budgets=("macs=0.5", "macs=0.6")), tmp_path / "s")
    assert kept_facts(store.path) is None
    facts = study_facts(store)[0]
    keep_facts(facts, store.path)
    kept = kept_facts(store.path)
    assert kept == facts
    assert kept is not None
    assert render_study(kept) == render_study(facts)
    for cell in study_of("l2").cells():
        store.keep(record(cell, 0.1))
    assert kept_facts(store.path) is None

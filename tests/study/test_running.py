"""A study computes each cell once; how, in which order and how often it was interrupted do not show in the results."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from outcome import outcomes

from reconv.errors import ReconvError
from reconv.files import write_json
from reconv.steps import Finetune
from reconv.study import ARMS, Cell, Network, Store, Study, StudyLog, load_study, measures, run_study, study_facts
from reconv.study.compute import compute
from reconv.study.context import _context
from reconv.study.design import study_from_json
from reconv.study.runner import identify
from reconv.study.tables import current, summarize, tidy
from reconv.training import device_named


class _StopAfter(StudyLog):
    def __init__(self, cells: int) -> None:
        self.left = cells

    def done(self, cell: Cell, accuracy: float | None, seconds: float, why: str) -> None:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def finished(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Store:
    from reconv.study import Grid

    grid = Grid(
        ("net",), ("l1", "random"), ("macs=0.5",), ("uniform",), ("pruned only", "recalibrated"), random_seeds=2
    )
    return run_study(Study("small", (network,), (grid,)), tmp_path_factory.mktemp("s") / "study").store


def test_interrupted_and_resumed_is_as_uninterrupted(study: Study, finished: Store, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_study(study, tmp_path / "s", log=_StopAfter(3))
    assert len(Store(tmp_path / "s").records()) == 3
    done = run_study(study, tmp_path / "s")
    assert (done.cached, done.computed) == (3, len(study.cells()) - 3)
    assert outcomes(done.store.records()) == outcomes(finished.records())
    again = run_study(study, tmp_path / "s")
    assert again.computed == 0


def test_a_grown_study_computes_only_what_is_new(study: Study, finished: Store, tmp_path: Path) -> None:
    finished.copy_to(tmp_path / "s")  # packed: one file
    grown = replace(study, grids=(replace(study.grids[0], criteria=("l1", "random", "fpgm")),))
    done = run_study(grown, tmp_path / "s")
    assert done.computed == 2
    assert set(outcomes(finished.records())) < set(done.store.records())


def test_sharing_work_does_not_change_results(study: Study, finished: Store) -> None:
    identified = finished.records()
    for cell in identify(study).cells()[:-4:-1]:
        _context.cache_clear()
        assert compute(cell)["outcome"] == identified[cell.key]["outcome"]


@pytest.mark.slow
def test_processes_give_the_same(study: Study, finished: Store, tmp_path: Path) -> None:
    done = run_study(study, tmp_path / "s", jobs=2)
    assert outcomes(done.store.records()) == outcomes(finished.records())


def test_what_cannot_be_is_told_and_the_rest_goes_on(study: Study, tmp_path: Path) -> None:
    grid = replace(study.grids[0], criteria=("l1",), budgets=("macs=0.001", "macs=0.6"), arms=("pruned only",))
    done = run_study(replace(study, grids=(grid,)), tmp_path / "s")
    assert [cell.budget for cell, _ in done.failed] == ["macs=0.001"]
    assert "have to stay" in done.failed[0][1]
    assert done.computed == 2


def test_files_that_are_not_the_studys_are_refused(network: Network) -> None:
    identified = identify(_one(network)).networks[0]
    with pytest.raises(ReconvError, match="not those of the study"):
        compute(Cell(replace(identified, fingerprint="0" * 64)))


def test_ctrl_c_says_the_same_command(
    network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from reconv.cli import study_out
    from reconv.cli.app import main

    monkeypatch.setattr(study_out, "Lines", lambda: _StopAfter(1))
    arguments = ["study", "--model", "resnet20", "--weights", str(network.weights), "--data-set", "digits", "-c", "l1"]
    assert main([*arguments, "--save-path", str(tmp_path / "s")]) == 130
    messages = capsys.readouterr().err
    assert f"--save-path {tmp_path / 's'}" in messages
    assert "--resume" not in messages


def test_a_folder_of_something_else_is_refused(study: Study, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(ReconvError, match="no study"):
        run_study(study, tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "x"


def test_a_broken_cell_is_named(finished: Store, tmp_path: Path) -> None:
    finished.copy_to(tmp_path / "s")
    broken = tmp_path / "s" / "cells" / ("a" * 64 + ".json")
    broken.parent.mkdir()
    for text in ("{", "[]", '{"key": "b"}'):
        broken.write_text(text)
        with pytest.raises(ReconvError, match=r"aaa\.json"):
            Store(tmp_path / "s").records()


@pytest.mark.slow
@pytest.mark.parametrize("arm", ["repaired", "short fine-tune", "repaired, short fine-tune", "from scratch"])
def test_every_arm(arm: str, network: Network) -> None:
    short = Finetune("digits-finetune", 1)
    steps = tuple(short if isinstance(step, Finetune) else step for step in ARMS[arm].after)
    changed = replace(ARMS[arm], images=32, after=steps)
    identified = identify(_one(network))
    criterion = "activation" if arm == "repaired" else "nuclear"
    cell = Cell(identified.networks[0], criterion, "macs=0.5", "allocated", changed)
    outcome = compute(cell)["outcome"]
    assert outcome["macs"][1] <= 0.5 * outcome["macs"][0]
    assert len(outcome["history"]) == (1 if changed.training else 0)
    assert compute(cell)["outcome"] == outcome
    if arm == "short fine-tune":
        teaching = replace(changed, after=(Finetune("digits-finetune", 1, teacher="base"),))
        taught = compute(replace(cell, arm=teaching))["outcome"]
        assert taught["history"][0]["loss"] != outcome["history"][0]["loss"]


@pytest.mark.slow
def test_the_peer_meets_the_budget_by_our_count(network: Network) -> None:
    pytest.importorskip("torch_pruning")
    identified = identify(_one(network))
    for criterion in ("torch-pruning:l1", "torch-pruning:random"):
        outcome = compute(Cell(identified.networks[0], criterion, "macs=0.5", "uniform", ARMS["pruned only"]))[
            "outcome"
        ]
        assert outcome["macs"][1] <= 0.5 * outcome["macs"][0]
        assert outcome["images"] == 360


def _one(network: Network) -> Study:
    from reconv.study import Grid

    return Study("one", (network,), (Grid(("net",), ("l1",), ("macs=0.5",)),))


def test_tables_have_every_seed_and_the_summary_its_intervals(finished: Store) -> None:
    records = current(finished.records(), study_from_json(finished.study).cells())
    rows = tidy(records)
    assert len(rows) == len(records)
    assert sorted({row["seed"] for row in rows if row["criterion"] == "random"}) == [0, 1]
    summary = summarize(records, "l1")
    drawn = next(x for x in summary.lines if x.criterion == "random" and x.setting.arm == "pruned only")
    seeds = [row["accuracy"] for row in rows if row["criterion"] == "random" and row["arm"] == "pruned only"]
    assert drawn.accuracy.value == pytest.approx(sum(seeds) / 2)
    assert drawn.seeds == (0, 1)
    assert drawn.difference is not None
    reference = next(row for row in rows if row["criterion"] == "l1" and row["arm"] == "pruned only")
    assert drawn.difference.value == pytest.approx(sum(seeds) / 2 - reference["accuracy"])
    assert drawn.difference.low <= drawn.difference.value <= drawn.difference.high


def test_networks_are_described_once(study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scored: list[list[str]] = []
    real = measures._taus
    monkeypatch.setattr(measures, "_taus", lambda context, criteria: scored.append(criteria) or real(context, criteria))
    store = Store(tmp_path)

    def describe(*criteria: str) -> dict[str, Any]:
        grids = (replace(study.grids[0], criteria=criteria),)
        measures.describe_networks(identify(replace(study, grids=grids)), store, "cpu")
        return store.read(measures.NETWORKS)

    (entry,) = describe("l1", "random").values()
    assert describe("random") == describe("l1", "random")
    assert scored == [["l1", "random"]]
    (grown,) = describe("fpgm", "l1").values()
    assert scored[1:] == [grown["criteria"]] == [["l1", "random", "fpgm"]]
    assert [row[:2] for row in grown["tau"][:2]] == entry["tau"]
    write_json(store.path / measures.NETWORKS, {"e" * 64: entry} | store.read(measures.NETWORKS))
    assert "e" * 64 in describe("l2")


def test_a_latency_is_known_by_the_device_whatever_it_was_called(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measures, "_SECONDS", 0.01)
    device = str(device_named("auto"))
    timed, grid = replace(study, latency=True), replace(study.grids[0], criteria=("l1",), arms=("pruned only",))
    result = []
    for name in (device, "auto"):
        run_study(replace(timed, grids=(grid,)), tmp_path, device=name)
        result.append(Store(tmp_path).read(measures.LATENCY))
    assert result[0] == result[1]
    assert [entry["device"] for entry in result[0].values()] == [device_named("auto").type]


def test_random_weights_are_told(study: Study, tmp_path: Path) -> None:
    messages: list[str] = []
    progress = StudyLog()
    progress.note = messages.append  # type: ignore[method-assign]
    untrained = replace(study.networks[0], weights=None)
    grid = replace(study.grids[0], criteria=("l1",), arms=("pruned only",))
    for network in (study.networks[0], untrained):
        run_study(replace(study, networks=(network,), grids=(grid,)), tmp_path / str(len(messages)), log=progress)
    assert len(messages) == 1
    assert "random" in messages[0]


def test_the_report_says_what_a_reviewer_asks_for(finished: Store) -> None:
    facts, _, _ = study_facts(finished)
    required = {"base accuracy", "MACs", "split", "seeds", "intervals", "within noise", "model selection"}
    assert required <= set(facts.review)
    assert "test" in facts.review["split"]
    assert facts.sections[0].agreement is not None
    assert facts.sections[0].agreement.values[0][0] == pytest.approx(1)


def test_the_command_writes_tables_and_report(
    network: Network, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from reconv.cli.app import main

    arguments: list[Any] = ["study", "--model", "resnet20", "--weights", network.weights, "--data-set", "digits"]
    arguments += [
        "-c",
        "nuc",
        "-c",
        "l1",
        "-b",
        "macs=0.5",
        "--arm",
        "pruned-only",
        "--latency",
        "--save-path",
        tmp_path / "s",
    ]
    assert main([*map(str, arguments), "--pack", str(tmp_path / "packed")]) == 0
    out = capsys.readouterr().out
    for text in ("difference", "is best", "report"):
        assert text in out
    with (tmp_path / "s" / "results.csv").open() as lines:
        assert len(list(csv.DictReader(lines))) == 3
    assert json.loads((tmp_path / "s" / "summary.json").read_text())["lines"]
    assert "time of 64 images" in (tmp_path / "s" / "report.html").read_text()
    assert {"cells.jsonl", "results.csv", "summary.json", "report.html"} <= {
        path.name for path in (tmp_path / "packed").iterdir()
    }
    tables = load_study(tmp_path / "packed")
    assert len(tables.cells) == 3
    assert (tmp_path / "s" / "summary.csv").read_text() == tables.to_csv()
    assert (tmp_path / "s" / "summary.tex").read_text() == tables.to_latex()
    assert main(["report", str(tmp_path / "packed"), "-o", str(tmp_path / "again.html")]) == 0
    assert (tmp_path / "again.html").is_file()


def test_tables_alone_compute_nothing_and_ask_what_the_file_asks(
    finished: Store, network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from reconv.cli.app import main
    from reconv.study import executors

    monkeypatch.setattr(executors, "compute", None)
    finished.copy_to(tmp_path / "s")
    store = Store(tmp_path / "s")
    assert main(["study", "--tables", "-o", str(store.path)]) == 0
    assert store.study == finished.study
    (tmp_path / "f.toml").write_text(
        f"""
title = "other words"
reference = "random"
[networks.renamed]
model = "resnet20"
weights = "{network.weights}"
data_set = "digits"
arguments = {{ shortcut = "stride" }}
[[grids]]
criteria = ["l1", "random"]
budgets = ["macs=0.5"]
random_seeds = 3
"""
    )
    assert main(["study", str(tmp_path / "f.toml"), "--tables", "-o", str(store.path)]) == 0
    assert store.study["title"] == "other words"
    lines = json.loads((store.path / "summary.json").read_text())["lines"]
    assert {line["setting"]["network"] for line in lines} == {"renamed"}
    assert {line["criterion"]: line["difference"] is not None for line in lines} == {"l1": True, "random": False}
    assert [line["seeds"] for line in lines if line["criterion"] == "random"] == [[0, 1], [0, 1]]


def test_a_network_by_name_starts_where_a_run_starts() -> None:
    from reconv.cli.study import Request, _network
    from reconv.zoo import find_trained

    shipped = find_trained("resnet20", "CIFAR10")
    assert shipped is not None
    assert _network("resnet20", Request(), None).weights == str(shipped.weights)
    assert _network("resnet20", Request(weights="w.pth"), None).weights == "w.pth"
    assert _network("resnet20", Request(weights="none"), None).weights is None
    with pytest.raises(ReconvError, match="--weights"):
        _network("resnet56", Request(), None)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["study"], "TOML file"),
        (["study", "missing.toml"], "missing.toml"),
        (["study", "s.toml", "--model", "resnet20"], "one of them"),
        (["study", "s.toml", "-b", "macs=0.5", "--seeds", "2", "--no-latency"], "--budget, --seeds, --latency"),
        (["study", "--tables", "--reference", "l2"], "--reference"),
        (["study", "--tables"], "--save-path"),
        (["study", "--tables", "--save-path", "nowhere"], "no study"),
        (["study", "--model", "resnet20", "--data-set", "digits"], "--weights F"),
        (["study", "--model", "resnet20", "--executor", "slurm"], "ray"),
        (["study", "--model", "resnet20", "--jobs", "0"], "at least 1"),
        (["report", "nowhere"], "neither"),
        (["compare", "resnet20", "resnet20"], "--data-set"),
        (["compare", "resnet20", "resnet57", "-d", "digits"], "resnet57"),
    ],
)
def test_bad_words_are_one_line(arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    from reconv.cli.app import main

    assert main(arguments) == 2
    messages = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert len(messages) == 1
    assert text in messages[0]

"""Iterative pruning: the same verbs in a loop, one cut in the end, resumed to the same bits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from test_runs import StopAt, fingerprint, unmeasured, with_steps

from reconv.artifacts import load
from reconv.compression import Compression
from reconv.plan import Budget, Limits
from reconv.runs import RunConfig, RunOptions, RunResult, run
from reconv.steps import Finetune, Recalibrate, Repair, Step, TrainConfig
from reconv.surgery import prune

TINY = RunConfig(
    arguments={"widths": (8, 12, 16)},
    base=TrainConfig("default", 1),
    compression=Compression(
        "l1",
        budget=Budget(macs=0.4),
        rounds=3,
        between=Finetune("default-between", 1),
        after=(Finetune(epochs=1),),
    ),
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    return run(TINY, tmp_path_factory.mktemp("rounds") / "run", RunOptions(measure=True))


def test_every_round_takes_the_same_share(whole: RunResult) -> None:
    rounds = whole.facts.rounds
    assert [row.number for row in rounds] == [1, 2, 3]
    before = whole.facts.before.macs
    for row in rounds:
        share = 0.4 ** (row.number / 3)
        assert 0.85 * share * before < row.macs <= share * before
        assert row.pruned_only is not None
        assert row.after is not None
    assert rounds[-1].macs == whole.facts.after.macs
    stages = [row.stage for row in whole.facts.stages]
    assert [stage for stage in stages if "choose" in stage or stage in ("round 1", "round 2", "fine-tuning")] == [
        "round 1: choose and prune",
        "round 1",
        "round 2: choose and prune",
        "round 2",
        "round 3: choose and prune",
        "fine-tuning",
    ]


def test_all_rounds_are_one_plan_for_the_network_before(whole: RunResult) -> None:
    at_once = prune(whole.base, whole.plan)
    shapes = {name: tuple(value.shape) for name, value in whole.model.state_dict().items()}
    assert {name: tuple(value.shape) for name, value in at_once.state_dict().items()} == shapes
    assert whole.plan.macs == (whole.facts.before.macs, whole.facts.after.macs)
    saved = load(whole.folder / "model")
    assert {name: tuple(value.shape) for name, value in saved.state_dict().items()} == shapes


def test_the_report_and_the_metrics_list_them(whole: RunResult) -> None:
    told = json.loads((whole.folder / "metrics.json").read_text())["rounds"]
    assert [row["macs"] for row in told] == [row.macs for row in whole.facts.rounds]
    report = (whole.folder / "report.html").read_text()
    assert "Round by round" in report
    assert "round 2: loss" in report
    for number in (1, 2):
        assert load(whole.folder / "rounds" / str(number)) is not None
    assert not list(whole.folder.glob("training/*/*.safetensors"))


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["round 1", "round 2: choose and prune"])
def test_interrupted_and_resumed_is_as_uninterrupted(stage: str, whole: RunResult, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(TINY, tmp_path / "run", unmeasured(log=StopAt(stage)))
    resumed = run(TINY, tmp_path / "run", unmeasured(resume=True))
    assert fingerprint(tmp_path / "run") == fingerprint(whole.folder)
    assert resumed.facts.rounds == whole.facts.rounds


@pytest.mark.slow
@pytest.mark.parametrize(("step", "title"), [(Repair(50), "repair"), (Recalibrate(50), "recalibrate BatchNorm")])
def test_each_round_is_repaired(step: Step, title: str, tmp_path: Path) -> None:
    budget = Budget(params=0.5, channels=0.8)
    config = with_steps(TINY, step, Finetune(epochs=1), rounds=2, budget=budget, coupled=True)
    facts = run(config, tmp_path / "run", unmeasured()).facts
    assert [row.stage for row in facts.stages if title in row.stage] == [f"round 1: {title}", title]
    assert facts.after.parameters <= 0.5 * facts.before.parameters


def test_limits_are_of_the_network_before_the_first_round(tmp_path: Path) -> None:
    limits = Limits(multiple=2, most={"layer1.*": 0.5})
    config = with_steps(TINY, base_epochs=0, between=Finetune("short", 0), budget=Budget(macs=0.5), limits=limits)
    model = run(config, tmp_path / "run", unmeasured()).model
    widths = {name: module.out_channels for name, module in model.named_modules() if hasattr(module, "out_channels")}
    assert all(width % 2 == 0 for width in widths.values())
    assert min(width for name, width in widths.items() if name.startswith("layer1")) == 4  # of 8


@pytest.mark.parametrize("scheme", ["uniform", pytest.param("allocated", marks=pytest.mark.slow)])
def test_bytes_are_approached_in_rounds(scheme: str, tmp_path: Path) -> None:
    budget = Budget(memory=0.7, size=45_000)
    options = {"rounds": 2, "budget": budget, "scheme": scheme, "coupled": True, "images": 50}
    config = with_steps(TINY, base_epochs=0, between=Finetune("short", 0), **options)
    result = run(config, tmp_path / "run", unmeasured())
    assert result.plan.memory is not None
    before, after = result.plan.memory
    assert after <= 0.7 * before
    bytes_of = [(result.folder / part / "weights.safetensors").stat().st_size for part in ("base", "model")]
    assert bytes_of[1] <= 45_000 < 0.8 * bytes_of[0]
    first = result.facts.rounds[0]
    assert result.facts.after.macs < first.macs < result.facts.before.macs

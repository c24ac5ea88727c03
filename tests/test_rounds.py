"""Iterative pruning: the same verbs in a loop, one cut in the end, resumed to the same bits."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reconv.artifacts import load
from reconv.errors import ConfigError
from reconv.pipeline import Cut, Manner, RunConfig, RunResult, Schooling, run
from reconv.plan import Budget, Limits
from reconv.surgery import prune
from test_pipeline import NOTHING_MEASURED, _fingerprint, _StopAt

TINY = RunConfig(
    arguments={"widths": (8, 12, 16)},
    base=Schooling("default", 1),
    between=Schooling("default-between", 1),
    finetune=Schooling("default-finetune", 1),
    cut=Cut("l1", budget=Budget(macs=0.4)),
    rounds=3,
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    return run(TINY, tmp_path_factory.mktemp("rounds") / "run", Manner(measure=True))


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
        "round 1: choose and cut",
        "round 1",
        "round 2: choose and cut",
        "round 2",
        "round 3: choose and cut",
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


@pytest.mark.parametrize("stage", ["round 1", "round 2: choose and cut"])
def test_interrupted_and_resumed_is_as_uninterrupted(stage: str, whole: RunResult, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(TINY, tmp_path / "run", replace(NOTHING_MEASURED, watcher=_StopAt(stage)))
    resumed = run(TINY, tmp_path / "run", replace(NOTHING_MEASURED, resume=True))
    assert _fingerprint(tmp_path / "run") == _fingerprint(whole.folder)
    assert resumed.facts.rounds == whole.facts.rounds


@pytest.mark.parametrize("how", [{"repair": True, "images": 50}, {"recalibrate": 50}])
def test_each_round_is_mended(how: dict[str, Any], tmp_path: Path) -> None:
    config = replace(TINY, rounds=2, cut=Cut("l1", budget=Budget(params=0.5, channels=0.8), coupled=True), **how)
    facts = run(config, tmp_path / "run", NOTHING_MEASURED).facts
    word = "repair" if "repair" in how else "recalibrate BatchNorm"
    assert [row.stage for row in facts.stages if word in row.stage] == [f"round 1: {word}", word]
    assert facts.after.parameters <= 0.5 * facts.before.parameters


def test_limits_are_of_the_network_before_the_first_round(tmp_path: Path) -> None:
    limits = Limits(multiple=2, most={"layer1.*": 0.5})
    cut = Cut("l1", budget=Budget(macs=0.5), limits=limits)
    config = replace(TINY, base=Schooling("default", 0), between=Schooling("short", 0), cut=cut)
    model = run(replace(config, finetune=Schooling("short", 0)), tmp_path / "run", NOTHING_MEASURED).model
    widths = {name: module.out_channels for name, module in model.named_modules() if hasattr(module, "out_channels")}
    assert all(width % 2 == 0 for width in widths.values())
    assert min(width for name, width in widths.items() if name.startswith("layer1")) == 4  # of 8


def test_what_cannot_be_done_in_rounds_is_refused() -> None:
    with pytest.raises(ConfigError, match="rounds: 0; give a whole number of at least 1"):
        replace(TINY, rounds=0)
    with pytest.raises(ConfigError, match="rounds: a recipe says the widths of one cut; give a budget"):
        replace(TINY, cut=Cut("l1", recipe=1))
    with pytest.raises(ConfigError, match="rounds: saved scores are of the network before the first"):
        replace(TINY, cut=Cut("l1", budget=Budget(macs=0.5), scores="s.safetensors"))


@pytest.mark.parametrize(
    ("budget", "said"),
    [
        (
            Budget(channels=100),
            "rounds: they cannot approach channels=100 in steps, .*give a share, such as channels=0.5",
        ),
        (Budget(macs=0.5, latency=3000), "rounds: they cannot approach macs=0.5, latency=3 ms in steps"),
    ],
)
def test_an_amount_whose_whole_is_not_known_is_refused_at_once(budget: Budget, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        replace(TINY, cut=Cut("l1", budget=budget))


@pytest.mark.parametrize("scheme", ["uniform", pytest.param("allocated", marks=pytest.mark.slow)])
def test_bytes_are_approached_in_rounds(scheme: str, tmp_path: Path) -> None:
    cut = Cut("l1", budget=Budget(memory=0.7, size=45_000), scheme=scheme, coupled=True)
    config = replace(TINY, rounds=2, cut=cut, images=50, base=Schooling("default", 0), between=Schooling("short", 0))
    result = run(replace(config, finetune=Schooling("short", 0)), tmp_path / "run", NOTHING_MEASURED)
    assert result.plan.memory is not None
    before, after = result.plan.memory
    assert after <= 0.7 * before
    bytes_of = [(result.folder / part / "weights.safetensors").stat().st_size for part in ("base", "model")]
    assert bytes_of[1] <= 45_000 < 0.8 * bytes_of[0]
    first = result.facts.rounds[0]
    assert result.facts.after.macs < first.macs < result.facts.before.macs

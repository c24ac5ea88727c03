"""Budgets of time, against a fake clock: nothing here depends on how fast this machine is."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reconv.errors import BudgetError, ConfigError
from reconv.graph import trace
from reconv.latency import choose, measure_layers
from reconv.latency.measure import SHARES, candidates
from reconv.plan import Budget, Limits
from reconv.plan import choose as choose_by_costs
from reconv.saliency import score
from reconv.surgery import prune


class Chain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 40, 3), nn.Conv2d(40, 40, 3), nn.Conv2d(40, 10, 1)
        self.norm = nn.BatchNorm2d(40)

    def forward(self, x: Tensor) -> Tensor:
        return self.c(F.relu(self.b(F.relu(self.norm(self.a(x))))).mean((2, 3), keepdim=True))


torch.manual_seed(0)
GRAPH = trace(Chain(), torch.randn(1, 3, 10, 10))
SCORES = score(GRAPH, "l2")


def time_of(model: nn.Module) -> float:
    """A law that a made-up machine follows: microseconds of its convolutions."""
    return sum(5 + 0.01 * m.weight.numel() for m in model.modules() if isinstance(m, nn.Conv2d))


class Clock:
    """Runs on by what the convolutions that were called would take."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        forward = nn.Conv2d.forward

        def timed(module: nn.Conv2d, x: Tensor) -> Tensor:
            self.now += 1e-6 * (5 + 0.01 * module.weight.numel())
            return forward(module, x)

        monkeypatch.setattr(nn.Conv2d, "forward", timed)

    def __call__(self) -> float:
        return self.now


def in_turns(first: nn.Module, second: nn.Module, example: Any) -> tuple[float, float]:
    return time_of(first), time_of(second)


def test_every_pair_of_shares_is_timed_once() -> None:
    groups = [group for group in GRAPH.groups if not group.reason]
    assert len(groups) == 2
    widths = [tuple(int(keep[group.units].sum()) for group in groups) for keep in candidates(GRAPH)]
    each = sorted({width for width, _ in widths})
    assert len(each) == len(SHARES)
    assert sorted(widths) == sorted(itertools.product(each, each))


def test_the_table_gives_back_the_law_that_the_clock_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    table = measure_layers(GRAPH, clock=Clock(monkeypatch))
    for share in (0.9, 0.6, 0.35):
        plan = choose_by_costs(GRAPH, SCORES, Budget(channels=share))
        assert table.microseconds(plan.keep) == pytest.approx(time_of(prune(GRAPH.model, plan)), rel=0.02)


@pytest.mark.parametrize("scheme", ["uniform", "global", "knapsack"])
@pytest.mark.parametrize("budget", [Budget(latency=0.5), Budget(latency=100), Budget(latency=0.6, params=0.7)])
def test_a_budget_of_time_is_met_and_used(monkeypatch: pytest.MonkeyPatch, scheme: str, budget: Budget) -> None:
    table = measure_layers(GRAPH, clock=Clock(monkeypatch))
    plan = choose(GRAPH, SCORES, budget, latency=table, timer=in_turns, scheme=scheme)
    assert plan.latency is not None
    before, after = plan.latency
    assert after <= 1.03 * budget.allowed("latency", before)
    assert after >= 0.9 * budget.allowed("latency", before)
    assert budget.params is None or plan.params[1] <= 0.7 * plan.params[0]
    assert "latency measured in turns" in str(plan)


def test_a_wrong_prediction_is_corrected_by_what_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    table = measure_layers(GRAPH, clock=Clock(monkeypatch))
    calls = []

    def slower(first: nn.Module, second: nn.Module, example: Any) -> tuple[float, float]:
        calls.append(1)
        return 3 * time_of(first), 3 * time_of(second) + 60.0 * (time_of(second) < time_of(first))

    plan = choose(GRAPH, SCORES, Budget(latency=0.7), latency=table, timer=slower)
    assert plan.latency is not None
    assert plan.latency[1] <= 1.03 * 0.7 * plan.latency[0]
    assert len(calls) > 1


def test_a_time_that_is_never_reached_is_an_error_that_says_what_is_possible(monkeypatch: pytest.MonkeyPatch) -> None:
    table = measure_layers(GRAPH, clock=Clock(monkeypatch))
    with pytest.raises(
        BudgetError,
        match=r"budget: latency=0.5 allows .* ms, and the nearest plan was measured at 0.099 of 0.1 ms; ask for",
    ):
        choose(GRAPH, SCORES, Budget(latency=0.5), latency=table, timer=lambda a, b, x: (100.0, 99.0))
    with pytest.raises(BudgetError, match=r"latency=0.01 asks for at most .* ms of .* ms, but .* have to stay; ask"):
        choose(GRAPH, SCORES, Budget(latency=0.01), latency=table, timer=in_turns)


def test_without_a_table_the_countable_schemes_say_what_to_do() -> None:
    with pytest.raises(ConfigError, match="budget: latency has to be measured first"):
        choose_by_costs(GRAPH, SCORES, Budget(latency=0.5))


def test_budgets_without_time_measure_nothing() -> None:
    plan = choose(GRAPH, SCORES, Budget(macs=0.5), limits=Limits(multiple=4))
    assert plan.latency is None
    expected = choose_by_costs(GRAPH, SCORES, Budget(macs=0.5), limits=Limits(multiple=4))
    assert np.array_equal(plan.keep, expected.keep)

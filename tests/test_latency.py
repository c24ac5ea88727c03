"""Budgets of time, against a fake clock: nothing here depends on how fast this machine is."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reconv.cost.timing import Timer, time_modules
from reconv.errors import BudgetError
from reconv.graph import trace
from reconv.plan import Budget, Limits, check_budget, choice, choose, measure_layers
from reconv.plan.latency import LEVELS, candidates
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


def law(module: nn.Conv2d) -> float:
    """What a made-up machine takes for a convolution, in microseconds."""
    return 5 + 0.01 * module.weight.numel()


def time_of(model: nn.Module) -> float:
    """What it takes for all of a network's."""
    return sum(law(m) for m in model.modules() if isinstance(m, nn.Conv2d))


class Clock:
    """Runs on by what the convolutions that were called would take."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, law: Callable[[nn.Conv2d], float] = law) -> None:
        self.now = 0.0
        forward = nn.Conv2d.forward

        def timed(module: nn.Conv2d, x: Tensor) -> Tensor:
            self.now += 1e-6 * law(module)
            return forward(module, x)

        monkeypatch.setattr(nn.Conv2d, "forward", timed)

    def __call__(self) -> float:
        return self.now


def fake_timer(monkeypatch: pytest.MonkeyPatch) -> Timer:
    clock = Clock(monkeypatch)
    return Timer(by_law, lambda model, example: time_modules(model, example, clock))


def by_law(first: nn.Module, second: nn.Module, example: Any) -> tuple[float, float]:
    return time_of(first), time_of(second)


def test_networks_that_are_timed_take_every_width_once_and_every_pair_of_fifths_once() -> None:
    groups = [group for group in GRAPH.groups if not group.reason]
    assert len(groups) == 2
    widths = [[int(keep[group.units].sum()) for keep in candidates(GRAPH)] for group in groups]
    for own in widths:
        assert len(set(own)) == LEVELS**2
        assert (min(own), max(own)) == (1, 40)
    fifths = [[sorted(own).index(width) // LEVELS for width in own] for own in widths]
    assert len(set(zip(*fifths, strict=True))) == LEVELS**2


def test_streams_that_are_not_cut_are_timed_whole() -> None:
    class Added(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 6, 1), nn.Conv2d(6, 8, 1)
            self.last = nn.Conv2d(8, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            x = self.a(x)
            return self.last(x + self.c(F.relu(self.b(x))))

    graph = trace(Added(), torch.randn(1, 3, 4, 4))
    (stream,) = [group for group in graph.groups if group.stream]
    (inside,) = [group for group in graph.groups if not group.stream and not group.reason]
    for coupled in (True, False):
        keeps = candidates(graph, coupled=coupled)
        assert (len({int(keep[stream.units].sum()) for keep in keeps}) == 1) is not coupled
        assert len({int(keep[inside.units].sum()) for keep in keeps}) == 6


def test_a_staircase_of_widths_is_what_the_table_says(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch, lambda m: 5 + 0.02 * m.in_channels * -(-m.out_channels // 8) * 8)
    table = measure_layers(GRAPH, timer=Timer(by_law, lambda model, example: time_modules(model, example, clock)))
    (first,) = [group for group in GRAPH.groups if "a" in group.producers]
    times = []
    for width in range(40, 0, -1):
        keep = np.ones(GRAPH.classes, dtype=bool)
        keep[first.units[width:]] = False
        times.append(table.microseconds(keep))
    expected = [-0.02 * (40 + 3 * 8 * (width % 8 == 0)) for width in range(39, 0, -1)]  # of b, and a block of a
    assert np.diff(times) == pytest.approx(expected, abs=0.1)


def test_the_table_gives_back_the_law_that_the_clock_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    table = measure_layers(GRAPH, timer=fake_timer(monkeypatch))
    for share in (0.9, 0.6, 0.35):
        plan = choose(GRAPH, SCORES, Budget(channels=share))
        assert table.microseconds(plan.keep) == pytest.approx(time_of(prune(GRAPH.model, plan)), rel=0.02)


@pytest.mark.parametrize("scheme", ["uniform", "global", "knapsack"])
@pytest.mark.parametrize("budget", [Budget(latency=0.5), Budget(latency=100), Budget(latency=0.6, params=0.7)])
def test_a_budget_of_time_is_met_and_used(monkeypatch: pytest.MonkeyPatch, scheme: str, budget: Budget) -> None:
    table = measure_layers(GRAPH, timer=fake_timer(monkeypatch))
    plan = choose(GRAPH, SCORES, budget, latency=table, timer=by_law, scheme=scheme)
    assert plan.latency is not None
    before, after = plan.latency
    assert after <= 1.03 * budget.allowed("latency", before)
    assert after >= 0.9 * budget.allowed("latency", before)
    assert budget.params is None or plan.params[1] <= 0.7 * plan.params[0]
    assert "latency measured interleaved" in str(plan)


def test_a_wrong_prediction_is_corrected_by_what_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    table = measure_layers(GRAPH, timer=fake_timer(monkeypatch))
    calls = []

    def slower(first: nn.Module, second: nn.Module, example: Any) -> tuple[float, float]:
        calls.append(1)
        return 3 * time_of(first), 3 * time_of(second) + 60.0 * (time_of(second) < time_of(first))

    plan = choose(GRAPH, SCORES, Budget(latency=0.7), latency=table, timer=slower)
    assert plan.latency is not None
    assert plan.latency[1] <= 1.03 * 0.7 * plan.latency[0]
    assert len(calls) > 1


def test_a_time_that_is_never_reached_is_an_error_that_says_what_is_possible(monkeypatch: pytest.MonkeyPatch) -> None:
    table = measure_layers(GRAPH, timer=fake_timer(monkeypatch))
    with pytest.raises(
        BudgetError,
        match=r"budget: latency=0.5 allows .* ms, and the nearest plan was measured at 0.099 of 0.1 ms; ask for",
    ):
        choose(GRAPH, SCORES, Budget(latency=0.5), latency=table, timer=lambda a, b, x: (100.0, 99.0))
    with pytest.raises(BudgetError, match=r"latency=0.01 asks for at most .* ms of .* ms, but .* have to stay; ask"):
        choose(GRAPH, SCORES, Budget(latency=0.01), latency=table, timer=by_law)


def test_budgets_without_time_measure_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "measure_layers", None)
    monkeypatch.setattr(choice, "measured_plan", None)
    assert choose(GRAPH, SCORES, Budget(macs=0.5), limits=Limits(multiple=4)).latency is None


def test_the_timer_of_pytorch_keeps_the_mode_of_every_module() -> None:
    model = Chain().train()
    model.norm.eval()  # frozen statistics, as when a detector is fine-tuned
    graph = trace(model, torch.randn(1, 3, 10, 10))
    modes = [module.training for module in model.modules()]
    plan = choose(graph, score(graph, "l2"), Budget(latency=0.999))
    assert plan.latency is not None
    assert [module.training for module in model.modules()] == modes


@pytest.mark.parametrize(
    ("found", "kept"),
    [
        ([0.80, 0.55, 0.80, 0.80], 1),  # nearer from above does not count
        ([0.60, 0.68, 0.30, 0.64], 1),  # of those within the budget, the nearest
        ([0.80, 0.20, 0.80, 0.80], 1),
    ],
)
def test_a_plan_within_the_budget_is_preferred_to_a_nearer_one_above(
    monkeypatch: pytest.MonkeyPatch, found: list[float], kept: int
) -> None:
    table = measure_layers(GRAPH, timer=fake_timer(monkeypatch))
    shares = itertools.chain(found, itertools.repeat(0.9))  # whatever is tried further is no better
    plan = choose(GRAPH, SCORES, Budget(latency=0.75), latency=table, timer=lambda *_: (100.0, 100 * next(shares)))
    assert plan.latency is not None
    assert plan.latency[1] == pytest.approx(100 * found[kept])


def test_a_time_out_of_reach_is_refused_without_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    timer = fake_timer(monkeypatch)
    with pytest.raises(BudgetError, match=r"latency=0.01 asks for at most .* ms of .* ms, but .* have to stay; ask"):
        check_budget(GRAPH, Budget(latency=0.01), latency=measure_layers(GRAPH, timer=timer))
    table = measure_layers(GRAPH, timer=timer)
    assert check_budget(GRAPH, Budget(latency=0.9, macs=0.9), latency=table) is table
    assert check_budget(GRAPH, Budget(macs=0.9)) is None


def test_a_staircase_of_widths_is_met_by_the_widths_of_two_plans(monkeypatch: pytest.MonkeyPatch) -> None:
    table = measure_layers(GRAPH, timer=fake_timer(monkeypatch))
    tried = []

    def in_blocks(first: nn.Module, second: nn.Module, example: Any) -> tuple[float, float]:
        """Both groups' channels are computed in blocks of 32, which the uniform scheme steps through at once."""
        tried.append(1)
        blocks = [sum(-(-m.out_channels // 32) for m in (net.a, net.b)) for net in (first, second)]  # type: ignore[attr-defined]
        return tuple(100.0 * n for n in blocks)  # type: ignore[return-value]

    plan = choose(GRAPH, SCORES, Budget(latency=0.75), latency=table, timer=in_blocks)
    assert plan.latency == (400.0, 300.0)
    assert "1 of 2 groups with the widths of a slower plan" in str(plan)

"""A kind of budget of one's own is treated as those that come with reconv: nothing knows its name."""

from __future__ import annotations

import itertools
import json
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import reconv
from reconv.budget import BYTES, Budget, Cost
from reconv.cost import macs_products, total_macs
from reconv.errors import BudgetError, ConfigError, ReconvError, UnknownNameError
from reconv.graph import ChannelGraph, trace
from reconv.graph.channels import Mask
from reconv.plan import Curve, ErrorCurves, Plan, choose, plan_from_json
from reconv.plan.rounds import budget_of_round
from reconv.saliency import score


def _model() -> nn.Module:
    torch.manual_seed(0)
    widths = (3, 12, 16, 10, 4)
    pairs = itertools.pairwise(widths)
    return nn.Sequential(*(layer for a, b in pairs for layer in (nn.Conv2d(a, b, 3, padding=1), nn.ReLU())))


GRAPH = trace(_model(), torch.zeros(1, 3, 8, 8))
SCORES = score(GRAPH, "l1")
CURVES = ErrorCurves(
    "made up",
    {
        group.name: Curve(np.arange(group.size - 1), np.linspace(0, 1 + i, group.size) ** 2)
        for i, group in enumerate(GRAPH.groups)
        if not group.reason
    },
)


@pytest.fixture
def energy(own_registries: None) -> Cost:
    """As many units as there are MACs."""
    return reconv.register(
        Cost("energy", "what a MAC takes", label="picojoules", products=macs_products, aliases=("pj",))
    )


def _same_but_for_the_name(plan: Plan, of_macs: Plan) -> None:
    assert np.array_equal(plan.keep, of_macs.keep)
    assert plan.scheme == of_macs.scheme
    assert [note.replace("energy", "macs") for note in plan.notes] == list(of_macs.notes)  # with the gap
    assert plan.costs["energy"] == of_macs.costs["macs"]


@pytest.mark.parametrize("limit", [0.5, 20_000])
@pytest.mark.parametrize("scheme", ["uniform", "global", "knapsack", "allocated"])
def test_a_kind_that_equals_macs_gives_the_plans_of_macs(energy: Cost, scheme: str, limit: float) -> None:
    source, options = (CURVES, {}) if scheme == "allocated" else (SCORES, {"scheme": scheme})
    plan, of_macs = (
        choose(GRAPH, source, Budget(**{name: limit}), **options)  # type: ignore[arg-type]
        for name in ("energy", "macs")
    )
    _same_but_for_the_name(plan, of_macs)


def test_together_with_another_limit(energy: Cost) -> None:
    plan, of_macs = (
        choose(GRAPH, SCORES, Budget(params=0.6, **{name: 0.5}), scheme="knapsack") for name in ("energy", "macs")
    )
    assert np.array_equal(plan.keep, of_macs.keep)


def test_a_plan_names_it_and_survives_json(energy: Cost) -> None:
    plan = choose(GRAPH, SCORES, Budget(energy=0.5))
    before, after = plan.costs["energy"]
    assert f"{before:,.0f} -> " in str(plan).split("picojoules", 1)[1].split("\n")[0]
    assert "picojoules" in repr(plan)
    again = plan_from_json(GRAPH, json.loads(json.dumps(plan.to_json())))
    assert again.costs["energy"] == (before, after)
    assert str(again) == str(plan)


def test_rounds_are_steps_of_the_whole_cost(energy: Cost) -> None:
    for number in (1, 2, 3):
        limits = (budget_of_round(Budget(**{name: 0.3}), GRAPH, number, 3).limits[name] for name in ("energy", "macs"))
        assert len(set(limits)) == 1
    assert budget_of_round(Budget(energy=0.3), GRAPH, 3, 3).limits["energy"] == int(0.3 * total_macs(GRAPH))


def test_its_budgets_are_read_and_described(energy: Cost) -> None:
    assert Budget.parse(["energy=50%"]) == Budget(energy=0.5) == Budget(pj=0.5)
    assert Budget.parse(["ENERGY=2M"]).limits == {"energy": 2e6}
    assert Budget(energy=0.5).describe() == "at most 50 % of the picojoules"
    assert Budget(energy=2e6).describe() == "at most 2,000,000 picojoules"
    with pytest.raises(UnknownNameError, match="budget: 'enrgy' is not known; did you mean energy"):
        Budget(enrgy=0.5)
    with pytest.raises(BudgetError, match=r"energy=0\.0001 asks for at most"):
        choose(GRAPH, SCORES, Budget(energy=0.0001))


@pytest.mark.usefixtures("own_registries")
def test_a_function_of_what_stays_is_met_too() -> None:
    def square(graph: ChannelGraph, keep: Mask) -> float:
        return float(total_macs(graph, keep)) ** 2

    reconv.register(Cost("squared", amount=square, unit=BYTES))
    plan = choose(GRAPH, SCORES, Budget(squared=0.25), scheme="knapsack")
    before, after = plan.costs["squared"]
    assert after <= 0.25 * before
    assert after == plan.macs[1] ** 2


@pytest.mark.parametrize(
    ("text", "limits"),
    [("macs=50%", {"macs": 0.5}), ("latency=80 %", {"latency": 0.8}), ("size=2MiB", {"size": 2.0**21})],
)
def test_amounts_with_a_unit(text: str, limits: dict[str, float]) -> None:
    assert Budget.parse([text]).limits == limits


@pytest.mark.parametrize(
    ("text", "said"),
    [("macs=100%", "between 0 % and 100 %"), ("macs=5us", "write name=number"), ("latency=5", "a time has a unit")],
)
def test_amounts_that_cannot_be(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Budget.parse([text])


@pytest.mark.parametrize(
    ("coefficient", "planes", "said"),
    [
        (-1.0, [np.arange(3)], "at least 0"),
        (float("nan"), [np.arange(3)], "at least 0"),
        ("9", [np.arange(3)], "a number"),
        (1.0, np.arange(3), "a list of arrays"),
        (1.0, [3], "a list of arrays"),
    ],
)
def test_products_that_cannot_be(coefficient: Any, planes: Any, said: str) -> None:
    with pytest.raises(ReconvError, match=f"Product: .*{said}"):
        reconv.Product(coefficient, planes)


@pytest.mark.usefixtures("own_registries")
def test_two_measured_kinds_are_refused_by_name() -> None:
    reconv.register(Cost("joules", "what a forward pass takes", source="timer"))
    with pytest.raises(ConfigError, match=r"limits latency and joules, and one table predicts times"):
        choose(GRAPH, SCORES, Budget(latency=0.9, joules=0.9))


def test_streams_are_named_only_where_they_would_help() -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.inner, self.outer = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1)
            self.head = nn.Linear(8, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.stem(x)
            return torch.as_tensor(self.head((x + self.outer(self.inner(x))).mean((2, 3))))

    graph = trace(Residual(), torch.zeros(1, 3, 4, 4))
    for share, helps in ((0.2, True), (0.001, False)):
        with pytest.raises(BudgetError) as error:
            choose(graph, score(graph, "l1"), Budget(macs=share))
        assert ("(coupled)" in str(error.value)) is helps
        with pytest.raises(BudgetError) as early:
            reconv.check_budget(graph, Budget(macs=share))
        assert str(early.value) == str(error.value)

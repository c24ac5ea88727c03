"""Budgets are never exceeded, more budget never keeps less, and every refusal says what is possible."""

from __future__ import annotations

import itertools
import json
import re
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from circle import Circle
from reconv.cost import total_macs
from reconv.errors import ArtifactError, BudgetError, ConfigError, UnknownNameError
from reconv.graph import trace
from reconv.plan import (
    NOT_NEEDED,
    RESCALINGS,
    STREAM,
    Budget,
    Limits,
    Plan,
    choose,
    choose_widths,
    plan_from_json,
    unit_scores,
)
from reconv.saliency import Saliency, score
from reconv.zoo import load_model, load_recipe

SCHEMES = ("uniform", "global", "knapsack")


class Small(nn.Module):
    """A residual stream, a grouped convolution, a free layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 12, 3, padding=1)
        self.inner = nn.Conv2d(12, 20, 3, padding=1)
        self.grouped = nn.Conv2d(20, 16, 3, padding=1, groups=4)
        self.back = nn.Conv2d(16, 12, 1)
        self.head = nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.stem(x)
        y = y + self.back(F.relu(self.grouped(F.relu(self.inner(y)))))
        return self.head(y.mean((2, 3)))


torch.manual_seed(0)
GRAPH = trace(Small(), torch.randn(1, 3, 8, 8))
SCORES = score(GRAPH, "l2")


@settings(deadline=None, max_examples=40)
@given(
    share=st.floats(0.45, 0.99),
    limit=st.sampled_from(("macs", "params", "channels")),
    scheme=st.sampled_from(SCHEMES),
    coupled=st.booleans(),
    reverse=st.booleans(),
)
def test_a_budget_is_met_and_no_removal_is_wasted(
    share: float, limit: str, scheme: str, coupled: bool, reverse: bool
) -> None:
    budget = Budget(**{limit: share})
    plan = choose(GRAPH, SCORES, budget, scheme=scheme, coupled=coupled, reverse=reverse)  # type: ignore[arg-type]
    before, after = {"macs": plan.macs, "params": plan.params, "channels": channels(plan)}[limit]
    assert after <= share * before
    assert all(len(row.kept) >= 1 for row in plan.groups)
    for row, group in zip(plan.groups, GRAPH.groups, strict=True):
        removed = set(range(group.size)) - set(row.kept)
        assert all(group.free[i] for i in removed)
        assert len({sum(1 for i in removed if group.cells[i] == cell) for cell in np.unique(group.cells)}) == 1


def channels(plan: Plan) -> tuple[int, int]:
    """Channels that could go and are left: of all groups cut, less the last step of each, which never goes."""
    rows = [
        (group.size - len(np.unique(group.cells)), len(row.kept) - len(np.unique(group.cells)))
        for row, group in zip(plan.groups, plan.graph.groups, strict=True)
        if row.name != "head" and row.why != STREAM
    ]
    return sum(a for a, _ in rows), sum(b for _, b in rows)


@pytest.mark.parametrize("scheme", SCHEMES[:2])
@pytest.mark.parametrize("limit", ["macs", "params"])
def test_a_smaller_budget_keeps_a_subset(scheme: str, limit: str) -> None:
    plans = [
        choose(GRAPH, SCORES, Budget(**{limit: share}), scheme=scheme, coupled=True)  # type: ignore[arg-type]
        for share in (0.9, 0.7, 0.5, 0.3)
    ]
    for more, less in pairwise(plans):
        assert (less.keep <= more.keep).all()
        assert less.macs[1] < more.macs[1]


def test_the_lowest_scores_go_or_the_highest() -> None:
    inner = SCORES.values["inner"].argsort().tolist()
    low, high = (choose(GRAPH, SCORES, Budget(channels=0.5), reverse=flag) for flag in (False, True))
    kept = next(row.kept for row in low.groups if row.name == "inner")
    for cell in range(4):
        within = [i for i in inner if i // 5 == cell]
        here = [i for i in kept if i // 5 == cell]
        assert sorted(here) == sorted(within[-len(here) :])
    kept = next(row.kept for row in high.groups if row.name == "inner")
    within = [i for i in inner if i < 5]
    assert sorted(i for i in kept if i < 5) == sorted(within[: sum(1 for i in kept if i < 5)])


def test_a_uniform_plan_takes_the_same_share_everywhere() -> None:
    plan = choose(trace(load_model("vgg16_bn"), torch.zeros(1, 3, 32, 32)), _scored("vgg16_bn"), Budget(channels=0.5))
    shares = [len(row.kept) / row.size for row in plan.groups if not row.why]
    assert max(shares) - min(shares) < 0.03


def _scored(name: str) -> Saliency:
    return score(trace(load_model(name), torch.zeros(1, 3, 32, 32)), "l1")


def test_a_global_plan_takes_the_lowest_of_all() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.c(F.relu(self.b(F.relu(self.a(x))))).mean((2, 3))

    graph = trace(Two(), torch.randn(1, 3, 4, 4))
    values = {"a": [1.0, 2.0, 3.0, 4.0], "b": [10.0, 90.0, 100.0, 200.0], "c": [1.0, 1.0]}
    saliency = Saliency("l1", "forward", {name: torch.tensor(v, dtype=torch.float64) for name, v in values.items()})
    plan = choose(graph, saliency, Budget(channels=4), scheme="global")
    # Divided by their means: a = .4 .8 1.2 1.6, b = .1 .9 1 2; the lowest are b's first and a's first.
    assert [row.kept for row in plan.groups[:2]] == [(1, 2, 3), (1, 2, 3)]


def test_streams_stay_unless_asked_for_and_say_so() -> None:
    plan = choose(GRAPH, SCORES, Budget(macs=0.6))
    said = {row.name: row.why for row in plan.groups}
    cells = "only 4 at a time may go, one from every part"
    assert said == {"stem": STREAM, "inner": cells, "grouped": "", "head": said["head"]}
    assert said["head"].startswith("network output (classifier)")
    assert choose(GRAPH, SCORES, Budget(macs=0.6), coupled=True).groups[0].why == ""


def test_tied_layers_are_scored_by_the_mean_of_their_normalized_scores() -> None:
    stem, back = SCORES.values["stem"], SCORES.values["back"]
    expected = (stem / stem.mean() + back / back.mean()) / 2
    np.testing.assert_allclose(unit_scores(GRAPH, SCORES)["stem"], expected.numpy())
    np.testing.assert_allclose(unit_scores(GRAPH, SCORES)["inner"], SCORES.values["inner"].numpy())


def test_backward_scores_go_to_the_channels_that_are_read() -> None:
    saliency = score(GRAPH, "l2", direction="backward")
    np.testing.assert_allclose(unit_scores(GRAPH, saliency)["grouped"], saliency.values["back"].numpy())
    plan = choose(GRAPH, saliency, Budget(macs=0.6))
    assert plan.criterion == "l2, backward"
    assert plan.macs[1] <= 0.6 * plan.macs[0]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_several_limits_at_once(scheme: str) -> None:
    plan = choose(GRAPH, SCORES, Budget(macs=0.8, params=0.5), scheme=scheme, coupled=True)  # type: ignore[arg-type]
    assert plan.macs[1] <= 0.8 * plan.macs[0]
    assert plan.params[1] <= 0.5 * plan.params[0]


def test_absolute_limits() -> None:
    whole = choose(GRAPH, SCORES, Budget(params=0.99)).params[0]
    assert choose(GRAPH, SCORES, Budget(params=whole)).params == (whole, whole)
    assert choose(GRAPH, SCORES, Budget(params=3000)).params[1] <= 3000


@pytest.mark.parametrize("limit", ["macs", "params"])
def test_a_budget_out_of_reach_says_what_can_be(limit: str) -> None:
    with pytest.raises(BudgetError, match=rf"budget: {limit}=0.01 asks for at most .* have to stay; ask for") as caught:
        choose(GRAPH, SCORES, Budget(**{limit: 0.01}))
    text = str(caught.value)
    assert "(coupled)" not in text  # that would not be enough either
    possible = float(text.split(f"{limit}=")[2].split()[0])
    choose(GRAPH, SCORES, Budget(**{limit: possible}))
    with pytest.raises(BudgetError, match="have to stay") as caught:
        choose(GRAPH, SCORES, Budget(**{limit: 0.01}), coupled=True)
    assert "coupled" not in str(caught.value)


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({}, "nothing is limited; give macs=, params= or channels="),
        ({"macs": 0.0}, "macs=0; a share lies between 0 and 1"),
        ({"macs": -0.5}, "macs=-0.5; a share lies between"),
        ({"params": 1.5}, "params=1.5; .* an absolute number is whole"),
        ({"channels": float("nan")}, "channels=nan"),
        ({"macs": float("inf")}, "macs=inf"),
    ],
)
def test_budgets_that_are_none(limits: dict[str, float], said: str) -> None:
    with pytest.raises(ConfigError, match=f"^budget: {said}"):
        Budget(**limits)


def test_budgets_as_text() -> None:
    assert (
        Budget.parse(["macs=0.5", "params = 1000"])
        == Budget(macs=0.5, params=1000)
        == Budget.parse(["macs=0.5,params=1000"])
    )
    assert str(Budget(macs=0.5, params=1000)) == "macs=0.5, params=1000"
    with pytest.raises(UnknownNameError, match="budget: 'mac' is not known; did you mean macs"):
        Budget.parse(["mac=0.5"])
    with pytest.raises(ConfigError, match=r"budget: 'macs=half'; write name=number, such as macs=0.5"):
        Budget.parse(["macs=half"])


def test_an_unknown_scheme() -> None:
    with pytest.raises(UnknownNameError, match="scheme: 'globl' is not known; did you mean global"):
        choose(GRAPH, SCORES, Budget(macs=0.5), scheme="globl")  # type: ignore[arg-type]


def test_a_group_without_a_score_stays_and_says_so() -> None:
    saliency = Saliency("bn_scale", "forward", {"inner": SCORES.values["inner"]})
    plan = choose(GRAPH, saliency, Budget(channels=0.5), coupled=True)
    assert {row.name: row.why for row in plan.groups if row.why}["grouped"] == "the criterion gives it no score"
    with pytest.raises(BudgetError, match="grouped: the criterion gives it no score"):
        choose_widths(GRAPH, saliency, {"grouped": 8})


# --- limits ------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=25)
@given(
    minimum=st.integers(1, 14),
    multiple=st.sampled_from((1, 2, 3, 4, 8)),
    scheme=st.sampled_from(SCHEMES),
    coupled=st.booleans(),
)
def test_limits_hold_for_every_layer_that_is_cut(minimum: int, multiple: int, scheme: str, coupled: bool) -> None:
    limits = Limits(minimum=minimum, multiple=multiple)
    try:
        plan = choose(GRAPH, SCORES, Budget(macs=0.6), scheme=scheme, coupled=coupled, limits=limits)  # type: ignore[arg-type]
    except BudgetError:
        if minimum <= 4 and multiple <= 2:
            raise
        return
    assert plan.macs[1] <= 0.6 * plan.macs[0]
    for row in plan.groups:
        if len(row.kept) < row.size:
            assert len(row.kept) >= min(minimum, row.size)
            assert len(row.kept) % multiple == 0


def test_layers_by_pattern_keep_more() -> None:
    limits = Limits(most={"inner": 0.0, "gr*": 0.25})
    plan = choose(GRAPH, SCORES, Budget(macs=0.75), coupled=True, limits=limits)
    rows = {row.name: row for row in plan.groups}
    assert len(rows["inner"].kept) == 20
    assert rows["inner"].why == "excluded (inner)"
    assert 12 <= len(rows["grouped"].kept) < 16
    with pytest.raises(BudgetError, match="have to stay"):
        choose(GRAPH, SCORES, Budget(macs=0.3), limits=limits)


def test_the_strictest_layer_of_a_group_counts() -> None:
    plan = choose(GRAPH, SCORES, Budget(channels=0.6), coupled=True, limits=Limits(most={"back": 0.0}))
    assert len(plan.groups[0].kept) == 12


@pytest.mark.parametrize(
    ("limits", "kind", "said"),
    [
        ({"minimum": 0}, ConfigError, "limits: minimum=0, multiple=1; both are whole numbers of at least 1"),
        ({"multiple": -8}, ConfigError, "limits: minimum=1, multiple=-8"),
        ({"most": {"inner": 1.5}}, ConfigError, "limits: inner=1.5; the share that may go lies between 0 and 1"),
        ({"most": {"innr": 0.5}}, UnknownNameError, "layer: 'innr' is not known; did you mean inner"),
    ],
)
def test_limits_that_cannot_be(limits: dict[str, Any], kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=said):
        choose(GRAPH, SCORES, Budget(macs=0.6), limits=Limits(**limits))


def test_a_group_that_the_budget_does_not_need_says_so() -> None:
    values = {name: torch.full_like(v, 1e6 if name == "grouped" else 1.0) for name, v in SCORES.values.items()}
    values["grouped"] = torch.linspace(1, 2, 16, dtype=torch.float64)
    values["inner"] = torch.cat([torch.full((19,), 1e-6), torch.ones(1)]).double()
    plan = choose(GRAPH, Saliency("l1", "forward", values), Budget(macs=0.9), scheme="global")
    assert {row.name: row.why for row in plan.groups}["grouped"] == NOT_NEEDED


# --- budgets of bytes, units, what is left over, rescale, knapsack ----------------------------------------


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("limit", ["size", "memory"])
def test_budgets_of_bytes(scheme: str, limit: str) -> None:
    plan = choose(GRAPH, SCORES, Budget(**{limit: 0.8}), scheme=scheme, coupled=True)  # type: ignore[arg-type]
    assert plan.memory is not None
    before, after = {"size": plan.size, "memory": plan.memory}[limit]
    assert after <= 0.8 * before
    same = choose(GRAPH, SCORES, Budget(**{limit: float(after)}), scheme=scheme, coupled=True)  # type: ignore[arg-type]
    assert same.memory is not None
    assert {"size": same.size, "memory": same.memory}[limit][1] <= after


def test_budgets_with_units() -> None:
    assert Budget.parse(["macs=60M,size=2MiB", "latency=3ms"]) == Budget(macs=60e6, size=2 * 1024**2, latency=3000)
    assert Budget.parse(["memory=1.5kB"]) == Budget(memory=1500)
    assert str(Budget(latency=3000)) == "latency=3 ms"
    for text, said in (
        ("latency=3", "a time has a unit, as in latency=3ms"),
        ("latency=3M", "write name=number, such as latency=3ms"),
        ("size=2parsecs", "write name=number, such as size=2MiB"),
        ("macs=5MB", "write name=number, such as macs=0.5"),
    ):
        with pytest.raises(ConfigError, match=said):
            Budget.parse([text])


def test_a_coarse_step_is_given_back_or_said() -> None:
    plan = choose(GRAPH, SCORES, Budget(macs=0.75), limits=Limits(multiple=8), coupled=True)
    unused = 0.75 - plan.macs[1] / plan.macs[0]
    assert (unused <= 0.01) == (not plan.notes)
    assert all("stay unused: steps are coarse" in note for note in plan.notes)
    assert choose(GRAPH, SCORES, Budget(params=10_000)).notes[0].startswith("nothing had to go")


@pytest.mark.parametrize("share", [0.35, 0.6, 0.85])
def test_no_further_step_could_be_given_back(share: float) -> None:
    plan = choose(GRAPH, SCORES, Budget(macs=share), scheme="global", limits=Limits(multiple=4), coupled=True)
    assert plan.macs[1] <= share * plan.macs[0]
    for group, row in zip(GRAPH.groups, plan.groups, strict=True):
        removed = np.setdiff1d(np.arange(row.size), row.kept)
        if len(removed):
            last = removed[np.argsort(np.array(row.scores)[removed], kind="stable")]
            cells = np.unique(group.cells)
            step = [unit for cell in cells for unit in last[group.cells[last] == cell][-4 // len(cells) :]]
            wider = plan.keep
            wider[group.units[step]] = True
            assert total_macs(GRAPH, wider) > share * plan.macs[0]


def test_excluded_layers_count_before_other_patterns() -> None:
    limits = Limits(4, 8, {"layer4.*": 0.25, "stem": 0.5}, exclude=("head*", "stem"))
    assert limits == Limits(4, 8, {"head*": 0.0, "stem": 0.0, "layer4.*": 0.25})
    assert list(limits.most) == ["head*", "stem", "layer4.*"]
    assert limits.least("stem", 16) == 16


@pytest.mark.parametrize("name", RESCALINGS)
def test_rescalings_keep_the_order_and_are_stated(name: str) -> None:
    values = np.array([3.0, 1.0, 2.0, 8.0])
    assert np.argsort(RESCALINGS[name].function(values)).tolist() == [1, 2, 0, 3]
    plan = choose(GRAPH, SCORES, Budget(macs=0.6), scheme="global", rescale=name, coupled=True)
    assert RESCALINGS[name].words in plan.scheme


def test_rescalings_that_cannot_be() -> None:
    with pytest.raises(UnknownNameError, match="rescale: 'men' is not known; did you mean mean"):
        choose(GRAPH, SCORES, Budget(macs=0.5), scheme="global", rescale="men")
    with pytest.raises(ConfigError, match="rescale: 'max' has no effect on a uniform plan"):
        choose(GRAPH, SCORES, Budget(macs=0.5), rescale="max")


CIRCLE = trace(Circle(5, 6, 4), torch.randn(1, 2, 4, 4))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "budget", [Budget(macs=0.5), Budget(params=0.4), Budget(macs=0.6, params=0.5), Budget(channels=0.5)]
)
def test_no_plan_beats_the_stated_gap(seed: int, budget: Budget) -> None:
    saliency = score(CIRCLE, "random", seed=seed)
    scores = unit_scores(CIRCLE, saliency)
    plan = choose(CIRCLE, saliency, budget, scheme="knapsack", rescale="none")
    free = [(group, np.sort(scores[group.name])) for group in CIRCLE.groups if not group.reason]
    total, best = sum(float(values[:-1].sum()) for _, values in free), 0.0
    for widths in itertools.product(*(range(1, group.size + 1) for group, _ in free)):
        removable = sum(group.size - 1 for group, _ in free)
        fits = budget.channels is None or sum(widths) - len(free) <= budget.channels * removable
        if fits and budget.channels is None:
            other = choose_widths(CIRCLE, saliency, {g.name: w for (g, _), w in zip(free, widths, strict=True)})
            spent = {"macs": other.macs, "params": other.params}
            fits = all(spent[name][1] <= share * spent[name][0] for name, share in budget.limits.items())
        if fits:
            lost = sum(float(values[: len(values) - w].sum()) for (_, values), w in zip(free, widths, strict=True))
            best = max(best, 1 - lost / total)
    kept, possible = (float(text) / 100 for text in re.findall(r"([0-9.]+)%", plan.notes[0])[:2])
    assert kept <= best + 1e-4 <= possible + 2e-4
    assert kept >= best - 0.03


class Sorted(nn.Module):
    """An operator mixes channels, which nothing can follow."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x).sort(1).values)


def test_a_plan_names_the_line_that_freezes_a_group() -> None:
    graph = trace(nn.Sequential(Sorted(), nn.Conv2d(4, 6, 1), nn.ReLU(), nn.Conv2d(6, 2, 1)), torch.randn(1, 3, 4, 4))
    plan = choose(graph, score(graph, "l2"), Budget(macs=0.9))
    line = next(line for line in str(plan).splitlines() if line.strip().startswith("0.first"))
    assert re.search(r"0\.first: 8 -> 8 \(requested \d\)  .*sort at test_plan\.py:\d+, in 0", line)


# --- widths ------------------------------------------------------------------------------------------------


def test_widths_are_what_was_asked_for() -> None:
    plan = choose_widths(GRAPH, SCORES, {"inner": 8, "back": 7})
    assert {row.name: len(row.kept) for row in plan.groups} == {"stem": 7, "inner": 8, "grouped": 16, "head": 4}
    order = np.argsort(unit_scores(GRAPH, SCORES)["stem"])
    assert set(plan.groups[0].kept) == set(order[5:].tolist())
    assert set(choose_widths(GRAPH, SCORES, {"stem": 7}, reverse=True).groups[0].kept) == set(order[:7].tolist())
    assert plan.groups[2].why == "not in the recipe"


@pytest.mark.parametrize(
    ("widths", "kind", "said"),
    [
        ({"iner": 8}, UnknownNameError, "layer: 'iner' is not known; did you mean inner"),
        ({"inner": 0}, ConfigError, "inner: 0 channels asked for; it has 20, give 1 to 20"),
        ({"inner": 21}, ConfigError, "inner: 21 channels asked for; it has 20"),
        ({"stem": 6, "back": 7}, ConfigError, "back: tied to stem, which is to keep 6, not 7 channels"),
        ({"inner": 9}, BudgetError, "inner: cannot remove 11 of 20 channels; 20 may go, 4 at a time"),
        ({"head": 3}, BudgetError, r"head: cannot remove 1 of 4 channels; 0 may go.*network output \(classifier\)"),
    ],
)
def test_widths_that_cannot_be(widths: dict[str, int], kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=said):
        choose_widths(GRAPH, SCORES, widths)


PAPER = {  # MACs and parameters removed, in percent
    ("resnet56", 1): (31.1, 14.8), ("resnet56", 2): (43.2, 45.5), ("resnet56", 3): (64.2, 64.7),
    ("vgg16_bn", 1): (34.2, 64.3), ("vgg16_bn", 2): (41.9, 81.3), ("vgg16_bn", 3): (44.2, 86.1),
    ("resnet110", 1): (38.7, 32.4), ("resnet110", 2): (56.5, 44.3),
    ("resnet34", 1): (24.1, 10.7), ("resnet34", 2): (38.2, 18.0),
}  # fmt: skip


@pytest.mark.parametrize("model", ["resnet56", "resnet110", "vgg16_bn", "resnet34"])
def test_the_papers_configurations_come_to_its_costs(model: str) -> None:
    graph = trace(load_model(model), torch.zeros(1, 3, *((224, 224) if model == "resnet34" else (32, 32))))
    saliency = score(graph, "l1")
    convolutions = {layer.name: layer.out_channels for layer in graph.layers if layer.kind == "conv"}
    for (name, number), (macs, params) in PAPER.items():
        if name == model:
            plan = choose_widths(graph, saliency, load_recipe(model, number).widths(convolutions))
            assert 100 * (1 - plan.macs[1] / plan.macs[0]) == pytest.approx(macs, abs=0.1)
            assert 100 * (1 - plan.params[1] / plan.params[0]) == pytest.approx(params, abs=0.1)


# --- saved plans -------------------------------------------------------------------------------------------


def test_a_plan_survives_json_and_fits_another_checkpoint() -> None:
    plan = choose(GRAPH, SCORES, Budget(macs=0.5), coupled=True)
    text = json.dumps(plan.to_json())
    other = trace(Small(), torch.randn(1, 3, 8, 8))
    back = plan_from_json(other, json.loads(text))
    assert json.dumps(back.to_json()) == text
    assert (back.keep == plan.keep).all()
    assert (back.macs, back.params) == (plan.macs, plan.params)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"groups": []}, r"another architecture \(first difference: their number\)"),
        ({"groups": None}, "is missing or of the wrong kind"),
        ({"groups": [{"name": "stem"}]}, "'layers' is missing or of the wrong kind"),
    ],
)
def test_a_plan_that_does_not_fit(change: dict[str, object], said: str) -> None:
    data = choose(GRAPH, SCORES, Budget(macs=0.5)).to_json() | change
    with pytest.raises(ArtifactError, match=f"^plan: .*{said}"):
        plan_from_json(GRAPH, data)


@pytest.mark.parametrize("kept", [[], [3, 1], [0, 0], [-1, 2], [0, 12]])
def test_kept_positions_ascend_within_the_group(kept: list[int]) -> None:
    data = choose(GRAPH, SCORES, Budget(macs=0.5)).to_json()
    data["groups"][0]["kept"] = kept
    with pytest.raises(ArtifactError, match=r"plan: stem keeps .*positions ascend within 0\.\.11"):
        plan_from_json(GRAPH, data)


def test_a_saved_plan_must_respect_what_is_frozen_and_tied_in_number() -> None:
    for group, kept, said in ((3, [0, 1], "network output"), (1, list(range(19)), "in equal numbers")):
        data = choose(GRAPH, SCORES, Budget(macs=0.5)).to_json()
        data["groups"][group]["kept"] = kept
        with pytest.raises(ArtifactError, match=said):
            plan_from_json(GRAPH, data)


def test_a_printed_plan_says_what_why_and_what_it_costs() -> None:
    plan = choose(GRAPH, SCORES, Budget(macs=0.6))
    text = str(plan)
    assert text.startswith("keep macs=0.6 by l2 (uniform)\n")
    for name, (before, after) in (("MACs", plan.macs), ("parameters", plan.params), ("file", plan.size)):
        line = next(line for line in text.splitlines() if line.strip().startswith(name))
        assert f"{before:,} -> " in line
        assert f" {after:,} " in line.replace(" bytes", " ")
    assert f"  stem, back: 12 -> 12  {STREAM}" in text
    assert "  inner: 20 -> 12 (requested 10)  only 4 at a time may go, one from every part" in text
    assert "  head: 4 -> 4 (requested 2)  network output (classifier)" in text

"""The solver takes a branch as the last step of its channels: against all plans there are, one by one."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

import reconv
from reconv.cost import total_macs
from reconv.cost.features import BYTES, KINDS, MACS, Features
from reconv.cost.latency_table import fit_table
from reconv.errors import BudgetError, ConfigError
from reconv.graph.branches import with_branches
from reconv.plan.queues import queue_of
from reconv.plan.rankings import rankings_of
from reconv.plan.removals import with_removals
from reconv.plan.spending import Spending
from reconv.plan.tables import Tables
from reconv.rounds import joined_plan
from test_branches import NETS, Block, Bottleneck, X, net


def curves_for(graph, costs) -> reconv.ErrorCurves:
    """Made-up curves: every group's channels go at rising errors; a layer's signal costs what `costs` says."""
    generator = np.random.default_rng(1)
    curves = {}
    for group in graph.groups:
        if not group.stream and not group.reason:
            errors = np.cumsum(np.concatenate([[0.0], np.sort(generator.random(group.size) ** 2)]))
            curves[group.name] = reconv.Curve(np.arange(group.size), errors)
    return reconv.ErrorCurves("made up", curves, costs)


def all_plans(graph, curves):
    """(lost, mask) of every plan: each group at each width, each branch there or not."""
    groups = [group for group in graph.groups if group.name in curves]
    branches = [branch for branch in graph.branches if not branch.reason]
    for gone in itertools.product((False, True), repeat=len(branches)):
        removed = [branch for branch, out in zip(branches, gone, strict=True) if out]
        inside = {name for branch in removed for name in branch.groups}
        free = [group for group in groups if group.name not in inside]
        error = sum(curves.signals[branch.layers[-1]] for branch in removed)
        for steps in itertools.product(*(range(group.size) for group in free)):
            keep = np.ones(graph.classes, dtype=bool)
            for branch in removed:
                keep[branch.classes] = False
            for group, n in zip(free, steps, strict=True):
                keep[group.units[curves[group.name].order[:n]]] = False
            yield error + sum(curves[g.name].errors[n] for g, n in zip(free, steps, strict=True)), keep


CASES = {
    "two basic blocks": (lambda: net(Block(), Block()), {"1.two.0": 0.9, "2.two.0": 0.3}),
    "a bottleneck, whose two groups go together": (
        lambda: net(Bottleneck(), Block()),
        {"1.two.0": 0.5, "2.two.0": 2.0},
    ),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("share", [0.75, 0.6, 0.45, 0.35])
def test_no_plan_loses_less_and_the_bound_is_below_all(case, share):
    make, costs = CASES[case]
    graph = with_branches(reconv.trace(make(), X))
    curves = curves_for(graph, costs)
    whole = total_macs(graph)
    within = [(lost, keep) for lost, keep in all_plans(graph, curves) if total_macs(graph, keep) <= share * whole]
    least = min(lost for lost, _ in within)
    plan = reconv.choose(graph, curves, reconv.Budget(macs=share), depth=True)
    predicted, bound = (float(text.split()[0].strip(";")) for text in _numbers(plan.notes[0]))
    assert plan.macs[1] <= share * whole
    assert bound <= least * 1.001
    assert predicted == pytest.approx(least, rel=0.03)
    assert all((len(row.kept) == 0) == any(row.name in b.groups for b in plan.branches) for row in plan.groups)


def _numbers(note):
    return note.partition("predicted error ")[2], note.partition("has less than ")[2]


def test_only_the_removal_of_branches_reaches_a_small_budget():
    graph = reconv.trace(net(Block(), Block()), X)
    curves = curves_for(graph, {"1.two.0": 1.0, "2.two.0": 1.0})
    with pytest.raises(BudgetError):
        reconv.choose(graph, curves, reconv.Budget(macs=0.25))
    plan = reconv.choose(graph, curves, reconv.Budget(macs=0.25), depth=True)
    assert plan.removed
    assert plan.macs[1] <= 0.25 * plan.macs[0]
    reconv.check_budget(graph, reconv.Budget(macs=0.25), depth=True)
    with pytest.raises(BudgetError):
        reconv.check_budget(graph, reconv.Budget(macs=0.25))


def test_scores_take_a_branch_whose_channels_are_all_low():
    model = net(Block(), Block())
    with torch.no_grad():
        for parameter in model[1].parameters():
            parameter.mul_(1e-3)
    graph = reconv.trace(model, X)
    plan = reconv.choose(
        graph, reconv.score(graph, "l1"), reconv.Budget(macs=0.6), scheme="knapsack", rescale="none", depth=True
    )
    assert plan.removed == ("1",)


@pytest.mark.parametrize(
    "options",
    [{"limits": reconv.Limits(exclude=("1.two.0",))}, {"limits": reconv.Limits(most={"1.one.0": 0.5})}],
)
def test_a_layer_that_keeps_more_keeps_its_branch(options):
    graph = reconv.trace(net(Block(), Block()), X)
    curves = curves_for(graph, {"1.two.0": 0.0, "2.two.0": 5.0})
    plan = reconv.choose(graph, curves, reconv.Budget(macs=0.6), depth=True, **options)
    assert "1" not in plan.removed
    frozen = reconv.trace(net(Block(), Block()), X, freeze=["1.two.0"])
    assert "1" not in reconv.choose(frozen, curves, reconv.Budget(macs=0.6), depth=True).removed


def test_depth_is_for_schemes_that_compare_it():
    graph = reconv.trace(net(Block()), X)
    with pytest.raises(ConfigError, match="depth: uniform removes no branches"):
        reconv.choose(graph, reconv.score(graph, "l1"), reconv.Budget(macs=0.5), depth=True)
    with pytest.raises(ConfigError, match="depth: the scheme uniform"):
        reconv.Compression(depth=True)
    with pytest.raises(ConfigError, match="depth: the paper's recipe"):
        reconv.Compression(recipe=1, depth=True)


def table_of(graph):
    """A table whose every module takes a microsecond, and more the wider it is."""
    features = Features(graph, [name for name, _ in graph.model.named_modules()])
    generator = np.random.default_rng(0)
    keeps = [np.ones(graph.classes, dtype=bool)]
    for _ in range(8):
        keep = keeps[0].copy()
        for group in graph.groups:
            keep[group.units[: generator.integers(group.size)]] = False
        keeps.append(keep)
    times = []
    for keep in keeps:
        values = features.values(keep).reshape(KINDS, -1)
        own = 1 + values[MACS] / 1e3 + values[BYTES] / 1e4
        times.append(dict(zip(features.modules, own.tolist(), strict=True)))
    return fit_table(features, keeps, times, keeps[0])


@pytest.mark.parametrize("name", ["basic", "bottleneck", "excited"])
def test_times_of_all_steps_are_those_of_their_masks(name):
    graph = with_branches(reconv.trace(NETS[name][0](), X))
    table = table_of(graph)
    rankings, limits = rankings_of(graph, reconv.score(graph, "l1"), "mean", False), reconv.Limits()
    queues = {
        group.name: queue_of(graph, group, rankings.of[group.name], limits, coupled=False, equal_shares=False)
        for group in graph.groups
    }
    removals = with_removals(graph, queues, rankings, limits, None)
    smallest = np.ones(graph.classes, dtype=bool)
    spending = Spending(graph, reconv.Budget(latency=0.5), smallest, table)
    tables = Tables(removals.queues, spending, removals.teams)
    taken = np.array([group.steps // 2 for group in tables.groups])
    for i, group in enumerate(tables.groups):
        last = tables.span(i, taken)[1]
        masks = []
        for n in range(last + 1):
            other = taken.copy()
            other[i] = n
            masks.append(table.microseconds(tables.mask(other)))
        shares = tables.shares(i, taken, tables.counts(taken))["latency"][: last + 1] * spending.whole["latency"]
        assert shares - shares[0] == pytest.approx(np.array(masks) - masks[0], abs=1e-6), group.name


@pytest.mark.parametrize("share", [0.8, 0.6, 0.45])
def test_no_plan_within_the_time_loses_less_than_the_bound(share):
    graph = with_branches(reconv.trace(net(Block(), Block()), X))
    curves, table = curves_for(graph, {"1.two.0": 0.9, "2.two.0": 0.3}), table_of(graph)
    for corrected in (table, table.corrected(500.0, next(all_plans(graph, curves))[1], 400.0)):
        allowed = share * corrected.microseconds(corrected.whole)
        within = [lost for lost, keep in all_plans(graph, curves) if corrected.microseconds(keep) <= allowed]
        options = {"latency": corrected, "timer": lambda *_: (1.0, share)}
        plan = reconv.choose(graph, curves, reconv.Budget(latency=share), **options)
        predicted, bound = (float(text.split()[0].strip(";")) for text in _numbers(plan.notes[0]))
        assert 0 < bound <= min(within) * 1.001
        assert predicted == pytest.approx(min(within), rel=0.03)


def test_one_channel_saves_little_and_none_saves_all():
    graph = with_branches(reconv.trace(net(Block(), Block()), X))
    table = table_of(graph)
    block = graph.branches[0]
    (group,) = [group for group in graph.groups if group.name in block.groups]
    one, none = np.ones((2, graph.classes), dtype=bool)
    one[group.units[1:]] = False
    none[block.classes] = False
    modules = sum(name == "1" or name.startswith("1.") for name in table.features.modules)
    assert table.microseconds(one) - table.microseconds(none) >= modules


def test_a_budget_of_time_removes_branches_by_default():
    graph = reconv.trace(net(Block(), Block(), Block()), X)
    curves = curves_for(graph, {f"{i}.two.0": 1e-3 for i in (1, 2, 3)})
    extended = with_branches(graph)
    table = table_of(extended)

    def timer(before, after, example):
        modules = len(list(after.modules()))
        return 100.0, 100.0 * modules / len(list(before.modules()))

    options = {"latency": table, "timer": timer}
    assert reconv.choose(graph, curves, reconv.Budget(latency=0.6), **options).removed
    with pytest.raises(BudgetError):
        reconv.choose(graph, curves, reconv.Budget(latency=0.6), depth=False, **options)


@pytest.mark.parametrize("depth", [None, True])
@pytest.mark.parametrize("slow_without", [0.9, 1.2])
def test_a_time_that_widths_alone_meet_is_met_with_depth(depth, slow_without):
    graph = reconv.trace(net(Block(), Block(), Block()), X)
    curves = curves_for(graph, {f"{i}.two.0": 1e-6 for i in (1, 2, 3)})
    table = table_of(with_branches(graph))

    def timer(before, after, example):
        removed = len(list(after.modules())) < len(list(before.modules()))
        return 100.0, 100 * (slow_without if removed else share)  # whatever it is, without a branch it is slower

    for share in (0.8, 0.7):
        options = {"latency": table, "timer": timer}
        alone = reconv.choose(graph, curves, reconv.Budget(latency=share), depth=False, **options)
        plan = reconv.choose(graph, curves, reconv.Budget(latency=share), depth=depth, **options)
        assert not plan.removed
        assert [row.kept for row in plan.groups] == [row.kept for row in alone.groups]
        assert plan.latency[1] <= 1.03 * share * plan.latency[0]
        assert "widths alone" in plan.notes[-1]


@pytest.mark.slow
def test_mixtures_of_two_plans_take_branches_as_a_whole():
    graph = reconv.trace(net(Block(), Block(), Bottleneck()), X)
    curves = curves_for(graph, {f"{i}.two.0": 0.05 * i for i in (1, 2, 3)})
    table, shares = table_of(with_branches(graph)), iter([0.9, 0.3, 0.3, 0.3, 0.5, 0.4, 0.45, 0.4, 0.45, 0.4, 0.45])

    def timer(before, after, example):
        after(torch.randn(2, 3, 8, 8))  # a group without channels whose branch stays would not run
        return 100.0, 100 * next(shares)

    plan = reconv.choose(graph, curves, reconv.Budget(latency=0.6), latency=table, timer=timer)
    assert "of a slower plan" in plan.notes[-1]
    assert all((not row.kept) == any(row.name in b.groups for b in plan.branches) for row in plan.groups)


def test_repair_makes_up_for_a_removed_block():
    torch.manual_seed(0)
    model = net(Block(), Block(), Block())
    graph = reconv.trace(model, X)
    images = torch.randn(200, 3, 8, 8)
    curves = reconv.error_curves(graph, reconv.gather_moments(graph, images))
    plan = reconv.choose(graph, curves, reconv.Budget(macs=0.3), depth=True)
    assert plan.removed
    small = reconv.prune(model, plan)
    repaired = reconv.repair(small, plan=plan, reference=model, images=images)
    fresh = torch.randn(100, 3, 8, 8)
    with torch.no_grad():
        before, after = ((m(fresh) - model(fresh)).square().mean() for m in (small, repaired))
    assert after < 0.7 * before


def test_rounds_join_what_they_removed():
    model = net(Block(), Block(), Block())
    graph = reconv.trace(model, X)
    first = reconv.choose(graph, curves_for(graph, {f"{i}.two.0": 0.1 * i for i in (1, 2, 3)}), macs(0.7), depth=True)
    small = reconv.prune(model, first)
    again = reconv.trace(small, X)
    then = reconv.choose(again, curves_for(again, {f"{i}.two.0": 0.1 * i for i in (1, 2, 3)}), macs(0.6), depth=True)
    both = joined_plan(first, then)
    assert set(both.removed) == {*first.removed, *then.removed}
    assert len(both.removed) > len(first.removed) > 0
    twice, once = reconv.prune(small, then), reconv.prune(model, both)
    images = torch.randn(2, 3, 8, 8)
    assert torch.equal(twice(images), once(images))
    assert both.macs[1] == reconv.profile(twice, X).macs


def macs(share):
    return reconv.Budget(macs=share)

"""Orders and curves against the least squares that they predict."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from repair_nets import EXAMPLE, NETS, Dense, Grouped, Plain, Residual, images, settled
from torch import nn

from reconv.errors import BudgetError, ConfigError, DataError, WrongKindError
from reconv.graph import ChannelGraph, trace
from reconv.plan import Budget, ErrorCurves, choose, choose_widths
from reconv.refit import curves_of, error_curves, gather_moments
from reconv.refit.elimination import RIDGES
from reconv.refit.settings import Settings
from reconv.saliency import score
from reconv.surgery import prune, verify

EVERYWHERE = Settings(points=64)


def graph_of(model: nn.Module) -> ChannelGraph:
    return trace(settled(model), EXAMPLE)


def fitted_only(moments):
    """Without the images that are left out, so that curves are errors on what they are fitted to."""
    return {name: replace(own, rows=None) for name, own in moments.items()}


def least_squares(moments, columns: list[int], ridge: float) -> float:
    """Error of the best matrix that reads only these columns, and the constant."""
    G, W = moments.gram[0], moments.matrix[0]
    last = [G.shape[0] - 1] if moments.constant else []
    G = G + ridge * G.diagonal()[: len(G) - len(last)].mean() * torch.diag(
        torch.tensor([1.0] * (len(G) - len(last)) + [0.0] * len(last), dtype=torch.float64)
    )
    kept = columns + last
    new = torch.linalg.solve(G[kept][:, kept], G[kept] @ W)
    full = torch.zeros_like(W)
    full[kept] = new
    change = full - W
    return float((change * (G @ change)).sum()) / moments.energy


def test_the_curve_is_the_error_of_the_best_repair() -> None:
    graph = graph_of(Plain())
    moments = fitted_only(gather_moments(graph, images(), EVERYWHERE))
    curve = error_curves(graph, moments, ridge=1e-4)["a"]
    for removed in range(1, 8):
        kept = sorted(set(range(8)) - set(curve.order[:removed].tolist()))
        columns = [c * 9 + tap for c in kept for tap in range(9)]
        expected = least_squares(moments["b"], columns, 1e-4)
        assert curve.errors[removed] == pytest.approx(expected, rel=1e-6)
    # The first step is the best of all single ones.
    singles = [
        least_squares(moments["b"], [c * 9 + t for c in range(8) if c != gone for t in range(9)], 1e-4)
        for gone in range(8)
    ]
    assert curve.errors[1] == pytest.approx(min(singles), rel=1e-6)


def test_curves_say_what_is_lost_on_images_left_out() -> None:
    """Each image in turn is predicted by what the others alone tell."""
    graph, x = graph_of(Plain()), images(12)
    moments = gather_moments(graph, x, EVERYWHERE)
    own = moments["b"]
    curve = error_curves(graph, {"b": own}, ridge=0.1)["a"]
    assert own.rows is not None
    assert len(own.rows) == 12
    for removed in (1, 4, 8):
        kept = sorted(set(range(8)) - set(curve.order[:removed].tolist()))
        columns = [c * 9 + tap for c in kept for tap in range(9)]
        errors = []
        for ridge in (0.1 * f for f in RIDGES):
            amount = ridge * own.gram[0].diagonal()[:-1].mean()
            penalty = torch.diag(torch.tensor([1.0] * 72 + [0.0], dtype=torch.float64)) * amount
            total = 0.0
            for out in range(12):
                rows = own.rows[out, :, 0].double()
                G = own.gram[0] - rows.T @ rows / own.count + penalty
                # The penalty holds the weights that stay where they were.
                change = torch.zeros_like(own.matrix[0])
                gone = sorted(set(range(72)) - set(columns))
                change[gone] = own.matrix[0][gone]
                stays = [*columns, 72]
                change[stays] = -torch.linalg.solve(G[stays][:, stays], G[stays][:, gone] @ own.matrix[0][gone])
                total += float((rows @ change).square().sum())
            errors.append(total / own.count / own.energy)
        assert min(abs(float(curve.errors[removed]) / error - 1) for error in errors) < 2e-3


def test_fewer_images_than_inputs_make_no_channel_free() -> None:
    net = nn.Sequential(nn.Conv2d(3, 40, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(40, 5))
    graph = trace(net.double().eval(), EXAMPLE)
    few, many = (error_curves(graph, gather_moments(graph, images(n), EVERYWHERE))["0"].errors for n in (12, 200))
    assert few[20] > 0.3 * many[20]
    assert few[28] > 0.01 * few[-1]


@pytest.mark.parametrize("name", NETS)
def test_curves_rise_and_orders_hold_every_free_channel_once(name: str) -> None:
    graph = graph_of(NETS[name]())
    curves = error_curves(graph, gather_moments(graph, images(), EVERYWHERE))
    assert curves
    groups = {group.name: group for group in graph.groups}
    for name, curve in curves.items():
        assert sorted(curve.order.tolist()) == np.flatnonzero(groups[name].free).tolist()
        assert (np.diff(curve.errors) >= -1e-9).all()
        assert curve.errors[0] == 0


def test_the_flattened_map_counts_as_one_channel() -> None:
    graph = graph_of(Plain())
    curve = error_curves(graph, gather_moments(graph, images(), EVERYWHERE))["c"]
    assert len(curve.order) == 6


def test_grouped_removals_stay_balanced() -> None:
    graph = graph_of(Grouped())
    curves = error_curves(graph, gather_moments(graph, images(), EVERYWHERE))
    group = next(g for g in graph.groups if g.name == "a")
    cells = group.cells[curves["a"].order]
    assert (np.sort(cells.reshape(-1, 2), 1) == np.unique(group.cells)).all()


def test_another_order_costs_more() -> None:
    graph = graph_of(Residual())
    moments = fitted_only(gather_moments(graph, images(), EVERYWHERE))
    greedy = error_curves(graph, moments)
    reverse = {name: curve.order[::-1] for name, curve in greedy.items()}
    other = error_curves(graph, moments, orders=reverse)
    for name, curve in greedy.items():
        assert other[name].order.tolist() == reverse[name].tolist()
        assert other[name].errors[-1] == pytest.approx(curve.errors[-1], rel=1e-6)
        assert (other[name].errors >= curve.errors - 1e-9).mean() > 0.9


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize(
    "budget", [Budget(macs=0.6), Budget(params=0.6), Budget(channels=0.5), Budget(macs=0.7, params=0.65)]
)
def test_the_budget_is_met_and_the_cut_is_sound(name: str, budget: Budget) -> None:
    model = settled(NETS[name]())
    graph = trace(model, EXAMPLE)
    curves = error_curves(graph, gather_moments(graph, images(), EVERYWHERE))
    plan = choose(graph, curves, budget)
    if budget.macs:
        assert plan.macs[1] <= budget.macs * plan.macs[0]
        assert plan.macs[1] > (budget.macs - 0.35) * plan.macs[0]
    if budget.params:
        assert plan.params[1] <= budget.params * plan.params[0]
    assert all(row.kept for row in plan.groups)
    assert verify(model, prune(model, plan), plan) < 1e-10


def test_allocation_is_close_to_the_best_there_is() -> None:
    graph = graph_of(Residual())
    curves = error_curves(graph, gather_moments(graph, images(), EVERYWHERE))
    plans = {}
    for a, c in itertools.product(range(1, 11), repeat=2):
        plan = choose_widths(graph, score(graph, "l2"), {"a": a, "c": c})
        plans[plan.macs[1], a, c] = curves["a"].errors[10 - a] + curves["c"].errors[10 - c]
    for macs in (0.8, 0.65, 0.5, 0.4):
        ours = choose(graph, curves, Budget(macs=macs))
        kept = {row.name: len(row.kept) for row in ours.groups}
        predicted = curves["a"].errors[10 - kept["a"]] + curves["c"].errors[10 - kept["c"]]
        best = min(error for (cost, _, _), error in plans.items() if cost <= macs * ours.macs[0])
        assert predicted <= 1.05 * best


def test_what_cannot_be_met_is_said() -> None:
    graph = graph_of(Dense())
    curves = error_curves(graph, gather_moments(graph, images(), EVERYWHERE))
    with pytest.raises(BudgetError, match=r"ask for macs=0\.\d+"):
        choose(graph, curves, Budget(macs=0.001))
    with pytest.raises(ConfigError, match="no group of channels has an error curve"):
        choose(graph, ErrorCurves("reconstruction", {}), Budget(macs=0.5))
    with pytest.raises(DataError, match="at least two"):
        gather_moments(graph, images(1))


def test_curves_of_refuses_other_kinds() -> None:
    graph = graph_of(Plain())
    for given, said in (((None, score(graph, "l1")), "graph is None"), ((graph, "l1"), "saliency is 'l1'")):
        with pytest.raises(WrongKindError, match=f"curves_of: {said}"):
            curves_of(*given, {})  # type: ignore[arg-type]


def test_looking_does_not_touch_the_network() -> None:
    model = settled(Residual()).train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    gather_moments(trace(model, EXAMPLE), images())
    assert model.training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())

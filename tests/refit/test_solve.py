"""Least squares against the textbook, and the gate against what it promises."""

from __future__ import annotations

import pytest
import torch

from reconv.refit.solve import RIDGES, Problem, apply, gated_error, rescaled, solve


def problem(n: int = 400, inputs: int = 7, outputs: int = 3, groups: int = 2) -> Problem:
    rows = torch.randn(n, groups, inputs)
    rows[..., -1] = 1
    target = torch.randn(n, groups, outputs) + rows[..., :outputs] + rows[..., :outputs] ** 2 - 2
    return Problem(rows, target, torch.zeros(groups, inputs, outputs, dtype=torch.float64), constant=True)


def test_it_is_least_squares() -> None:
    p = problem()
    found = solve(p, ridge=1e-12)
    for g in range(2):
        expected = torch.linalg.lstsq(p.rows[:, g].double(), p.target[:, g].double()).solution
        torch.testing.assert_close(found[g], expected, rtol=1e-5, atol=1e-6)


def test_the_ridge_pulls_toward_the_present_matrix_but_not_the_constant() -> None:
    p = problem()
    start = torch.randn_like(p.start)
    found = solve(Problem(p.rows, p.target, start, True), ridge=1e9)
    torch.testing.assert_close(found[:, :-1], start[:, :-1], rtol=1e-4, atol=1e-4)
    left = (p.target - apply(p.rows[..., :-1], found[:, :-1])).double()
    torch.testing.assert_close(found[:, -1], left.mean(0), rtol=1e-3, atol=1e-3)


def test_too_few_rows_keep_what_they_do_not_determine() -> None:
    p = problem(n=3)
    start = torch.randn_like(p.start)
    few = Problem(p.rows, p.target, start, True)
    found = solve(few, ridge=1e-6)
    assert gated_error(apply(p.rows, found), p.target, None) < 1e-6
    assert float((found - start).norm()) < 10 * float(start.norm())


def test_dead_inputs_do_no_harm() -> None:
    p = problem()
    p.rows[:, 0, 2] = 0
    p.rows[:, 1, :-1] = 0
    assert bool(torch.isfinite(solve(p)).all())


def test_the_gate_lowers_what_passes_the_activation() -> None:
    p = problem()
    gate = (0.0, float("inf"))
    errors = [gated_error(apply(p.rows, solve(p, gate=gate, passes=n)), p.target, gate) for n in (0, 1, 3, 10)]
    assert max(errors[1:]) < 0.99 * errors[0]


def test_the_gate_asks_only_for_the_side() -> None:
    """Its own objective, the distance to the nearest admissible target, falls from pass to pass."""
    p = problem()
    for low, high in ((0.0, float("inf")), (0.0, 1.5)):
        distances = []
        for passes in (0, 1, 3, 10):
            value = apply(p.rows, solve(p, gate=(low, high), passes=passes))
            admissible = torch.where(p.target < low, value.clamp(max=low), p.target)
            admissible = torch.where(p.target > high, value.clamp(min=high), admissible)
            distances.append(gated_error(value, admissible, None))
        assert distances == sorted(distances, reverse=True)
        assert distances[-1] < 0.95 * distances[0]


def test_few_rows_and_many_are_one_problem() -> None:
    """On either side of the switch from rows to inputs the solution is that of the ridge problem, for some ridge."""
    torch.manual_seed(1)
    rows, target = torch.randn(6, 1, 7).double(), torch.randn(6, 1, 2).double()
    start = torch.randn(1, 7, 2, dtype=torch.float64)
    problem = Problem(rows, target, start, constant=False)
    found = solve(problem, ridge=1e-2)[0]
    pulled = rescaled(problem)[0]  # with few rows the ridge pulls there
    U, T = rows[:, 0], target[:, 0]
    level = U.square().mean() * 6
    ridges = [1e-2 * factor * level * torch.eye(7).double() for factor in RIDGES]
    expected = [pulled + torch.linalg.solve(U.T @ U + r, U.T @ (T - U @ pulled)) for r in ridges]
    assert min(float((found - e).norm()) for e in expected) < 1e-10


@pytest.mark.parametrize("rows", [20, 200])
def test_few_rows_tell_scale_and_shift_of_each_output(rows: int) -> None:
    inputs, scale, shift = 50, torch.tensor([2.0, -0.5, 1.0]).double(), torch.tensor([1.0, 0.0, -3.0]).double()
    U = torch.cat([torch.randn(rows, inputs).double(), torch.ones(rows, 1).double()], 1)
    start = torch.randn(1, inputs + 1, 3).double()
    target = (U @ start[0]) * scale + shift
    found = solve(Problem(U[:, None], target[:, None], start, constant=True), ridge=1e2)[0]
    unseen = torch.cat([torch.randn(9, inputs).double(), torch.ones(9, 1).double()], 1)
    expected = (unseen @ start[0]) * scale + shift
    assert float((unseen @ found - expected).norm() / expected.norm()) < 1e-6

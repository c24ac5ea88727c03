"""Least squares for one layer, from rows of its input to what its output should be.

    minimize  |U W - T|^2 / n  +  r |W - W0|^2        r = ridge * mean squared input, none on the constant

through the normal equations in float64. Where a ReLU reads the signal, only the side counts beyond its bounds: a
negative target asks for a negative value, no matter which. This **gate** keeps the Gram matrix and replaces the target
of a row by the present value wherever that is beyond the same bound (a few passes over one Cholesky factor).

With fewer rows than inputs the same minimum is found from the rows' products with each other, [n, n] instead of
[inputs, inputs]:  W = W0 + U^T (U U^T + n r)^-1 (T - U W0).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from reconv.refit.left_out import is_plenty, judged_images, left_out
from reconv.threads import map_parts

Bounds = tuple[float, float]
_FEW = 8  # rows an input, below which scale and shift of each output are fitted first
_LEAST_IMAGES = 5  # with fewer, leaving one out says nothing
RIDGES = (1.0, 10.0, 1e2, 1e3, 1e4, 1e6, 1e9)  # times the one asked for, that are tried


@dataclass(frozen=True, eq=False)
class Problem:
    """One layer's least squares.

    Args:
        rows: [n, groups, inputs], float; with the constant last if `constant`.
        target: [n, groups, outputs].
        start: the present matrix, [groups, inputs, outputs], float64.
        constant: whether the last input is the constant one.
        images: independent ones that the rows come from, each as many in turn; 0: rows are independent.
    """

    rows: Tensor
    target: Tensor
    start: Tensor
    constant: bool
    images: int = 0


def by_group(a: Tensor, b: Tensor) -> Tensor:
    """a^T b / n for every group, summed in float64 over chunks: [groups, columns of a, columns of b]."""
    total = torch.zeros(a.shape[1], a.shape[2], b.shape[2], dtype=torch.float64, device=a.device)
    for product in map_parts(_product, zip(a.split(4096), b.split(4096), strict=True)):
        total += product
    return total / len(a)


def _product(pair: tuple[Tensor, Tensor]) -> Tensor:
    x, y = pair
    if x.shape[1] == 1:  # a plain product is much faster than a batch of one
        return (x[:, 0].T @ y[:, 0])[None]
    return torch.bmm(x.permute(1, 2, 0), y.transpose(0, 1))


def apply(rows: Tensor, matrix: Tensor) -> Tensor:
    """rows @ matrix for every group, [n, groups, outputs], in the dtype of the rows."""
    matrix = matrix.to(rows.dtype)

    def part(rows: Tensor) -> Tensor:
        if len(matrix) == 1:
            return (rows[:, 0] @ matrix[0])[:, None]
        return torch.bmm(rows.transpose(0, 1), matrix).transpose(0, 1)

    return torch.cat(list(map_parts(part, rows.split(4096))))


def damped(gram: Tensor, ridge: float, constant: bool) -> tuple[Tensor, Tensor]:
    """The Gram matrix with the ridge on its diagonal, and the ridge of every group [groups, 1, 1]."""
    diagonal = gram.diagonal(dim1=1, dim2=2)
    inputs = diagonal[:, :-1] if constant else diagonal
    level = inputs.mean(1) if inputs.shape[1] else inputs.new_zeros(len(inputs))
    amount = ridge * level + torch.finfo(gram.dtype).tiny ** 0.5
    added = amount[:, None].repeat(1, diagonal.shape[1])
    if constant:
        added[:, -1] = 1e-12 * min(ridge, 1.0) * level
    return gram + torch.diag_embed(added), amount[:, None, None]


def solve(problem: Problem, ridge: float = 1e-4, gate: Bounds | None = None, passes: int = 3) -> Tensor:
    """The matrix that minimizes the problem, [groups, inputs, outputs], float64; see `solve_with_factor`."""
    return solve_with_factor(problem, ridge, gate, passes)[0]


def solve_with_factor(problem: Problem, ridge: float, gate: Bounds | None, passes: int) -> tuple[Tensor, Tensor | None]:
    """The matrix that minimizes the problem, and what else that yields.

    Args:
        ridge: the least one, relative to the mean squared input; it pulls toward the present matrix. A larger one is
            taken where images that are left out say that it is better.
        gate: bounds of the activation that reads the signal, or None.
        passes: of the gate.

    Returns:
        The matrix [groups, inputs, outputs], float64; the Cholesky factor of the Gram matrix with the ridge that
        was taken, so that joint iterations hold back where images tell little, too; None where none was made.
    """
    few = len(problem.rows) < _FEW * problem.rows.shape[2]
    if few:
        problem = replace(problem, start=rescaled(problem))
    gram = None if len(problem.rows) < problem.rows.shape[2] else by_group(problem.rows, problem.rows)
    chosen = best_ridge(problem, ridge, gram)
    fit, factor = _from_few_rows(problem, chosen) if gram is None else _from_gram(problem, chosen, gram)
    matrix = fit(problem.target)
    if gate is not None:
        low, high = gate
        for _ in range(passes):
            value = apply(problem.rows, matrix)
            target = torch.where(problem.target < low, value.clamp(max=low), problem.target)
            if high < float("inf"):
                target = torch.where(problem.target > high, value.clamp(min=high), target)
            matrix = fit(target)
    return matrix, factor


def rescaled(problem: Problem) -> Tensor:
    """The present matrix with a scale and a shift of each output that fit the target: what few rows do tell."""
    value, target = (t.double() for t in (apply(problem.rows, problem.start), problem.target))
    if problem.constant:
        middle = value.mean(0), target.mean(0)
        value, target = value - middle[0], target - middle[1]
    energy = value.square().sum(0)
    scale = torch.where(energy > 0, (value * target).sum(0) / energy.clamp(min=1e-300), 1.0)
    matrix = problem.start * scale[:, None]
    if problem.constant:
        matrix[:, -1] += middle[1] - scale * middle[0]
    return matrix


def best_ridge(problem: Problem, ridge: float, gram: Tensor | None = None) -> float:
    """The ridge, of this one times `RIDGES`, that images which are left out ask for (`left_out`).

    Args:
        gram: that of the problem's rows, found here if None.
    """
    n, _, inputs = problem.rows.shape
    images = problem.images or (n if n < _FEW * inputs else 0)
    if images < _LEAST_IMAGES or n % images or is_plenty(n, images, inputs):
        return ridge
    ridges = [ridge * factor for factor in RIDGES]
    if n < inputs:
        errors = _left_out_few(problem, ridges, images)
    else:
        gram = by_group(problem.rows, problem.rows) if gram is None else gram
        errors = _left_out_many(problem, ridges, images, gram)
    return min(errors, key=errors.__getitem__)


def _left_out_many(problem: Problem, ridges: Sequence[float], images: int, gram: Tensor) -> dict[float, float]:
    """Mean squared error of images left out, by ridge, through the normal equations."""
    n, groups, inputs = problem.rows.shape
    each = n // images
    judged = judged_images(images, each, groups).to(problem.rows.device)
    rows = problem.rows.reshape(images, each, groups, inputs)[judged]
    missing = problem.target - apply(problem.rows, problem.start)
    held = missing.reshape(images, each, groups, -1)[judged]
    right = by_group(problem.rows, missing)
    errors = {}
    for ridge in ridges:
        damped_gram, _ = damped(gram, ridge, problem.constant)
        factor, failed = torch.linalg.cholesky_ex(damped_gram)
        if bool(failed.any()):
            continue
        change = torch.cholesky_solve(right, factor)
        with_them = held - apply(rows.flatten(0, 1), change).reshape(held.shape)
        errors[ridge] = float(left_out(rows, with_them, factor, n).double().square().mean())
    return errors or {ridges[0]: 0.0}


def _left_out_few(problem: Problem, ridges: Sequence[float], images: int) -> dict[float, float]:
    """The same through the products of rows with each other: `error without b = (K^-1)_bb^-1 (K^-1 missing)_b`."""
    kernel, level = _kernel(problem)
    n, groups = problem.rows.shape[:2]
    each = n // images
    missing = (problem.target - apply(problem.rows, problem.start)).transpose(0, 1).double()
    identity = torch.eye(n, dtype=kernel.dtype, device=kernel.device)
    errors = {}
    for ridge in ridges:
        inverse = torch.linalg.inv(kernel + (n * ridge * level)[:, None, None] * identity)
        blocks = inverse.reshape(groups, images, each, images, each).diagonal(dim1=1, dim2=3).permute(0, 3, 1, 2)
        left = torch.linalg.solve(blocks, (inverse @ missing).reshape(groups, images, each, -1))
        errors[ridge] = float(left.square().mean())
    return errors


def _from_gram(problem: Problem, ridge: float, gram: Tensor) -> tuple[Callable[[Tensor], Tensor], Tensor | None]:
    """Least squares for any target, through the normal equations."""
    gram, amount = damped(gram, ridge, problem.constant)
    pull = amount * problem.start
    if problem.constant:
        pull[:, -1] = 0.0
    factor, failed = torch.linalg.cholesky_ex(gram)
    inverse = torch.linalg.pinv(gram, hermitian=True) if bool(failed.any()) else None

    def fit(target: Tensor) -> Tensor:
        right = by_group(problem.rows, target) + pull
        return torch.cholesky_solve(right, factor) if inverse is None else inverse @ right

    return fit, factor if inverse is None else None


def _from_few_rows(problem: Problem, ridge: float) -> tuple[Callable[[Tensor], Tensor], None]:
    """The same where there are fewer rows than inputs; here the ridge is on the constant too."""
    kernel, level = _kernel(problem)
    rows, n = problem.rows.transpose(0, 1), len(problem.rows)
    amount = n * ridge * level
    factor = torch.linalg.cholesky(
        kernel + amount[:, None, None] * torch.eye(n, dtype=kernel.dtype, device=rows.device)
    )

    def fit(target: Tensor) -> Tensor:
        missing = (target - apply(problem.rows, problem.start)).transpose(0, 1).double()
        weights = torch.cholesky_solve(missing, factor)
        return problem.start + (rows.mT @ weights.to(rows.dtype)).double()

    return fit, None


def _kernel(problem: Problem) -> tuple[Tensor, Tensor]:
    """Products of the rows with each other, [groups, n, n], and the mean squared input of every group."""
    rows = problem.rows.transpose(0, 1)  # [groups, n, inputs]
    kernel = (rows @ rows.mT).double()
    level = kernel.diagonal(dim1=1, dim2=2).sum(1) / (rows.shape[1] * rows.shape[2])
    return kernel, level + torch.finfo(kernel.dtype).tiny ** 0.5


def gated_error(value: Tensor, target: Tensor, gate: Bounds | None) -> float:
    """Mean squared difference a row, of what passes the gate."""
    if gate is not None:
        value, target = value.clamp(*gate), target.clamp(*gate)
    return float((value - target).double().square().sum() / max(len(value), 1))

"""Two layers with an activation between them, refined together.

Solved one after the other, the first of two layers imitates the channels that it kept, whether or not the second needs
them so. Together they minimize the error of what the two make:

    minimize over W1, W2   | act(x * W1) * W2 - T |^2

no longer linear, but smooth enough for a few quasi-Newton (L-BFGS) iterations from the layer-wise solution. What makes
a few suffice is the metric. With G1, G2 the Gram matrices of what the layers read and B the Gram matrix of W2 over the
channels between them, the unknowns are `V1 = G1^(1/2) W1 B^(1/2)` and `V2 = G2^(1/2) W2`, in which the Hessian is close
to the identity (the Kronecker factors of the Gauss-Newton matrix). Three iterations then do what twenty did not.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from reconv.refit.layer_use import LayerUse
from reconv.refit.rows import Sampler, from_matrix, input_rows, output_positions, tap_table
from reconv.refit.solve import Bounds, by_group, damped
from reconv.threads import map_parts

_METRIC_ROWS = 16_000
_PART_ROWS = 16_000  # positions that one thread works on at a time
_LARGEST = 6_000  # inputs of a layer; wider ones are left to least squares alone
_FEW = 32  # positions an input, below which the iterations are stopped by held out images
_LEAST_ACTIVITY = 0.02  # of a channel between the layers, so that silent ones do not run away


@dataclass(frozen=True, eq=False)
class Member:
    """One of the two layers.

    Args:
        use: a call of it; its weight has the shape that is looked for.
        matrix: where the search starts, [groups, inputs (+ constant), outputs], float64.
        constant: whether the last input is the constant one.
        factor: Cholesky factor of the Gram matrix of what it reads, [groups, inputs, inputs]; found here if None.
    """

    use: LayerUse
    matrix: Tensor
    constant: bool
    factor: Tensor | None = None

    def __call__(self, x: Tensor, weights: tuple[Tensor, Tensor | None]) -> Tensor:
        return self.use(input=x, weight=weights[0], bias=weights[1])

    def weights(self, matrix: Tensor) -> tuple[Tensor, Tensor | None]:
        """Weight and bias of a matrix, in the dtype of the layer."""
        linear = matrix[:, :-1] if self.constant else matrix
        bias = matrix[:, -1].flatten() if self.constant else None
        weight = from_matrix(linear, self.use.weight, self.use.kind)
        dtype = self.use.weight.dtype
        return weight.to(dtype), None if bias is None else bias.to(dtype)


@dataclass(frozen=True, eq=False)
class Pair:
    """Two layers and what is between them: `second(between(first(x)))` should be `target`.

    Args:
        x: [images, ...]. target: of the second layer's output.
        between: activation and pooling.
        gate: bounds of the activation that reads the second layer's signal, or None.
    """

    first: Member
    second: Member
    between: Callable[[Tensor], Tensor]
    x: Tensor
    target: Tensor
    gate: Bounds | None = None

    def channels_last(self) -> Pair:
        """The same with images laid out as small convolutions are fastest."""
        if self.x.dim() != 4 or self.target.dim() != 4:
            return self
        x, target = (t.contiguous(memory_format=torch.channels_last) for t in (self.x, self.target))
        return replace(self, x=x, target=target)


def refine(pair: Pair, iterations: int, ridge: float) -> tuple[Tensor, Tensor]:
    """Matrices of both layers after some iterations, float64; those at the start where nothing better is found.

    With few positions for the layers' inputs, the last fifth of the images does not take part, and the iterate that is
    best on it is taken.
    """
    inputs = max(pair.first.matrix.shape[1], pair.second.matrix.shape[1])
    if not iterations or not pair.target.numel() or inputs > _LARGEST:
        return pair.first.matrix, pair.second.matrix
    held, positions = 0, pair.target.numel() // (pair.second.matrix.shape[0] * pair.second.matrix.shape[2])
    batch = math.ceil(len(pair.x) * _PART_ROWS / positions)
    pair = pair.channels_last()
    if positions < _FEW * inputs:
        held = len(pair.x) // 5
    whole, kept = pair, len(pair.x) - held
    if held:
        pair = replace(pair, x=whole.x[:kept], target=whole.target[:kept])
    metric = _Metric.of(pair, ridge)
    with torch.enable_grad():
        unknowns = [v.detach().requires_grad_() for v in metric.into(pair.first.matrix, pair.second.matrix)]
        optimizer = torch.optim.LBFGS(
            unknowns,
            max_iter=iterations,
            max_eval=2 * iterations + 2,
            history_size=iterations + 1,
            tolerance_grad=0,
            tolerance_change=0,
            line_search_fn="strong_wolfe",
        )
        energy = float(pair.target.double().square().sum()) or 1.0
        best: list[tuple[float, list[Tensor]]] = []

        def closure() -> float:
            optimizer.zero_grad()
            matrices = metric.back(*unknowns)
            error = judged = _error_with_gradient(pair, matrices, energy, batch)
            if held:
                judged = _error(replace(whole, x=whole.x[kept:], target=whole.target[kept:]), matrices)
            if not best or judged < best[0][0]:
                best[:] = [(judged, [v.detach().clone() for v in unknowns])]
            return error

        optimizer.step(closure)
    first, second = metric.back(*best[0][1])
    if not bool(torch.isfinite(first).all() and torch.isfinite(second).all()):
        return pair.first.matrix, pair.second.matrix
    return first.detach(), second.detach()


@torch.no_grad()
def _error(pair: Pair, matrices: tuple[Tensor, Tensor]) -> float:
    """Squared error of the pair."""
    first, second = (m.weights(w) for m, w in zip((pair.first, pair.second), matrices, strict=True))
    value = pair.second(pair.between(pair.first(pair.x, first)), second)
    return float(_beyond(value - pair.target, value, pair.target, pair.gate).double().square().sum())


def _error_with_gradient(pair: Pair, matrices: tuple[Tensor, Tensor], energy: float, batch: int) -> float:
    """The error as a share of the target's energy; its gradient is left in what the matrices depend on."""
    members = (pair.first, pair.second)
    outer = [member.weights(matrix) for member, matrix in zip(members, matrices, strict=True)]

    def part(images: tuple[Tensor, Tensor]) -> tuple[float, tuple[Tensor, ...]]:
        x, target = images
        inner = [tuple(None if t is None else t.detach().requires_grad_() for t in weights) for weights in outer]
        value = pair.second(pair.between(pair.first(x, inner[0])), inner[1])  # type: ignore[arg-type]
        error = _beyond(value - target, value, target, pair.gate).square().sum() / energy
        return float(error.detach()), torch.autograd.grad(error, [t for w in inner for t in w if t is not None])

    parts = list(map_parts(part, zip(pair.x.split(batch), pair.target.split(batch), strict=True)))
    flat = [t for weights in outer for t in weights if t is not None]
    torch.autograd.backward(flat, [sum(grads[1:], grads[0]) for grads in zip(*(g for _, g in parts), strict=True)])
    return sum(error for error, _ in parts)


def _beyond(difference: Tensor, value: Tensor, target: Tensor, gate: Bounds | None) -> Tensor:
    """Where the target lies beyond a bound, only what the value lacks of that bound counts."""
    if gate is None:
        return difference
    low, high = gate
    difference = torch.where(target < low, (value - low).clamp(min=0), difference)
    return torch.where(target > high, (value - high).clamp(max=0), difference)


@dataclass(frozen=True, eq=False)
class _Metric:
    """The change of variables: `V1 = L1^T W1 B`, `V2 = L2^T W2` with Cholesky factors L of the Gram matrices."""

    first: Tensor
    second: Tensor
    between: Tensor

    @classmethod
    def of(cls, pair: Pair, ridge: float) -> _Metric:
        x = pair.x
        signal = pair.first(x, pair.first.weights(pair.first.matrix))
        activity = _activity(signal, pair.between, pair.first.use.kind)
        inside = pair.between(signal)
        groups, outputs = pair.first.matrix.shape[0], pair.first.matrix.shape[2]
        metric = _reading(pair.second, groups * outputs)
        blocks = torch.stack([metric[i : i + outputs, i : i + outputs] for i in range(0, len(metric), outputs)])
        level = blocks.diagonal(dim1=1, dim2=2).mean()
        identity = torch.eye(outputs, dtype=torch.float64, device=x.device)
        blocks = blocks + (1e-2 * level + 1e-30) * identity
        between = torch.linalg.cholesky(blocks) * activity.reshape(groups, outputs, 1)
        return cls(_factor(pair.first, x, ridge), _factor(pair.second, inside, ridge), between)

    def into(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        return self.first.mT @ first @ self.between, self.second.mT @ second

    def back(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        first = torch.linalg.solve_triangular(self.first.mT, first, upper=True)
        first = torch.linalg.solve(self.between, first, left=False)
        return first, torch.linalg.solve_triangular(self.second.mT, second, upper=True)


def _factor(member: Member, x: Tensor, ridge: float) -> Tensor:
    """Cholesky factor of the Gram matrix of what a layer reads, from some of its positions."""
    if member.factor is not None:
        return member.factor
    use = replace(member.use, arguments={**member.use.arguments, "input": x})
    shape = use.output_size()
    spatial = output_positions(shape, use.kind)
    sampler = Sampler(shape[0], max(_METRIC_ROWS // shape[0], 1), 0)
    positions = sampler.positions("metric", shape[0], spatial.numel(), (2 * member.matrix.shape[1], math.inf)).to(
        x.device
    )
    table = None if use.kind == "linear" else tap_table(use, spatial).to(x.device)
    rows = input_rows(use, table, positions, member.constant)
    gram = by_group(rows, rows)
    for more in range(8):
        factor, failed = torch.linalg.cholesky_ex(damped(gram, ridge * 10**more, constant=False)[0])
        if not bool(failed.any()):
            break
    result: Tensor = factor
    return result


def _activity(signal: Tensor, between: Callable[[Tensor], Tensor], kind: str) -> Tensor:
    """Root mean squared slope of what is between the layers, for every channel."""
    with torch.enable_grad():
        leaf = signal[:64].detach().requires_grad_()
        (slope,) = torch.autograd.grad(between(leaf.clone()).sum(), leaf)
    channels = slope.flatten(0, -2) if kind == "linear" else slope.transpose(0, 1).flatten(1).T
    return channels.double().square().mean(0).clamp(min=_LEAST_ACTIVITY).sqrt()


def _reading(second: Member, channels: int) -> Tensor:
    """How the second layer sees the channels between: the Gram matrix of its weights, [channels, channels]."""
    linear = second.matrix[:, :-1] if second.constant else second.matrix
    groups, inputs, _ = linear.shape
    if (groups * inputs) % channels or channels % groups:
        return torch.eye(channels, dtype=torch.float64, device=linear.device)
    flat = linear.reshape(groups, channels // groups, -1)
    blocks: Tensor = torch.block_diag(*(flat @ flat.mT))
    return blocks

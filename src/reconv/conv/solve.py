"""Which algorithm for which channel: the cheapest that meets the tolerance, with its estimated error."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from reconv.conv import certificate, cut, dense, nuclear, seam, spectral, taps, torus
from reconv.conv.bands import Band
from reconv.conv.shapes import Float64

DENSE_ROWS = 100  # up to this size dense eigenvalues are the fastest
SMALL_ROWS = 600  # up to this size they are faster than more than FEW_ROUNDS of the filter
FEW_ROUNDS = 5
CHEAP_PROOF = 5e5  # multiplications: a proof of sigma_1 that costs less is always made (maps up to 16 x 16)
GAIN = 8.0  # a rung counts as at most this many times more accurate than the rung below it
SAFETY = 4.0  # error estimates are this many times the difference of two rungs
PIECES = 4  # area, two edges, corner; with fewer (a piece is the whole map), rungs more often agree by chance
AFFORDABLE = 4e9  # work per channel, in cubed rows of a dense matrix, that is spent without `exact`
ROUNDING = 1e-12  # relative error of dense eigenvalues
PROVEN = 2e-7  # relative width of a proven bracket of sigma_1
CROWD = 1e-7  # least relative error of the filtered block: it may miss one of many nearly equal eigenvalues

Split = Float64[Tensor, "channels pairs1 pairs2"]
Bands = tuple[Band, Band]


@dataclass(eq=False)
class Estimate:
    """Values of one norm for a batch of channels, their estimated absolute errors, and the algorithms."""

    value: Float64[Tensor, "channels"]
    error: Float64[Tensor, "channels"]
    algorithm: list[str]

    @classmethod
    def by(cls, algorithm: str, value: Tensor, relative_error: float) -> Estimate:
        """One algorithm for the whole batch."""
        return cls(value, relative_error * value, [algorithm] * len(value))

    def put(self, index: Tensor, other: Estimate) -> None:
        """Replace the estimates of some channels."""
        self.value[index], self.error[index] = other.value, other.error
        for i, name in zip(index.tolist(), other.algorithm):
            self.algorithm[i] = name

    def times(self, count: int) -> Estimate:
        """The sum of `count` such terms."""
        return Estimate(count * self.value, count * self.error, self.algorithm)

    def plus(self, other: Estimate) -> Estimate:
        """The sum."""
        names = [a if a == b else f"{a} + {b}" for a, b in zip(self.algorithm, other.algorithm)]
        return Estimate(self.value + other.value, self.error + other.error, names)

    def larger(self, other: Estimate) -> Estimate:
        """The larger value of each channel, with its error and algorithm."""
        first = self.value >= other.value
        names = [a if is_first else b for is_first, a, b in zip(first.tolist(), self.algorithm, other.algorithm)]
        return Estimate(self.value.where(first, other.value), self.error.where(first, other.error), names)

    def is_within(self, tol: float) -> Tensor:
        """Which channels meet a relative tolerance."""
        return self.error <= tol * self.value


def spectral_and_nuclear(
    split: Split, bands: Bands, norms: frozenset[str], *, exact: bool, tol: float
) -> dict[str, Estimate]:
    """The requested norms of one term of the direct sum."""
    rows = bands[0].rows * bands[1].rows
    if rows <= DENSE_ROWS or (exact and _exact_algorithm(bands)[0] == "dense"):
        sigma = _all_singular_values(split, bands)
        values = {"spectral": sigma[:, -1], "nuclear": sigma.sum(1)}
        name = "dense" if rows > 1 else "closed form"
        return {norm: Estimate.by(name, values[norm], ROUNDING) for norm in norms}
    estimates = {}
    if "spectral" in norms:
        estimates["spectral"] = _spectral(split, bands, exact=exact)
    if "nuclear" in norms:
        estimates["nuclear"] = _nuclear(split, bands, exact=exact, tol=tol)
    return estimates


def _spectral(split: Split, bands: Bands, *, exact: bool) -> Estimate:
    """The spectral norm by the filtered block, proven where that costs little; `exact`: proven, or dense."""
    rows = bands[0].rows * bands[1].rows
    rounds = FEW_ROUNDS if rows <= SMALL_ROWS else spectral.ROUNDS
    value, error = spectral.largest_eigenvalue(split, bands, rounds=rounds)
    sigma = value.clamp_min(0).sqrt()
    result = Estimate(sigma, (error / 2).clamp_min(CROWD) * sigma, ["filtered block"] * len(split))
    unproven = error > spectral.TOL
    if exact or certificate.work(bands) <= CHEAP_PROOF:
        proven = certificate.is_above(split, bands, value * (1 + PROVEN) ** 2)
        certain = torch.nonzero(proven)[:, 0]
        result.put(certain, Estimate.by("filtered block, proven", sigma[certain], PROVEN))
        unproven = ~proven
    rest = torch.nonzero(unproven)[:, 0]
    if len(rest) and (exact or rows**3 <= AFFORDABLE):
        result.put(rest, Estimate.by("dense", _all_singular_values(split[rest], bands)[:, -1], ROUNDING))
    elif len(rest):
        above = certificate.symbol_bound(split[rest], bands).sqrt() - sigma[rest]
        result.error[rest] = result.error[rest].maximum(above)
    return result


def _nuclear(split: Split, bands: Bands, *, exact: bool, tol: float) -> Estimate:
    """The nuclear norm: exactly for single kernels where that is affordable, else by pieces.

    A single kernel's symbol touches zero, so pieces converge slowly, and two sizes may agree by chance.
    """
    result = Estimate.by("", torch.zeros_like(split[:, 0, 0]), 0.0)
    single = cut.single_kernels(split, bands)[1]
    for is_single in (True, False):
        part = torch.nonzero(single == is_single)[:, 0]
        if len(part):
            solver = Exact(*_exact_algorithm(bands))
            if is_single and cut.fits(bands) and cut.work(bands) < solver.work:
                solver = Exact("cut", cut.work(bands))
            exactly = exact or (is_single and solver.work <= AFFORDABLE)
            climb = solver.solve(split[part], bands) if exactly else _climb(split[part], bands, tol, solver)
            result.put(part, climb)
    return result


@dataclass(frozen=True)
class Exact:
    """An exact algorithm for the nuclear norm and its work, in cubed rows of a dense matrix."""

    name: str
    work: float

    def solve(self, split: Split, bands: Bands) -> Estimate:
        """Every channel by it."""
        if self.name == "dense":
            return Estimate.by("dense", _all_singular_values(split, bands).sum(1), ROUNDING)
        solver = {"seam": seam, "cut": cut}[self.name]
        return Estimate.by(self.name, solver.nuclear_norm(split, bands), torus.ACCURACY)


def _climb(split: Split, bands: Bands, tol: float, exact: Exact) -> Estimate:
    """Up the ladder of pieces; exactly where the next rung would cost as much, or where convergence is slow."""
    parts = nuclear.contributions(split, bands, nuclear.LADDER[0])
    best = Estimate(parts.sum(0), torch.full_like(parts[0], torch.inf), ["pieces"] * len(split))
    last = best.error.clone()
    todo = torch.arange(len(split), device=split.device)
    for rung in nuclear.LADDER[1:]:
        if nuclear.work(bands, rung) > exact.work or (len(parts) < PIECES and exact.work <= AFFORDABLE):
            break
        below, parts = parts, nuclear.contributions(split[todo], bands, rung)
        # Where a piece has become the map itself there are fewer parts to compare.
        steps = parts - below if parts.shape == below.shape else parts.sum(0) - below.sum(0)
        step = steps.abs().reshape(-1, len(todo)).sum(0)
        before = last[todo]
        slow = step > before / 4
        # Two sizes may agree by chance: so no rung counts as more than GAIN times more accurate than the
        # rung below it, and the first step, with nothing below it, gives no estimate.
        error = SAFETY * torch.maximum(step, before / GAIN)
        last[todo] = step
        best.put(todo, Estimate(parts.sum(0), error, ["pieces"] * len(todo)))
        climbing = ~(best.is_within(tol)[todo] | slow)
        todo, parts = todo[climbing], parts[:, climbing]
        if not len(todo):
            break
    rest = torch.nonzero(~best.is_within(tol))[:, 0]
    if len(rest):
        best.put(rest, exact.solve(split[rest], bands))
    return best


def _exact_algorithm(bands: Bands) -> tuple[str, float]:
    """The cheaper exact algorithm for any kernel, and its work."""
    costs = {"dense": float(bands[0].rows * bands[1].rows) ** 3}
    if bands[0].period == bands[1].period == 1:
        costs["seam"] = seam.work(bands)
    name = min(costs, key=costs.__getitem__)
    return name, costs[name]


def _all_singular_values(split: Split, bands: Bands) -> Float64[Tensor, "channels rows"]:
    return dense.singular_values(split, *(taps.reads(b.axis, b.direction, split.device) for b in bands))

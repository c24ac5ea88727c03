"""From predicted error to what a network loses, by the points that were measured.

A small error moves every output a little, and what changes is the share of images whose two best classes are nearer
than that: it grows with the error's root. So loss is a monotone line over the root of the error, through zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Fit:
    """What is lost at a predicted error, found from measured points.

    Args:
        errors: predicted, of the points. losses: measured, as fractions.

    Example:
        >>> fit = Fit((1.0, 4.0), (0.01, 0.02))
        >>> fit.loss(0.0), round(fit.loss(2.25), 4), fit.loss(9.0)
        (0.0, 0.015, None)
    """

    errors: tuple[float, ...]
    losses: tuple[float, ...]

    def loss(self, error: float) -> float | None:
        """The predicted loss; None beyond the largest error that was measured."""
        at, losses = self._line
        root = max(error, 0.0) ** 0.5
        if root > at[-1] * (1 + 1e-9):
            return None
        return float(np.interp(root, at, losses))

    @cached_property
    def _line(self) -> tuple[Floats, Floats]:
        order = np.argsort(self.errors, kind="stable")
        roots = np.sqrt(np.maximum(np.array(self.errors)[order], 0.0))
        return np.append(0.0, roots), np.append(0.0, np.maximum(isotonic(np.array(self.losses)[order]), 0.0))

    def without(self, number: int) -> Fit:
        """The same without one of the points."""
        rest = [i for i in range(len(self.errors)) if i != number]
        return Fit(tuple(self.errors[i] for i in rest), tuple(self.losses[i] for i in rest))

    def left_out(self, number: int) -> float | None:
        """What the other points predict for one of them; None for the one with the largest error."""
        others = self.without(number)
        return others.loss(self.errors[number]) if others.errors else None


def isotonic(values: Sequence[float] | Floats) -> Floats:
    """The nearest sequence, in squares, that does not fall.

    Source: the min-max formula of isotonic regression (Robertson, Wright & Dykstra, 1988).

    Example:
        >>> isotonic([0.0, 2.0, 1.0, 3.0]).tolist()
        [0.0, 1.5, 1.5, 3.0]
    """
    n = len(values)
    means = [[float(np.mean(values[j : k + 1])) if j <= k else np.nan for k in range(n)] for j in range(n)]
    return np.array([max(min(means[j][i:]) for j in range(i + 1)) for i in range(n)])

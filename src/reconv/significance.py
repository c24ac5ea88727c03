"""Confidence intervals of differences: bootstrap over test images and over seeds.

Every cell keeps which test images it got right, so all cells of a data set are resampled with the same images: a
difference between two cells keeps what they have in common, and its interval is far narrower than either accuracy's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

REPLICATES = 2000
LEVEL = 0.95

Floats: TypeAlias = npt.NDArray[np.float64]
Bits: TypeAlias = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Interval:
    """An estimate and the interval around it, in the estimate's unit."""

    value: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether the whole interval is on one side of zero."""
        return self.low > 0 or self.high < 0


class Replicates:
    """Accuracies of all cells under the same resamplings of the images.

    What a replicate draws depends on how many images and seeds there are, and on nothing else: an interval is the same
    whatever other cells there are. Lines with the same seeds take the same ones in a replicate, since a seed's scores,
    images and order are what they have in common.

    Args:
        correct: cell -> bool `[n]`, which of the same n images it got right.
        replicates: how many resamplings. seed: which.

    Cost: replicates x n x cells multiply-adds.
    """

    def __init__(self, correct: Mapping[str, Bits], replicates: int = REPLICATES, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self._seed, self._count = seed, replicates
        keys = list(correct)
        bits = np.stack([correct[key] for key in keys], axis=1).astype(np.float32)
        n = len(bits)
        means = np.empty((replicates, len(keys)))
        for start in range(0, replicates, 250):  # in parts: the counts of all would be large
            stop = min(start + 250, replicates)
            counts = rng.multinomial(n, np.full(n, 1 / n), size=stop - start)
            means[start:stop] = counts.astype(np.float32) @ bits / n
        self._means: dict[str, Floats] = {key: means[:, i] for i, key in enumerate(keys)}
        self._values = {key: float(bits[:, i].mean(dtype=np.float64)) for i, key in enumerate(keys)}

    def of(self, cells: Sequence[str], *draw: int) -> tuple[float, Floats]:
        """The mean accuracy of cells that differ in their seed, and its replicates, which draw seeds too.

        Args:
            cells: which. draw: a number for seeds that are drawn apart from those of other cells.
        """
        table = np.stack([self._means[cell] for cell in cells], axis=1)
        drawn = np.take_along_axis(table, self._drawn(len(cells), *draw), 1)
        return float(np.mean([self._values[cell] for cell in cells])), drawn.mean(1)

    def _drawn(self, seeds: int, *draw: int) -> npt.NDArray[np.int64]:
        """Which of so many seeds each replicate takes, `[replicates, seeds]`."""
        return np.random.default_rng((self._seed, seeds, *draw)).integers(0, seeds, size=(self._count, seeds))

    def accuracy(self, cells: Sequence[str]) -> Interval:
        """The mean accuracy of some cells, and its interval."""
        return interval(*self.of(cells))

    def difference(self, a: Sequence[str], b: Sequence[str], *, paired: bool = True) -> tuple[float, Floats]:
        """Mean accuracy of `a` less that of `b`, and its replicates.

        Args:
            a, b: cells. paired: one by one they are of the same seeds, which are drawn together.
        """
        one, other = self.of(a), self.of(b) if paired else self.of(b, 1)
        return one[0] - other[0], one[1] - other[1]


def interval(value: float, replicates: Floats) -> Interval:
    """The percentile interval of an estimate."""
    low, high = np.quantile(replicates, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return Interval(value, float(low), float(high))


def mean_interval(parts: Sequence[tuple[float, Floats]]) -> Interval:
    """The mean of several estimates that were resampled together."""
    return interval(float(np.mean([value for value, _ in parts])), np.mean([rows for _, rows in parts], axis=0))


def spread(values: Sequence[float]) -> float | None:
    """The standard deviation over seeds; None for fewer than two."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def mcnemar(a: Any, b: Any) -> tuple[int, int, float]:
    """McNemar's exact test of two networks on the same images.

    Args:
        a, b: bool `[n]`, which images each got right.

    Returns:
        Images that only a got right, those that only b did, and the two-sided binomial p-value of so uneven a split.
    """
    from scipy.stats import binomtest

    only_a, only_b = int(np.sum(a & ~b)), int(np.sum(b & ~a))
    if only_a + only_b == 0:
        return 0, 0, 1.0
    return only_a, only_b, float(binomtest(only_a, only_a + only_b, 0.5).pvalue)

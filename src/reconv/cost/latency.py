"""What was measured of a forward pass, as reports show it; loads no PyTorch."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Latency:
    """Seconds for one forward pass: median, and the quartiles around it, over `runs` runs."""

    batch: int
    median: float
    low: float
    high: float
    runs: int

    def overlaps(self, other: Latency) -> bool:
        """Whether the ranges between the quartiles overlap, so that a difference may be noise."""
        return self.low <= other.high and other.low <= self.high

    @property
    def spread(self) -> float:
        """Ratio of the upper quartile to the lower one; far above 1 where other work kept the machine busy."""
        return self.high / self.low if self.low > 0 else 1.0

    @classmethod
    def of(cls, seconds: Sequence[float], batch: int) -> Latency:
        """Of the passes that were timed, each of a whole batch."""
        low, middle, high = statistics.quantiles(seconds, n=4) if len(seconds) > 1 else list(seconds) * 3
        return cls(batch, middle, low, high, len(seconds))

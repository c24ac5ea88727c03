"""A forest plot: differences around zero with their intervals, a row each.

Coordinates are made here and drawn in `plots.jinja`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from reconv.report.numbers import ticks
from reconv.report.plots import SHAPES, marker

ROW = 24  # height
_FAR = 4  # times as far from zero as the median row: drawn at the edge, so that the others can be told apart


@dataclass(frozen=True)
class Difference:
    """One row.

    Args:
        name: of what is compared. value, low, high: a difference and the ends of its interval, in the axis's unit.
        text: the value, as it is written beside the row. style, hollow: color and marker, as of a series.
    """

    name: str
    value: float
    low: float
    high: float
    text: str
    style: int = 0
    hollow: bool = False

    @property
    def is_beyond_noise(self) -> bool:
        """Whether the whole interval is on one side of zero."""
        return self.low > 0 or self.high < 0

    @property
    def reach(self) -> float:
        """How far the interval goes from zero."""
        return max(abs(self.low), abs(self.high))


@dataclass(frozen=True)
class Forest:
    """A picture of differences.

    Args:
        x_label: what they are of, with unit. caption: where the numbers come from.
    """

    title: str
    x_label: str
    rows: tuple[Difference, ...]
    caption: str = ""


@dataclass(frozen=True)
class Twig:
    """One drawn row: its marker, the ends of its line, and the edge that it lies beyond, as a direction; 0 if none."""

    row: Difference
    y: float
    marker: str
    low: float
    high: float
    beyond: int

    @property
    def css(self) -> str:
        """Its classes in plots.css."""
        return f"c{self.row.style}{' hollow' * self.row.hollow}"


@dataclass(frozen=True)
class ForestDrawing:
    """A forest plot in coordinates, y downwards; `zero` is where nothing differs."""

    width: float
    height: float
    zero: float
    twigs: tuple[Twig, ...]
    x_ticks: tuple[tuple[float, str], ...]


def draw_forest(forest: Forest, width: float = 200) -> ForestDrawing:
    """Scale differences to a plane of this width; zero is always in it, and what is far away is at its edge."""
    low, high = _range(forest.rows)

    def x(value: float) -> float:
        return width * (min(max(value, low), high) - low) / (high - low)

    twigs = []
    for number, row in enumerate(forest.rows):
        y = (number + 0.5) * ROW
        beyond = (row.value > high) - (row.value < low)
        shape = SHAPES[row.style % len(SHAPES)]
        twigs.append(Twig(row, y, marker(shape, x(row.value), y), x(row.low), x(row.high), beyond))
    return ForestDrawing(
        width,
        ROW * len(forest.rows),
        x(0.0),
        tuple(twigs),
        tuple((x(t), f"{t:+g}".replace("-", "−") if t else "0") for t in ticks(low, high, 4)),
    )


def _range(rows: Sequence[Difference]) -> tuple[float, float]:
    """What the rows that are not far away need, zero, and a little more."""
    far = _FAR * median([row.reach for row in rows])
    near = [row for row in rows if row.reach <= far]
    low, high = min(0.0, *(row.low for row in near)), max(0.0, *(row.high for row in near))
    margin = 0.06 * (high - low) or 0.5
    return low - margin, high + margin

"""Pictures with axes: points and lines over two, differences around zero over one.

Values become positions here; `templates/plots.jinja` draws them. Every series has a color, a marker and a name, so that
none of them is told by color alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from reconv.report.numbers import ticks

COLORS = 12  # classes c0 to c11 in plots.css
SHAPES = ("circle", "square", "up", "diamond", "down", "cross", "ring", "plus", "hourglass", "box", "tall", "left")
UNPRUNED = 9  # the style of unpruned networks, and of a run among others
ROW = 24  # height of a row of a forest plot
_FAR = 4  # times as far from zero as the median row: drawn at the edge, so that the others can be told apart


@dataclass(frozen=True)
class Point:
    """One measured point.

    Args:
        low, high: ends of its 95 % interval where it has one. text: what a pointer reads. label: stands beside it.
    """

    x: float
    y: float
    low: float | None = None
    high: float | None = None
    text: str = ""
    label: str = ""


@dataclass(frozen=True)
class Series:
    """Points that belong together, in the order of the line through them.

    Args:
        style: which color and marker. line: draw one. strong: larger, for what a reader looks for.
        hollow: the marker's outline only, and a dashed line, for what would look the same otherwise.
    """

    name: str
    points: tuple[Point, ...]
    style: int = 0
    line: bool = True
    strong: bool = False
    hollow: bool = False

    @property
    def drawn(self) -> list[Point]:
        """The points that have a place."""
        return [point for point in self.points if math.isfinite(point.x + point.y)]


@dataclass(frozen=True)
class Plot:
    """A picture with two axes, their labels with units.

    Args:
        caption: where the numbers come from.
    """

    title: str
    x_label: str
    y_label: str
    series: tuple[Series, ...]
    caption: str = ""


@dataclass(frozen=True)
class Multiples:
    """Small plots with the same axes and the same series, one beside the other.

    Args:
        panels: the plots; their own captions are not shown. caption: where the numbers come from.
    """

    title: str
    panels: tuple[Plot, ...]
    caption: str = ""

    @property
    def series(self) -> tuple[Series, ...]:
        """One of each name, for the legend."""
        return tuple({series.name: series for panel in self.panels for series in panel.series}.values())


@dataclass(frozen=True)
class Difference:
    """One row of a forest plot.

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
    """A forest plot: differences around zero with their intervals, a row each.

    Args:
        x_label: what they are of, with unit. caption: where the numbers come from.
    """

    title: str
    x_label: str
    rows: tuple[Difference, ...]
    caption: str = ""


@dataclass(frozen=True)
class Axis:
    """From values to positions: `low` is drawn at `start`, `high` at `end`, and what lies beyond them likewise."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Where a value is drawn."""
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return self.start + (self.end - self.start) * share

    def beyond(self, value: float) -> int:
        """1 above the axis, -1 below it, 0 on it."""
        return (value > self.high) - (value < self.low)

    def ticks(self, about: int) -> list[float]:
        """About so many round values on it."""
        return ticks(self.low, self.high, about)


@dataclass(frozen=True)
class Drawing:
    """A picture's size and axes, y downwards."""

    width: float
    height: float
    x: Axis
    y: Axis


def draw(plot: Plot, width: float = 420, height: float = 260) -> Drawing:
    """Scale a plot to a plane of this size; empty space is left at all sides of the points."""
    points = [point for series in plot.series for point in series.drawn]
    x = _range([point.x for point in points])
    y = _range([value for point in points for value in (point.y, point.low, point.high) if value is not None])
    return Drawing(width, height, Axis(*x, 0, width), Axis(*y, height, 0))


def draw_multiples(multiples: Multiples, width: float = 150, height: float = 110) -> Drawing:
    """One scale for all small plots; zero is in it, and what is far away is drawn at the edge."""
    points = [point for panel in multiples.panels for series in panel.series for point in series.drawn]
    far = _FAR * median([abs(point.y) for point in points] or [1.0]) or 1.0
    ends = [value for point in points for value in (point.y, point.low, point.high) if value is not None]
    y = _range([0.0, *(value for value in ends if abs(value) <= far)])
    return Drawing(width, height, Axis(*_range([point.x for point in points]), 0, width), Axis(*y, height, 0))


def draw_forest(forest: Forest, width: float = 200) -> Drawing:
    """Scale differences to a plane of this width; zero is always in it, and what is far away is at its edge."""
    far = _FAR * median([row.reach for row in forest.rows])
    near = [row for row in forest.rows if row.reach <= far]
    low, high = min(0.0, *(row.low for row in near)), max(0.0, *(row.high for row in near))
    margin = 0.06 * (high - low) or 0.5
    rows = len(forest.rows)
    return Drawing(width, ROW * rows, Axis(low - margin, high + margin, 0, width), Axis(0, rows, 0, ROW * rows))


def _range(values: Sequence[float]) -> tuple[float, float]:
    """A little more than the values need."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if high == low:
        low, high = low - max(abs(low) * 0.05, 0.5), high + max(abs(high) * 0.05, 0.5)
    margin = 0.05 * (high - low)
    return low - margin, high + margin


def css(item: Series | Difference) -> str:
    """Classes in plots.css."""
    strong = " strong" * (isinstance(item, Series) and item.strong)
    return f"c{item.style % COLORS}{strong}{' hollow' * item.hollow}"


def marker(style: int, x: float, y: float, r: float) -> str:
    """The marker of a style as an SVG path around (x, y)."""
    shape = SHAPES[style % len(SHAPES)]
    corners = {
        "square": ((-1, -1), (1, -1), (1, 1), (-1, 1)),
        "up": ((0, -1.2), (1.15, 0.9), (-1.15, 0.9)),
        "down": ((0, 1.2), (1.15, -0.9), (-1.15, -0.9)),
        "left": ((-1.2, 0), (0.9, -1.15), (0.9, 1.15)),
        "diamond": ((0, -1.35), (1.2, 0), (0, 1.35), (-1.2, 0)),
        "plus": ((-0.45, -1.2), (0.45, -1.2), (0.45, -0.45), (1.2, -0.45), (1.2, 0.45), (0.45, 0.45), (0.45, 1.2),
                 (-0.45, 1.2), (-0.45, 0.45), (-1.2, 0.45), (-1.2, -0.45), (-0.45, -0.45)),
        "cross": ((0, -0.6), (0.7, -1.3), (1.3, -0.7), (0.6, 0), (1.3, 0.7), (0.7, 1.3), (0, 0.6), (-0.7, 1.3),
                  (-1.3, 0.7), (-0.6, 0), (-1.3, -0.7), (-0.7, -1.3)),
        "hourglass": ((-1.1, -1.2), (1.1, -1.2), (-1.1, 1.2), (1.1, 1.2)),
        "tall": ((-0.6, -1.3), (0.6, -1.3), (0.6, 1.3), (-0.6, 1.3)),
        "box": ((-1.3, -0.7), (1.3, -0.7), (1.3, 0.7), (-1.3, 0.7)),
    }  # fmt: skip
    if shape in corners:
        return "M" + "L".join(f"{x + r * dx:.1f} {y + r * dy:.1f}" for dx, dy in corners[shape]) + "Z"
    whole = _circle(x, y, r)
    return whole + _circle(x, y, 0.55 * r) if shape == "ring" else whole


def _circle(x: float, y: float, r: float) -> str:
    return f"M{x - r:.1f} {y:.1f}a{r:.1f} {r:.1f} 0 1 0 {2 * r:.1f} 0a{r:.1f} {r:.1f} 0 1 0 {-2 * r:.1f} 0Z"

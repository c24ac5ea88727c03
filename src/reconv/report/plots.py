"""Points and lines over two axes: coordinates here, drawing in `templates/plots.jinja`.

Every series has a color, a marker and a name, so that none of them is told by color alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from reconv.report.numbers import ticks

COLORS = 12  # classes c0 to c11 in plots.css
SHAPES = ("circle", "square", "up", "diamond", "down", "cross", "ring", "plus", "hourglass", "box", "tall", "left")
UNPRUNED = 9  # the style of unpruned networks, and of a run among others
_R = 4.2


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
class Mark:
    """A marker's path and place, its error bar's ends, what a pointer reads, and what stands beside it."""

    path: str
    x: float
    y: float
    low: float | None
    high: float | None
    text: str
    label: str


@dataclass(frozen=True)
class Stroke:
    """One drawn series."""

    name: str
    style: int
    points: str
    marks: tuple[Mark, ...]
    line: bool
    strong: bool
    hollow: bool

    @property
    def css(self) -> str:
        """Its classes in plots.css."""
        return f"c{self.style}{' strong' * self.strong}{' hollow' * self.hollow}"


@dataclass(frozen=True)
class Drawing:
    """A plot in coordinates, y downwards; `cut_off` says that values lie below the picture."""

    width: float
    height: float
    strokes: tuple[Stroke, ...]
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    cut_off: bool


def draw(plot: Plot, width: float = 420, height: float = 260) -> Drawing:
    """Scale a plot to a plane of this size; empty space is left at all sides of the points."""
    points = [point for series in plot.series for point in series.points if math.isfinite(point.x + point.y)]
    x_low, x_high = _range([point.x for point in points])
    lows = [value for point in points for value in (point.y, point.low, point.high) if value is not None]
    y_low, y_high = _range(lows)

    def x(value: float) -> float:
        return width * (value - x_low) / (x_high - x_low)

    def y(value: float) -> float:
        return height * (y_high - min(max(value, y_low), y_high)) / (y_high - y_low)

    strokes = []
    for series in plot.series:
        inside = [point for point in series.points if math.isfinite(point.x + point.y)]
        shape = SHAPES[series.style % len(SHAPES)]
        size = _R * (1.7 if series.strong else 1)
        marks = tuple(
            Mark(
                marker(shape, x(point.x), y(point.y), size),
                x(point.x),
                y(point.y),
                None if point.low is None else y(point.low),
                None if point.high is None else y(point.high),
                point.text,
                point.label,
            )
            for point in inside
        )
        line = " ".join(f"{x(point.x):.1f},{y(point.y):.1f}" for point in inside)
        style = series.style % COLORS
        strokes.append(Stroke(series.name, style, line, marks, series.line, series.strong, series.hollow))
    return Drawing(
        width,
        height,
        tuple(strokes),
        tuple((x(t), f"{t:g}") for t in ticks(x_low, x_high, 5)),
        tuple((y(t), f"{t:g}") for t in ticks(y_low, y_high, 5)),
        any(value < y_low for value in lows),
    )


def _range(values: Sequence[float]) -> tuple[float, float]:
    """A little more than the values need."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if high == low:
        low, high = low - max(abs(low) * 0.05, 0.5), high + max(abs(high) * 0.05, 0.5)
    margin = 0.05 * (high - low)
    return low - margin, high + margin


def marker(shape: str, x: float, y: float, r: float = _R) -> str:
    """A marker as an SVG path around (x, y)."""
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


def marker_of_style(style: int, size: float = 5.5) -> str:
    """The marker of a style around the origin."""
    return marker(SHAPES[style % len(SHAPES)], 0, 0, size)


def _circle(x: float, y: float, r: float) -> str:
    return f"M{x - r:.1f} {y:.1f}a{r:.1f} {r:.1f} 0 1 0 {2 * r:.1f} 0a{r:.1f} {r:.1f} 0 1 0 {-2 * r:.1f} 0Z"

"""Training: every quantity over the epochs of each training."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from reconv.report.facts import Curve, RunFacts
from reconv.report.figure import Figure, Picture
from reconv.report.page import markup
from reconv.report.plots import Axis


@dataclass(frozen=True)
class Line:
    """One polyline of a chart."""

    name: str
    points: str
    last_x: float
    last_y: float
    last: float
    label_y: float


@dataclass(frozen=True)
class Chart:
    """Lines over epochs, and their axes; `cut_off`: some values are above the picture."""

    lines: list[Line]
    x: Axis
    y: Axis
    cut_off: bool


def line_chart(curve: Curve, width: float = 310, height: float = 180) -> Chart:
    """Epochs run from the left edge to the right one; a few values far above the others are cut off."""
    values = sorted(v for line in curve.values.values() for v in line if math.isfinite(v)) or [0.0, 1.0]
    low, high = values[0], values[-1]
    most = values[int(0.9 * (len(values) - 1))]
    cut_off = high - low > 4 * (most - low) > 0
    if cut_off:
        high = low + 2 * (most - low)
    if high == low:
        low, high = low - 0.5, high + 0.5
    x, y = Axis(1, max(curve.epochs, 2), 0, width), Axis(low, high, height, 0)
    lines: list[Line] = []
    for name, line in curve.values.items():
        points = [(x(i), y(v), v) for i, v in enumerate(line, start=1) if math.isfinite(v)]
        if points:
            path = " ".join(f"{px:.1f},{py:.1f}" for px, py, _ in points)
            label_y = _free_position(points[-1][1], [other.label_y for other in lines], height)
            lines.append(Line(name, path, *points[-1], label_y))
    return Chart(lines, x, y, cut_off)


def _free_position(wanted: float, taken: list[float], height: float, line_height: float = 22) -> float:
    """The position nearest to `wanted` that is a line's height away from those taken; inside the picture, if one is."""
    candidates = [wanted, *(other + step for other in taken for step in (-line_height, line_height))]
    free = [y for y in candidates if all(abs(y - other) >= line_height for other in taken)]
    return min(free, key=lambda y: (not 0 <= y <= height, abs(y - wanted)))


DRAWING = """
{% set colors = ["kept", "gone", "still"] %}
{% set width, height = chart.x.end, chart.y.start %}
<svg class="plot" viewBox="-52 -14 {{ width + 302 }} {{ height + 48 }}" role="img" aria-label="{{ curve.title }}">
{% for t in chart.y.ticks(4) %}{% set y = chart.y(t) %}
<line class="grid" x1="0" x2="{{ width }}" y1="{{ y | round(1) }}" y2="{{ y | round(1) }}"/><text x="-8" y="{{ (y + 4) | round(1) }}" text-anchor="end">{{ "%g" | format(t) }}</text>
{% endfor %}
{% for t in chart.x.ticks(6) if t == t | int %}
<text x="{{ chart.x(t) | round(1) }}" y="{{ height + 28 }}" text-anchor="middle">{{ "%g" | format(t) }}</text>
{% endfor %}
{% for line in chart.lines %}
<polyline class="curve {{ colors[loop.index0 % 3] }}" fill="none" style="fill:none" points="{{ line.points }}"/>
<circle class="{{ colors[loop.index0 % 3] }}" cx="{{ line.last_x | round(1) }}" cy="{{ line.last_y | round(1) }}" r="3"/>
<text x="{{ (line.last_x + 8) | round(1) }}" y="{{ (line.label_y + 4) | round(1) }}">{{ line.name }} {{ "%.4g" | format(line.last) }}{{ " " ~ curve.unit }}</text>
{% endfor %}
</svg>
"""  # noqa: E501

CAPTION = (
    "{{ curve.title }}{{ ' (' ~ curve.unit ~ ')' if curve.unit }} over epochs"
    "{% if chart.cut_off %}; values above the picture are drawn at its upper edge{% endif %}."
)


def pictures(facts: RunFacts) -> Iterator[Picture]:
    """A chart per quantity, for trainings of more than one epoch."""
    for curve in facts.curves:
        if curve.epochs > 1:
            values = {"curve": curve, "chart": line_chart(curve)}
            yield Picture(markup(DRAWING, **values), markup(CAPTION, **values))


FIGURE = Figure("training", "Training", pictures)

"""Coordinates of the report's pictures; the templates only draw them.

All pictures live in a plane of their own units, y downwards, and are scaled by the page.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from reconv.report.facts import Curve, LayerFacts
from reconv.report.numbers import ticks


@dataclass(frozen=True)
class Bars:
    """Score bars of one layer, highest first: one path for the kept, one for the removed, and where the cut is."""

    width: float
    height: float
    kept: str
    removed: str
    stroke: float
    cut: float | None


def score_bars(layer: LayerFacts, width: float = 600, height: float = 90) -> Bars:
    """One vertical stroke a channel, sorted by score; the cut stands where kept turns into removed, if it does once."""
    top = max((score for score in layer.scores if score == score), default=0.0) or 1.0
    order = sorted(range(len(layer.scores)), key=lambda i: -layer.scores[i])
    step = width / max(len(order), 1)
    paths: dict[bool, list[str]] = {True: [], False: []}
    for place, channel in enumerate(order):
        length = max(layer.scores[channel] / top, 0.004) * height
        paths[layer.kept[channel]].append(f"M{(place + 0.5) * step:.1f} {height:g}v{-length:.1f}")
    kept = [layer.kept[channel] for channel in order]
    changes = [place for place, (one, next_) in enumerate(pairwise(kept), start=1) if one != next_]
    cut = changes[0] * step if len(changes) == 1 else None
    return Bars(width, height, "".join(paths[True]), "".join(paths[False]), max(step * 0.8, 0.5), cut)


@dataclass(frozen=True)
class Column:
    """One layer in the strip: heights before and after, on a common baseline."""

    x: float
    width: float
    before: float
    after: float
    layer: LayerFacts


def strip(layers: Sequence[LayerFacts], width: float = 1000, height: float = 150) -> list[Column]:
    """The network as columns, one a layer, as high as it has channels."""
    top = max((layer.before for layer in layers), default=1)
    step = width / max(len(layers), 1)
    return [
        Column(i * step + 0.1 * step, 0.8 * step, height * layer.before / top, height * layer.after / top, layer)
        for i, layer in enumerate(layers)
    ]


@dataclass(frozen=True)
class Line:
    """One polyline of a chart."""

    name: str
    points: str
    last_x: float
    last_y: float
    last: float


@dataclass(frozen=True)
class Chart:
    """Lines over epochs, with the places of the axes' ticks."""

    lines: list[Line]
    y_ticks: list[tuple[float, str]]
    x_ticks: list[tuple[float, str]]
    width: float
    height: float


def line_chart(curve: Curve, width: float = 560, height: float = 180) -> Chart:
    """Epochs run from 1 at the left edge to the last at the right one; values from the lowest to the highest."""
    values = list(_finite(v for line in curve.values.values() for v in line)) or [0.0, 1.0]
    low, high = min(values), max(values)
    if high == low:
        low, high = low - 0.5, high + 0.5
    epochs = max((len(line) for line in curve.values.values()), default=1)

    def x(epoch: float) -> float:
        return width * (epoch - 1) / max(epochs - 1, 1)

    def y(value: float) -> float:
        return height * (high - value) / (high - low)

    lines = []
    for name, line in curve.values.items():
        points = [(x(i), y(v), v) for i, v in enumerate(line, start=1) if v == v and abs(v) != float("inf")]
        if points:
            path = " ".join(f"{px:.1f},{py:.1f}" for px, py, _ in points)
            lines.append(Line(name, path, *points[-1]))
    x_marks = [t for t in ticks(1, epochs, 6) if t == int(t)] or [1]
    return Chart(
        lines,
        [(y(t), f"{t:g}") for t in ticks(low, high)],
        [(x(t), f"{t:g}") for t in x_marks],
        width,
        height,
    )


def _finite(values: Iterable[float]) -> Iterable[float]:
    return (v for v in values if v == v and abs(v) != float("inf"))

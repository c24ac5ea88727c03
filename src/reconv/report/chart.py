"""Coordinates of the report's pictures; the templates only draw them.

All pictures live in a plane of their own units, y downwards, and are scaled by the page.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from reconv.cost import Latency
from reconv.report.facts import Curve, LayerFacts, LayerTime
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


LEVELS = 5  # steps of color from the lowest score of a layer to its highest


@dataclass(frozen=True)
class Run:
    """Channels of one layer with about the same score: a piece of its column, `y` downwards from the top."""

    y: float
    height: float
    level: int
    kind: str


@dataclass(frozen=True)
class Column:
    """One layer in the strip: heights before and after on a common baseline, its channels from the baseline up, and its
    widths as text."""

    x: float
    width: float
    before: float
    after: float
    layer: LayerFacts
    runs: tuple[Run, ...]

    @property
    def widths(self) -> str:
        """'16→8', or '16' where nothing was cut."""
        return str(self.layer.before) if self.layer.is_whole else f"{self.layer.before}→{self.layer.after}"


def strip(layers: Sequence[LayerFacts], width: float = 1000, height: float = 150) -> list[Column]:
    """The network as columns, one a layer, as high as the root of its number of channels.

    The root, since channels differ by powers of two from stage to stage: the narrow layers stay visible.
    """
    top = math.sqrt(max((layer.before for layer in layers), default=1))
    step = width / max(len(layers), 1)
    columns = []
    for i, layer in enumerate(layers):
        tall = height * math.sqrt(layer.before) / top
        after = tall * layer.after / layer.before
        runs = tuple(_runs(layer, tall, height))
        columns.append(Column(i * step + 0.1 * step, 0.8 * step, tall, after, layer, runs))
    return columns


def _runs(layer: LayerFacts, tall: float, height: float) -> list[Run]:
    """A layer's channels, kept ones below, each part with its highest scores below."""
    kept_kind = "still" if layer.is_whole else "kept"
    if not layer.scores:
        after = tall * layer.after / layer.before
        whole = [Run(height - after, after, LEVELS - 1, kept_kind), Run(height - tall, tall - after, 1, "gone")]
        return [run for run in whole if run.height > 0]
    known = [score for score in layer.scores if math.isfinite(score)] or [0.0]
    low, high = min(known), max(known)
    each = tall / layer.before
    order = sorted(range(len(layer.scores)), key=lambda i: (not layer.kept[i], -layer.scores[i]))
    found: list[tuple[int, str, int]] = []
    for channel in order:
        score = layer.scores[channel] if math.isfinite(layer.scores[channel]) else low
        share = (score - low) / (high - low) if high > low else 1.0
        level = min(LEVELS - 1, max(0, int(share * LEVELS)))
        kind = kept_kind if layer.kept[channel] else "gone"
        if found and found[-1][:2] == (level, kind):
            found[-1] = (level, kind, found[-1][2] + 1)
        else:
            found.append((level, kind, 1))
    runs, base = [], height
    for level, kind, number in found:
        base -= number * each
        runs.append(Run(base, number * each, level, kind))
    return runs


@dataclass(frozen=True)
class Span:
    """One latency as a horizontal bar with its quartiles, and where its label stands."""

    median: float
    low: float
    high: float
    label_x: float
    latency: Latency


def spans(before: Latency, after: Latency, width: float = 440) -> tuple[Span, Span]:
    """Two latencies on one scale, the longest of their bars and whiskers as long as asked."""
    ends = [max(latency.high, latency.median) for latency in (before, after)]
    scale = width / (max(ends) or 1.0)
    first, second = (
        Span(scale * latency.median, scale * latency.low, scale * latency.high, scale * end + 8, latency)
        for latency, end in zip((before, after), ends, strict=True)
    )
    return first, second


@dataclass(frozen=True)
class Pair:
    """One layer's times before and after, as heights of two bars; `cut_off`: one of them is higher than the picture."""

    x: float
    width: float
    before: float
    after: float
    time: LayerTime
    cut_off: bool


@dataclass(frozen=True)
class TimeBars:
    """Times layer by layer; `top`: the seconds that the picture's height stands for; `cut_off`: some take longer."""

    pairs: list[Pair]
    top: float

    @property
    def cut_off(self) -> bool:
        return any(pair.cut_off for pair in self.pairs)


def time_bars(times: Sequence[LayerTime], width: float = 1000, height: float = 150) -> TimeBars:
    """Two bars a layer, before and after; a few far slower than the others are cut off, so that these can be seen."""
    known = sorted(seconds for time in times for seconds in (time.before.median, time.after.median)) or [0.0]
    top, most = known[-1], known[int(0.9 * (len(known) - 1))]
    top = 2 * most if top > 4 * most > 0 else top
    step = width / max(len(times), 1)

    def tall(latency: Latency) -> float:
        return height * min(latency.median / (top or 1.0), 1.0)

    pairs = [
        Pair(
            i * step + 0.1 * step,
            0.4 * step,
            tall(time.before),
            tall(time.after),
            time,
            max(time.before.median, time.after.median) > top,
        )
        for i, time in enumerate(times)
    ]
    return TimeBars(pairs, top)


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
    """Lines over epochs, with the places of the axes' ticks; `cut_off` says that some values are above the picture."""

    lines: list[Line]
    y_ticks: list[tuple[float, str]]
    x_ticks: list[tuple[float, str]]
    width: float
    height: float
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
    epochs = curve.epochs

    def x(epoch: float) -> float:
        return width * (epoch - 1) / max(epochs - 1, 1)

    def y(value: float) -> float:
        return height * (high - min(value, high)) / (high - low)

    lines: list[Line] = []
    for name, line in curve.values.items():
        points = [(x(i), y(v), v) for i, v in enumerate(line, start=1) if math.isfinite(v)]
        if points:
            path = " ".join(f"{px:.1f},{py:.1f}" for px, py, _ in points)
            lines.append(
                Line(name, path, *points[-1], _free_place(points[-1][1], [other.label_y for other in lines], height))
            )
    return Chart(
        lines,
        [(y(t), f"{t:g}") for t in ticks(low, high)],
        [(x(t), f"{t:g}") for t in ticks(1, epochs, 6) if t == int(t)] or [(0.0, "1")],
        width,
        height,
        cut_off,
    )


def _free_place(wanted: float, taken: list[float], height: float, line_height: float = 22) -> float:
    """The place nearest to `wanted` that is a line's height away from those taken; inside the picture, if one is."""
    places = [wanted, *(other + step for other in taken for step in (-line_height, line_height))]
    free = [place for place in places if all(abs(place - other) >= line_height for other in taken)]
    return min(free, key=lambda place: (not 0 <= place <= height, abs(place - wanted)))

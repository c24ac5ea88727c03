"""Latency of each layer: two bars per layer, before and after."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from reconv.cost import Latency
from reconv.report.facts import LayerTime, RunFacts
from reconv.report.figure import Figure, Picture
from reconv.report.page import markup


@dataclass(frozen=True)
class Pair:
    """One layer's times as heights of two bars; `cut_off`: one of them is higher than the picture."""

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
    """A few layers far slower than the others are cut off, so that the others can be seen."""
    seconds = sorted(s for time in times for s in (time.before.median, time.after.median)) or [0.0]
    top, most = seconds[-1], seconds[int(0.9 * (len(seconds) - 1))]
    top = 2 * most if top > 4 * most > 0 else top
    step = width / max(len(times), 1)

    def bar(latency: Latency) -> float:
        return height * min(latency.median / (top or 1.0), 1.0)

    def pair(i: int, time: LayerTime) -> Pair:
        longest = max(time.before.median, time.after.median)
        return Pair(i * step + 0.1 * step, 0.4 * step, bar(time.before), bar(time.after), time, longest > top)

    return TimeBars([pair(i, time) for i, time in enumerate(times)], top)


DRAWING = """
{% call parts.scroller("Time, layer by layer") %}<svg class="strip" style="--columns: {{ bars.pairs | length }}" viewBox="0 0 1000 152" preserveAspectRatio="none" role="img" aria-label="Time of {{ counted(bars.pairs | length, "layer") }}, before and after">
{% for pair in bars.pairs %}
<g><title>{{ pair.time.name }}: {{ pair.time.before.median | duration }} → {{ pair.time.after.median | duration }}</title>
<rect class="hit" x="{{ (pair.x - pair.width / 4) | round(1) }}" y="0" width="{{ (pair.width * 2.5) | round(1) }}" height="150"/>
<rect class="still" x="{{ pair.x | round(1) }}" y="{{ (150 - pair.before) | round(1) }}" width="{{ pair.width | round(1) }}" height="{{ pair.before | round(1) }}"/>
<rect class="kept" x="{{ (pair.x + pair.width) | round(1) }}" y="{{ (150 - pair.after) | round(1) }}" width="{{ pair.width | round(1) }}" height="{{ pair.after | round(1) }}"/>{% if pair.cut_off %}<path class="more" d="M{{ (pair.x) | round(1) }} -2h{{ (2 * pair.width) | round(1) }}"/>{% endif %}</g>
{% endfor %}
<line class="grid" x1="0" x2="1000" y1="150" y2="150"/>
</svg>
{% if bars.pairs | length <= 60 %}
{{ parts.layer_names(bars.pairs | map(attribute="time.name") | list) }}
{% endif %}
{% endcall %}
"""  # noqa: E501

CAPTION = """<span class="key still">before</span> <span class="key kept">after:</span> each layer's own time within a pass of {{ counted(first.batch, "image") }}, medians of {{ counted(first.runs, "pass", "passes") }};
the picture is {{ bars.top | duration }} high{% if bars.cut_off %}, and bars under a thick line take longer{% endif %}."""  # noqa: E501


def pictures(facts: RunFacts) -> Iterator[Picture]:
    """One picture, where layers were timed."""
    if facts.layer_times:
        bars = time_bars(facts.layer_times)
        yield Picture(markup(DRAWING, bars=bars), markup(CAPTION, bars=bars, first=facts.layer_times[0].before))


FIGURE = Figure("layer_times", "Latency, layer by layer", pictures)

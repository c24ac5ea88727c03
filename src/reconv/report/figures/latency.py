"""Latency: the time of a forward pass before and after, with quartiles, per batch size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from markupsafe import Markup

from reconv.cost import Latency
from reconv.report.facts import RunFacts
from reconv.report.figure import Figure, Picture
from reconv.report.page import markup


@dataclass(frozen=True)
class Span:
    """One latency as a horizontal bar with its quartiles, and where its label stands."""

    median: float
    low: float
    high: float
    label_x: float
    latency: Latency


def spans(before: Latency, after: Latency, width: float = 440) -> tuple[Span, Span]:
    """Two latencies on one scale; the longest of their bars and whiskers has the width."""
    ends = [max(latency.high, latency.median) for latency in (before, after)]
    scale = width / (max(ends) or 1.0)
    first, second = (
        Span(scale * latency.median, scale * latency.low, scale * latency.high, scale * end + 8, latency)
        for latency, end in zip((before, after), ends, strict=True)
    )
    return first, second


DRAWING = """
<svg class="spans" viewBox="0 0 560 64" role="img" aria-label="Latency of {{ counted(before.batch, "image") }}: before {{ before.median | duration }}, after {{ after.median | duration }}">
<text x="0" y="15">{{ counted(before.batch, "image") }}</text>
{% for span in spans %}
{% set row = 22 + loop.index0 * 19 %}
<rect class="{{ loop.cycle("still", "kept") }}" x="0" y="{{ row }}" height="14" width="{{ span.median | round(1) }}"/>
<line class="axis" x1="{{ span.low | round(1) }}" x2="{{ span.high | round(1) }}" y1="{{ row + 7 }}" y2="{{ row + 7 }}"/>
<text x="{{ span.label_x | round(1) }}" y="{{ row + 12 }}">{{ span.latency.median | duration }}</text>
{% endfor %}
</svg>
"""  # noqa: E501

CAPTION = """<span class="key still">before</span> <span class="key kept">after:</span> median of a forward pass, whiskers from the lower to the upper quartile;
both networks measured interleaved in PyTorch{% if device %} on {{ device }}{% endif %}."""  # noqa: E501


def pictures(facts: RunFacts) -> Iterator[Picture]:
    """One picture with a pair of bars per batch size."""
    pairs = [markup(DRAWING, before=a, after=b, spans=spans(a, b)) for a, b in facts.latencies]
    if pairs:
        yield Picture(Markup().join(pairs), markup(CAPTION, device=facts.device), wide=True)


FIGURE = Figure("latency", "Latency", pictures)

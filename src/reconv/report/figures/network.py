"""The network, layer by layer: how many channels each layer had and keeps, colored by their scores."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from reconv.report.facts import LayerFacts, RunFacts
from reconv.report.figure import Figure, Picture
from reconv.report.page import markup

LEVELS = 5  # steps of color from the lowest score of a layer to its highest


@dataclass(frozen=True)
class Block:
    """Channels of one layer with about the same score: a piece of its column, `y` downwards from the top."""

    y: float
    height: float
    level: int
    kind: str


@dataclass(frozen=True)
class Column:
    """One layer: heights before and after on a common baseline, its channels from the baseline up, and its widths as
    text."""

    x: float
    width: float
    before: float
    after: float
    layer: LayerFacts
    blocks: tuple[Block, ...]

    @property
    def widths(self) -> str:
        """'16→8', or '16' where nothing was removed."""
        return str(self.layer.before) if self.layer.is_unpruned else f"{self.layer.before}→{self.layer.after}"


def columns(layers: Sequence[LayerFacts], width: float = 1000, height: float = 150) -> list[Column]:
    """The network as columns, one per layer, as high as the root of its number of channels.

    The root, since channels differ by powers of two from stage to stage: the narrow layers stay visible.
    """
    top = math.sqrt(max((layer.before for layer in layers), default=1))
    step = width / max(len(layers), 1)
    result = []
    for i, layer in enumerate(layers):
        before = height * math.sqrt(layer.before) / top
        after = before * layer.after / layer.before
        result.append(Column(i * step + 0.1 * step, 0.8 * step, before, after, layer, _blocks(layer, before, height)))
    return result


def _blocks(layer: LayerFacts, column: float, height: float) -> tuple[Block, ...]:
    """A layer's channels, kept ones below, each part with its highest scores below."""
    kept_kind = "still" if layer.is_unpruned else "kept"
    if not layer.scores:
        after = column * layer.after / layer.before
        parts = (Block(height - after, after, LEVELS - 1, kept_kind), Block(height - column, column - after, 1, "gone"))
        return tuple(block for block in parts if block.height > 0)
    finite = [score for score in layer.scores if math.isfinite(score)] or [0.0]
    low, high = min(finite), max(finite)
    order = sorted(range(len(layer.scores)), key=lambda i: (not layer.kept[i], -layer.scores[i]))
    counts: list[tuple[int, str, int]] = []
    for channel in order:
        score = layer.scores[channel] if math.isfinite(layer.scores[channel]) else low
        share = (score - low) / (high - low) if high > low else 1.0
        level = min(LEVELS - 1, max(0, int(share * LEVELS)))
        kind = kept_kind if layer.kept[channel] else "gone"
        if counts and counts[-1][:2] == (level, kind):
            counts[-1] = (level, kind, counts[-1][2] + 1)
        else:
            counts.append((level, kind, 1))
    blocks, base, each = [], height, column / layer.before
    for level, kind, number in counts:
        base -= number * each
        blocks.append(Block(base, number * each, level, kind))
    return tuple(blocks)


DRAWING = """
{% call parts.scroller("The network, layer by layer") %}<svg class="strip" style="--columns: {{ layers | length }}" viewBox="0 0 1000 152" preserveAspectRatio="none" role="group" aria-label="Output channels of {{ counted(layers | length, "layer") }}, before and after; each column is a link to the layer's scores">
{% for column in columns %}
{% set layer = column.layer %}
<a href="#layer-{{ loop.index }}" aria-label="{{ layer.name }}: {{ layer.before }} → {{ layer.after }} channels"><title>{{ layer.name }}: {{ layer.before }} → {{ layer.after }} channels</title>
<rect class="hit" x="{{ (column.x - column.width / 8) | round(1) }}" y="0" width="{{ (column.width * 1.25) | round(1) }}" height="150"/>
{% for block in column.blocks %}<rect class="{{ block.kind }} l{{ block.level }}" x="{{ column.x | round(1) }}" y="{{ block.y | round(1) }}" width="{{ column.width | round(1) }}" height="{{ block.height | round(1) }}"/>{% endfor %}
<rect class="outline" x="{{ column.x | round(1) }}" y="{{ (150 - column.before) | round(1) }}" width="{{ column.width | round(1) }}" height="{{ column.before | round(1) }}"/>
</a>
{% endfor %}
</svg>
{% if layers | length <= 60 %}
<div class="numbers{% if layers | length <= 22 %} few{% endif %}" style="--columns: {{ layers | length }}" aria-hidden="true">{% for column in columns %}<span>{{ column.widths }}</span>{% endfor %}</div>
{{ parts.layer_names(layers | map(attribute="name") | list) }}
{% endif %}
{% endcall %}
"""  # noqa: E501

CAPTION = """One column per layer, first to last; numbers are output channels, before → after. Heights grow with the root of the number of channels, so that narrow layers stay visible. Fuller color: higher score, from each layer's lowest to its highest.
<span class="ramp">low score{% for level in range(5) %}<i class="l{{ level }}"></i>{% endfor %}high</span>
<span class="key kept">kept in a pruned layer</span> <span class="key gone">removed</span> <span class="key still">unpruned.</span>
Select a column to see its layer's scores; where the picture is wider than the page, it scrolls sideways."""  # noqa: E501


def pictures(facts: RunFacts) -> Iterator[Picture]:
    """One picture, always."""
    yield Picture(markup(DRAWING, layers=facts.layers, columns=columns(facts.layers)), markup(CAPTION))


FIGURE = Figure("network", "The network, layer by layer", pictures)

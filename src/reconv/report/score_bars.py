"""The scores of one layer as strokes, highest first: those kept, those removed, and the threshold between them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

from reconv.report.facts import LayerFacts
from reconv.report.page import markup


@dataclass(frozen=True)
class Bars:
    """One path for the kept, one for the removed, and where the threshold is."""

    width: float
    height: float
    kept: str
    removed: str
    stroke: float
    threshold: float | None


def score_bars(layer: LayerFacts, width: float = 600, height: float = 90) -> Bars:
    """One vertical stroke per channel, sorted by score; a threshold where kept turns into removed, if it does once."""
    top = max((score for score in layer.scores if score == score), default=0.0) or 1.0
    order = sorted(range(len(layer.scores)), key=lambda i: -layer.scores[i])
    step = width / max(len(order), 1)
    paths: dict[bool, list[str]] = {True: [], False: []}
    for position, channel in enumerate(order):
        length = max(layer.scores[channel] / top, 0.004) * height  # so that a score of zero can be seen
        paths[layer.kept[channel]].append(f"M{(position + 0.5) * step:.1f} {height:g}v{-length:.1f}")
    kept = [layer.kept[channel] for channel in order]
    changes = [position for position, (one, other) in enumerate(pairwise(kept), start=1) if one != other]
    threshold = changes[0] * step if len(changes) == 1 else None
    return Bars(width, height, "".join(paths[True]), "".join(paths[False]), max(step * 0.8, 0.5), threshold)


DRAWING = """
<svg viewBox="0 -4 {{ bars.width }} {{ bars.height + 6 }}" role="img" preserveAspectRatio="none" aria-label="Scores of {{ layer.name }}, highest first; {{ layer.after }} of {{ counted(layer.before, "channel") }} kept">
<path class="{{ "still" if layer.is_unpruned else "kept" }} bars" stroke-width="{{ bars.stroke | round(2) }}" d="{{ bars.kept }}"/>
<path class="gone bars" stroke-width="{{ bars.stroke | round(2) }}" d="{{ bars.removed }}"/>
{% if bars.threshold is not none %}<line class="cut" x1="{{ bars.threshold | round(1) }}" x2="{{ bars.threshold | round(1) }}" y1="-4" y2="{{ bars.height }}"/>{% endif %}
<line class="grid" x1="0" x2="{{ bars.width }}" y1="{{ bars.height }}" y2="{{ bars.height }}"/>
</svg>
"""  # noqa: E501


def score_picture(layer: LayerFacts, bars: Bars) -> Markup:
    """The strokes as SVG."""
    return markup(DRAWING, layer=layer, bars=bars)

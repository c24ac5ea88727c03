"""The report of a run: one self-contained HTML file."""

from reconv.report.facts import (
    Curve,
    LayerFacts,
    Measures,
    Row,
    RunFacts,
    Untouched,
)
from reconv.report.render import render, render_scores

__all__ = ["Curve", "LayerFacts", "Measures", "Row", "RunFacts", "Untouched", "render", "render_scores"]

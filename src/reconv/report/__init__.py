"""The report of a run: one self-contained HTML file."""

from reconv.report.facts import (
    Curve,
    Latency,
    LayerFacts,
    Measures,
    Row,
    RunFacts,
    Untouched,
)
from reconv.report.render import render

__all__ = ["Curve", "Latency", "LayerFacts", "Measures", "Row", "RunFacts", "Untouched", "render"]

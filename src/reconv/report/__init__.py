"""Reports: each one self-contained HTML file. What they show are plain values, computed elsewhere."""

from reconv.report.exploration import ExplorationFacts
from reconv.report.facts import (
    Certificate,
    Curve,
    ExportedFile,
    LayerFacts,
    LayerTime,
    Measures,
    NetworkAccuracy,
    Round,
    Row,
    RunFacts,
    RuntimeLatency,
    UnprunedGroup,
)
from reconv.report.figure import Figure, Picture
from reconv.report.html import (
    render,
    render_exploration,
    render_forest,
    render_multiples,
    render_plot,
    render_scores,
    render_study,
)
from reconv.report.plots import Difference, Forest, Multiples, Plot, Point, Series
from reconv.report.study_facts import StudyFacts
from reconv.report.tested import Changed, Confusion, Tested

__all__ = [
    "Certificate",
    "Changed",
    "Confusion",
    "Curve",
    "Difference",
    "ExplorationFacts",
    "ExportedFile",
    "Figure",
    "Forest",
    "LayerFacts",
    "LayerTime",
    "Measures",
    "Multiples",
    "NetworkAccuracy",
    "Picture",
    "Plot",
    "Point",
    "Round",
    "Row",
    "RunFacts",
    "RuntimeLatency",
    "Series",
    "StudyFacts",
    "Tested",
    "UnprunedGroup",
    "render",
    "render_exploration",
    "render_forest",
    "render_multiples",
    "render_plot",
    "render_scores",
    "render_study",
]

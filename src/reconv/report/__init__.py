"""Reports: each one self-contained HTML file. What they tell are plain values; nothing is computed here."""

from reconv.report.facts import (
    Curve,
    LayerFacts,
    LayerTime,
    Measures,
    Round,
    Row,
    RunFacts,
    Untouched,
)
from reconv.report.plots import Plot, Point, Series
from reconv.report.read import built
from reconv.report.render import render, render_plot, render_scores, render_study
from reconv.report.study_facts import StudyFacts
from reconv.report.tested import Tested, most_changed, tested

__all__ = [
    "Curve",
    "LayerFacts",
    "LayerTime",
    "Measures",
    "Plot",
    "Point",
    "Round",
    "Row",
    "RunFacts",
    "Series",
    "StudyFacts",
    "Tested",
    "Untouched",
    "built",
    "most_changed",
    "render",
    "render_plot",
    "render_scores",
    "render_study",
    "tested",
]

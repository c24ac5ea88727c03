"""From facts to one HTML file: no script, no request to anywhere, everything escaped."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from reconv.report import plots
from reconv.report.exploration import ExplorationFacts
from reconv.report.facts import LayerFacts, RunFacts
from reconv.report.figure import additional, drawn
from reconv.report.headline import headline, usage
from reconv.report.page import environment
from reconv.report.plots import Forest, Multiples, Plot, Series
from reconv.report.score_bars import score_bars, score_picture
from reconv.report.study_facts import StudyFacts
from reconv.report.tested import Tested

PLACED = ("network", "accuracy", "training", "latency", "layer_times")  # figures that report.html.jinja puts itself


def render(facts: RunFacts, study: Sequence[Series] = ()) -> str:
    """The report of a run.

    Args:
        facts: what to show. study: other points of accuracy (%) against MACs (%), from a study of the same network.

    Returns:
        A complete HTML document; its Content-Security-Policy forbids every request, and all text is escaped.
    """
    facts = replace(facts, study=tuple(study))
    figures = {name: drawn(name, facts) for name in PLACED}
    first = {"headline": headline(facts), "usage": usage(facts)}
    return _rendered("report.html.jinja", facts=facts, figures=figures, additional=additional(facts, PLACED), **first)


def render_scores(title: str, layers: Mapping[str, Sequence[LayerFacts]]) -> str:
    """The scores of every layer, by criterion, as one HTML document like the report."""
    return _rendered("scores.html.jinja", title=title, criteria=layers)


def render_study(facts: StudyFacts) -> str:
    """The report of a study, as one HTML document like a run's."""
    return _rendered("study.html.jinja", facts=facts)


def render_exploration(facts: ExplorationFacts) -> str:
    """The page of an exploration, as one HTML document like a run's."""
    return _rendered("exploration.html.jinja", facts=facts)


def render_plot(plot: Plot, width: float = 520, height: float = 300) -> str:
    """One plot as an SVG file of its own, light and dark, with its legend inside."""
    rows = math.ceil(len(plot.series) / 3)  # of the legend
    box = (-66, -62, width + 90, height + 132 + 20 * rows)
    drawing = plots.draw(plot, width, height)
    return _rendered("plot.svg.jinja", title=plot.title, box=box, plot=plot, drawing=drawing)


def render_forest(forest: Forest, width: float = 260) -> str:
    """One forest plot as an SVG file of its own, light and dark."""
    drawing = plots.draw_forest(forest, width)
    box = (-150, -42, width + 240, drawing.height + 100)
    return _rendered("forest.svg.jinja", title=forest.title, box=box, forest=forest, drawing=drawing)


def render_multiples(multiples: Multiples, columns: int = 4) -> str:
    """Small plots as an SVG file of its own, light and dark, with their legend."""
    drawing = plots.draw_multiples(multiples)
    rows = math.ceil(len(multiples.panels) / columns)
    width, height = columns * (drawing.width + 52), rows * (drawing.height + 62)
    box = (-44, -74, width + 10, height + 84)
    sizes = {"columns": columns, "step": (drawing.width + 52, drawing.height + 62)}
    return _rendered(
        "multiples.svg.jinja", title=multiples.title, box=box, multiples=multiples, drawing=drawing, **sizes
    )


def _heat(images: int, tested: Tested, truth: str) -> int:
    """How dark a cell is: the share of its class, in percent."""
    of_class = sum(pair.after for pair in tested.confusions if pair.truth == truth)
    return round(100 * images / of_class) if of_class else 0


def _rendered(template: str, **values: Any) -> str:
    tools = {"score_bars": score_bars, "score_picture": score_picture, "heat": _heat}
    return environment().get_template(template).render(**tools, **values)

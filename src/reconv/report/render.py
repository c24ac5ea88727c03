"""From facts to one HTML file: no script, no request to anywhere, everything escaped."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from reconv.plan import names_shown
from reconv.report import chart, numbers, plots
from reconv.report.facts import LayerFacts, RunFacts
from reconv.report.forest import Forest, draw_forest
from reconv.report.plots import Plot, Point, Series, marker
from reconv.report.study_facts import StudyFacts
from reconv.report.tested import Tested


def render(facts: RunFacts, study: Sequence[Series] = ()) -> str:
    """The report of a run.

    Args:
        facts: what to tell. study: other points of accuracy (%) against MACs (%), from a study of the same network.

    Returns:
        A complete HTML document; its Content-Security-Policy forbids every request, and all text is escaped.
    """
    return _environment().get_template("report.html.jinja").render(facts=facts, trade=_trade(facts, study))


def _trade(facts: RunFacts, study: Sequence[Series]) -> Plot | None:
    """Accuracy against MACs: both networks of the run, among a study's."""
    before, after = facts.before, facts.after
    if before.accuracy is None or after.accuracy is None:
        return None
    ends = [
        Point(100 * m.macs / before.macs, 100 * m.accuracy, label=f"{name} {numbers.percent(m.accuracy)}")
        for name, m in (("after", after), ("before", before))
        if m.accuracy is not None
    ]
    of_run = Series("this run", tuple(ends), plots.WHOLE, line=False, strong=True, hollow=True)
    source = "This run, measured; `reconv report RUN --study STUDY` shows it among a study's points."
    if study:
        source = (
            f"Outlines: this run, measured. Small marks: {len(study)} series of a study of the same network, at "
            "each budget the criterion with the highest accuracy on these same images: what could be had at best, not "
            "a choice that somebody could have made beforehand."
        )
    return Plot(
        "Accuracy against MACs",
        "MACs left, % of the network before",
        "top-1 accuracy on the test images, %",
        (*study, of_run),
        source,
    )


def render_scores(title: str, layers: Mapping[str, Sequence[LayerFacts]]) -> str:
    """The scores of every layer, by criterion, as one HTML document like the report."""
    return _environment().get_template("scores.html.jinja").render(title=title, criteria=layers)


def render_study(facts: StudyFacts) -> str:
    """The report of a study, as one HTML document like a run's."""
    return _environment().get_template("study.html.jinja").render(facts=facts)


def render_plot(plot: Plot, width: float = 520, height: float = 300) -> str:
    """One plot as an SVG file of its own, light and dark, with its legend inside."""
    rows = math.ceil(len(plot.series) / 3)  # of the legend
    box = (-66, -62, width + 90, height + 132 + 20 * rows)
    template = _environment().get_template("plot.svg.jinja")
    return template.render(title=plot.title, box=box, plot=plot, drawing=plots.draw(plot, width, height))


def render_forest(forest: Forest, width: float = 260) -> str:
    """One forest plot as an SVG file of its own, light and dark."""
    drawing = draw_forest(forest, width)
    box = (-150, -42, width + 240, drawing.height + 100)
    return (
        _environment()
        .get_template("forest.svg.jinja")
        .render(title=forest.title, box=box, forest=forest, drawing=drawing)
    )


def _marker_at(style: int, size: float = 5.5) -> str:
    return marker(plots.SHAPES[style % len(plots.SHAPES)], 0, 0, size)


def _heat(images: int, found: Tested, truth: str) -> int:
    """How dark a cell is: the share of its class, in percent."""
    of_class = sum(pair.after for pair in found.confusions if pair.truth == truth)
    return round(100 * images / of_class) if of_class else 0


_CODE = re.compile(r"`([^`]+)`|(?<![\w-])(--[a-z][a-z-]*)")


def _coded(text: str) -> Markup:
    """Text with its options and what stands in backticks as code; an option is never broken at its hyphens."""

    def code(found: re.Match[str]) -> str:
        quoted, option = found.groups()
        return f"<code>{quoted}</code>" if quoted else f'<code class="whole">{option}</code>'

    return Markup(_CODE.sub(code, escape(text)))  # what was escaped is put between tags


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("reconv.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        coded=_coded,
        names=names_shown,
        count=numbers.count,
        size=numbers.size,
        percent=numbers.percent,
        duration=numbers.duration,
    )
    environment.globals.update(
        ratio=numbers.ratio,
        times=numbers.times,
        points=numbers.points,
        in_points=numbers.in_points,
        counted=numbers.counted,
        score_bars=chart.score_bars,
        strip=chart.strip,
        line_chart=chart.line_chart,
        draw=plots.draw,
        draw_forest=draw_forest,
        marker_at=_marker_at,
        time_bars=chart.time_bars,
        spans=chart.spans,
        heat=_heat,
    )
    return environment

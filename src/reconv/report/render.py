"""From facts to one HTML file: no script, no request to anywhere, everything escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined

from reconv.report import chart, numbers
from reconv.report.facts import LayerFacts, RunFacts


def render(facts: RunFacts) -> str:
    """The report of a run.

    Args:
        facts: what to tell.

    Returns:
        A complete HTML document; its Content-Security-Policy forbids every request, and all text is escaped.
    """
    return _environment().get_template("report.html.jinja").render(facts=facts)


def render_scores(title: str, layers: Mapping[str, Sequence[LayerFacts]]) -> str:
    """The scores of every layer, by criterion, as one HTML document like the report."""
    return _environment().get_template("scores.html.jinja").render(title=title, criteria=layers)


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("reconv.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        count=numbers.count, size=numbers.size, percent=numbers.percent, duration=numbers.duration
    )
    environment.globals.update(
        ratio=numbers.ratio, score_bars=chart.score_bars, strip=chart.strip, line_chart=chart.line_chart
    )
    return environment

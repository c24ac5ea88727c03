"""What every page and picture of a report is rendered with: templates, filters, numbers as a reader wants them."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup, escape

from reconv.report import numbers, plots
from reconv.report.study_facts import legend_of
from reconv.text import names_shown

_CODE = re.compile(r"`([^`]+)`|(?<![\w-])(--[a-z][a-z-]*)")


def code(text: str) -> Markup:
    """Text with its options and what stands in backticks as code; an option is never broken at its hyphens."""

    def tagged(match: re.Match[str]) -> str:
        quoted, option = match.groups()
        return f"<code>{quoted}</code>" if quoted else f'<code class="whole">{option}</code>'

    return Markup(_CODE.sub(tagged, escape(text)))  # what was escaped is put between tags


@cache
def environment() -> Environment:
    """Jinja, with everything escaped that is not markup already."""
    made = Environment(
        loader=PackageLoader("reconv.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(
        coded=code,
        names=names_shown,
        count=numbers.count,
        size=numbers.size,
        percent=numbers.percent,
        duration=numbers.duration,
    )
    made.globals.update(
        ratio=numbers.ratio,
        times=numbers.times,
        points=numbers.points,
        in_points=numbers.in_points,
        counted=numbers.counted,
        draw=plots.draw,
        draw_forest=plots.draw_forest,
        draw_multiples=plots.draw_multiples,
        legend_of=legend_of,
        css=plots.css,
        marker=plots.marker,
    )
    return made


@cache
def _template(source: str) -> Template:
    return environment().from_string('{% import "parts.jinja" as parts %}' + source)


def markup(source: str, **values: Any) -> Markup:
    """A Jinja template given as text, rendered; `parts` are the pieces in `parts.jinja`."""
    return Markup(_template(source).render(**values))  # the template escapes its values

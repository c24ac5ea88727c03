"""Accuracy against MACs: both networks of the run among the points of a study, where one is given."""

from __future__ import annotations

from collections.abc import Iterator

from reconv.report import numbers, plots
from reconv.report.facts import RunFacts
from reconv.report.figure import Figure, Picture
from reconv.report.page import code, markup
from reconv.report.plots import Plot, Point, Series

TITLE = "Accuracy against MACs"
DRAWING = '{% import "plots.jinja" as plots %}{{ plots.plot(plot, 480, 270) }}'
AMONG = (
    "Outlines: this run, measured. Small marks: {} series of a study of the same network, at each budget the "
    "criterion with the highest accuracy on these same images: the best that was possible, not a choice that could "
    "have been made beforehand."
)


def plot(facts: RunFacts) -> Plot | None:
    """The points; None without a study: two points alone would show nothing that the headline does not say."""
    before = facts.before
    if before.accuracy is None or facts.after.accuracy is None or not facts.study:
        return None
    ends = tuple(
        Point(100 * m.macs / before.macs, 100 * m.accuracy, label=f"{name} {numbers.percent(m.accuracy)}")
        for name, m in (("after", facts.after), ("before", before))
        if m.accuracy is not None
    )
    run = Series("this run", ends, plots.UNPRUNED, line=False, strong=True, hollow=True)
    caption = AMONG.format(len(facts.study))
    axes = "MACs left, % of the network before", f"{facts.quality} on the test images, %"
    return Plot(TITLE, *axes, (*facts.study, run), caption)


def pictures(facts: RunFacts) -> Iterator[Picture]:
    """One plot."""
    points = plot(facts)
    if points is not None:
        yield Picture(markup(DRAWING, plot=points), code(points.caption), wide=True)


FIGURE = Figure("accuracy", TITLE, pictures)

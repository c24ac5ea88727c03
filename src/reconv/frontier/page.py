"""An exploration as pictures and as one HTML page."""

from __future__ import annotations

from collections.abc import Mapping

from reconv.budget import Cost
from reconv.frontier.exploration import Exploration, frontier_table, sensitivity_table
from reconv.machine import versions
from reconv.report import ExplorationFacts, Plot, Point, Series, render_exploration
from reconv.report.plots import UNPRUNED

PREDICTED, MEASURED = "predicted, not measured", "measured"
_CAPTION = (
    "Predicted: plans of least predicted error, and a monotone line from error to loss through the measured points, "
    "which ends where nothing was measured. Measured: on {images} images that neither pruning nor repair has used, "
    "with the 95 % interval of the loss."
)


def plot_of(found: Exploration, cost: str) -> Plot:
    """The metric against what is left of a cost, in percent; a metric that is no share is as it is."""
    scale, unit = (100, ", %") if 0 <= found.before <= 1 else (1, "")
    predicted = tuple(
        Point(100 * p.cost[1] / p.cost[0], scale * found.after(p.loss), text=f"predicted: {100 * p.loss:.2f} lost")
        for p in found.frontiers[cost]
        if p.loss is not None
    )
    measured = []
    for p in found.measured:
        left = found.left(p, cost)
        if left is not None:
            low, high = sorted((scale * found.after(p.low), scale * found.after(p.high)))
            text = f"measured: {100 * p.loss:.2f} lost"
            measured.append(Point(100 * left, scale * p.value, low, high, text=text))
    name = str(Cost.registry[cost])
    series = (
        Series(PREDICTED, predicted, 0, hollow=True),
        Series(MEASURED, tuple(measured), 1, line=False, strong=True),
        Series("original", (Point(100, scale * found.before),), UNPRUNED, line=False),
    )
    caption = _CAPTION.format(images=f"{found.images:,}")
    return Plot(f"How much of the {name}?", f"{name} left, %", found.quality + unit, series, caption)


def page(found: Exploration, title: str, settings: Mapping[str, str] = {}, command: str = "") -> str:
    """One HTML page that needs no network.

    Args:
        title: of the network and its images. settings: more of what was asked for. command: that does it again.
    """
    return render_exploration(
        ExplorationFacts(
            f"How much of {title} can be pruned?",
            tuple(plot_of(found, cost) for cost in found.frontiers),
            (*(frontier_table(found, cost) for cost in found.frontiers), sensitivity_table(found)),
            {**settings, **found.settings},
            found.notes,
            command,
            versions(),
        )
    )

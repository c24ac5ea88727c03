"""Pictures of scores, plans, curves, explorations and studies, drawn with matplotlib; each function returns its Axes.

import reconv.plot

reconv.plot.scores(scores, plan, layer="layer1.0.conv1")
reconv.plot.widths(plan).figure.savefig("widths.pdf")
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from reconv.errors import ConfigError, check_kind, unknown_name
from reconv.frontier import Exploration
from reconv.optional import optional
from reconv.plan import ErrorCurves, Plan
from reconv.plan.plans import GroupPlan
from reconv.saliency import Saliency
from reconv.study import StudyTables
from reconv.text import names_shown

_KEPT, _GONE = "#3b82c4", "#d1603d"
_COSTS = ("macs_left", "parameters_left")


def scores(saliency: Saliency, plan: Plan | None = None, *, layer: str | None = None, ax: Any = None) -> Any:
    """The scores of a layer's channels, highest first; with a plan, those that go in another color.

    Args:
        saliency: the scores. plan: which channels stay.
        layer: its name; None: the first layer that has scores. ax: where to draw; None: a new figure.

    Returns:
        The matplotlib Axes.

    Raises:
        UnknownNameError: no such layer. ConfigError: matplotlib is not installed.
    """
    check_kind("plot.scores: saliency", saliency, Saliency, "scores, as reconv.score gives them")
    layer = next(iter(saliency.values)) if layer is None else layer
    if layer not in saliency.values:
        raise unknown_name("layer", layer, saliency.values)
    values = saliency.values[layer].numpy()
    row = None if plan is None else _group_of(plan, layer)
    kept = np.ones(len(values), dtype=bool) if row is None else np.isin(np.arange(len(values)), row.kept)
    order = np.argsort(-values, kind="stable")
    ax = _axes(ax)
    ax.bar(np.arange(len(values)), values[order], color=np.where(kept[order], _KEPT, _GONE))
    title = layer if row is None else f"{layer}: {kept.sum()} of {len(values)} channels stay"
    return _labelled(ax, title, "channel, by score", saliency.criterion)


def widths(plan: Plan, *, ax: Any = None) -> Any:
    """Channels of every group before and after.

    Args:
        plan: the plan. ax: where to draw; None: a new figure.

    Returns:
        The matplotlib Axes.
    """
    check_kind("plot.widths: plan", plan, Plan, "a plan, as reconv.choose gives it")
    names = [names_shown(row.layers) for row in plan.groups]
    places = np.arange(len(names))
    ax = _axes(ax, height=max(3.0, 0.22 * len(names)))
    ax.barh(places, [row.size for row in plan.groups], color="0.85", label="before")
    ax.barh(places, [len(row.kept) for row in plan.groups], color=_KEPT, label="after")
    ax.set_yticks(places, [name if len(name) <= 40 else f"{name[:37]}..." for name in names], fontsize=8)
    ax.invert_yaxis()
    ax.legend()
    return _labelled(ax, f"{plan.request} by {plan.criterion}", "channels", "")


def curves(error_curves: ErrorCurves, plan: Plan | None = None, *, ax: Any = None) -> Any:
    """Predicted error of every group against the share of its channels that is gone.

    Args:
        error_curves: the curves. plan: marks what it removes of each group.
        ax: where to draw; None: a new figure.

    Returns:
        The matplotlib Axes, its error axis logarithmic.
    """
    check_kind("plot.curves: error_curves", error_curves, ErrorCurves, "curves, as reconv.error_curves gives them")
    ax = _axes(ax)
    for name, curve in error_curves.items():
        gone = np.arange(len(curve.errors)) / max(len(curve.errors) - 1, 1)
        (line,) = ax.plot(gone[1:], curve.errors[1:], linewidth=1, label=name)
        row = None if plan is None else next((row for row in plan.groups if row.name == name), None)
        removed = 0 if row is None else min(row.size - len(row.kept), len(curve.errors) - 1)
        if removed:
            ax.plot(gone[removed], curve.errors[removed], "o", color=line.get_color())
    ax.set_yscale("log")
    if len(error_curves) <= 12:
        ax.legend(fontsize=7)
    return _labelled(ax, f"order of {error_curves.criterion}", "share of channels removed", "predicted error")


def frontier(exploration: Exploration, cost: str = "", *, ax: Any = None) -> Any:
    """What an exploration predicts against what is left of a cost, and beside it what was measured.

    Args:
        exploration: of `reconv.explore`. cost: one of its costs; "": the first. ax: where to draw; None: a new figure.

    Returns:
        The matplotlib Axes: a dashed line for predictions, marks with 95 % intervals for measurements.

    Raises:
        UnknownNameError: no frontier of this cost.
    """
    check_kind("plot.frontier: exploration", exploration, Exploration, "what reconv.explore gives")
    cost = cost or next(iter(exploration.frontiers))
    predicted = [(p.cost[1] / p.cost[0], p.loss) for p in exploration.frontier(cost) if p.loss is not None]
    measured = [(exploration.left(p, cost), p.loss, p.low, p.high) for p in exploration.measured]
    ax = _axes(ax)
    ax.plot(*zip(*((100 * left, 100 * loss) for left, loss in predicted)), "--", color=_KEPT, label="predicted")
    for label, (left, loss, low, high) in zip(["measured, 95 %", *[""] * len(measured)], measured):
        if left is not None:
            ends = [[100 * (loss - low)], [100 * (high - loss)]]
            ax.errorbar([100 * left], [100 * loss], ends, fmt="o", color=_GONE, label=label)
    ax.legend(fontsize=8)
    title = f"{exploration.images:,} images not used for pruning"
    return _labelled(ax, title, f"{cost} left, %", f"{exploration.quality} lost, points")


def accuracy(study: StudyTables, cost: str = "macs_left", *, ax: Any = None) -> Any:
    """Accuracy against what is left, one series per criterion, with 95 % intervals.

    Args:
        study: tables of one study; of several networks, arms or schemes, pick rows first (`dataclasses.replace`).
        cost: "macs_left" or "parameters_left". ax: where to draw; None: a new figure.

    Returns:
        The matplotlib Axes.

    Raises:
        UnknownNameError: no such cost.
    """
    check_kind("plot.accuracy: study", study, StudyTables, "the tables of reconv.study.load_study")
    if cost not in _COSTS:
        raise unknown_name("cost", cost, _COSTS)
    ax = _axes(ax)
    for criterion in dict.fromkeys(row["criterion"] for row in study.lines):
        rows = sorted((row for row in study.lines if row["criterion"] == criterion), key=lambda row: row[cost])
        ax.errorbar([100 * row[cost] for row in rows], *_with_ends(rows, "accuracy"), fmt="o", label=criterion)
    ax.legend(fontsize=8)
    return _labelled(ax, study.title, f"{cost.removesuffix('_left')} left, %".replace("macs", "MACs"), "accuracy, %")


def forest(study: StudyTables, *, ax: Any = None) -> Any:
    """Differences to the reference criterion in every setting, with 95 % intervals: a forest plot.

    Args:
        study: tables of one study. ax: where to draw; None: a new figure.

    Returns:
        The matplotlib Axes.

    Raises:
        ConfigError: no row has a difference, since the reference was not computed.
    """
    check_kind("plot.forest: study", study, StudyTables, "the tables of reconv.study.load_study")
    rows = [row for row in study.lines if row["difference"] is not None]
    if not rows:
        raise ConfigError("plot.forest: no line has a difference; compute the study's reference criterion too")
    rows.sort(key=lambda row: row["difference"])
    ax = _axes(ax, height=max(3.0, 0.25 * len(rows)))
    values, ends = _with_ends(rows, "difference")
    ax.errorbar(values, np.arange(len(rows)), xerr=ends, fmt="o", color=_KEPT)
    ax.axvline(0, color="0.5", linewidth=1)
    settings = ("network", "arm", "scheme", "budget")
    varying = [name for name in settings if len({row[name] for row in rows}) > 1]
    labels = [", ".join([row["criterion"], *(str(row[name]) for name in varying)]) for row in rows]
    ax.set_yticks(np.arange(len(rows)), labels, fontsize=8)
    return _labelled(ax, study.title, "difference, points", "")


def _with_ends(rows: Sequence[Any], name: str) -> tuple[list[float], list[list[float]]]:
    """Values, and the lengths of the interval below and above each."""
    values = [row[name] for row in rows]
    below = [row[name] - row[f"{name}_low"] for row in rows]
    above = [row[f"{name}_high"] - row[name] for row in rows]
    return values, [below, above]


def _group_of(plan: Plan, layer: str) -> GroupPlan | None:
    return next((row for row in plan.groups if layer in row.layers), None)


def _axes(ax: Any, height: float = 3.5) -> Any:
    if ax is not None:
        return ax
    pyplot = optional("matplotlib.pyplot", "reconv.plot", "plot")
    return pyplot.subplots(figsize=(7, height), layout="constrained")[1]


def _labelled(ax: Any, title: str, x: str, y: str) -> Any:
    ax.set_title(title, fontsize=10)
    ax.set_xlabel(x)
    ax.set_ylabel(y)
    return ax

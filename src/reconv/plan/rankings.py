"""In which order the units of every group go, and what each of them costs: of scores and of error curves alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from reconv.cost.terms import Values
from reconv.errors import ConfigError
from reconv.graph.channels import ChannelGraph
from reconv.graph.labels import Plane
from reconv.plan.curves import Curve, ErrorCurves
from reconv.plan.rescale import RESCALINGS
from reconv.plan.scores import Scores, described, removal_order, unit_scores
from reconv.saliency import Saliency

MEAN = "mean"
NO_SCORE = "the criterion gives it no score"
NO_CURVE = "it has no error curve"


@dataclass(frozen=True, eq=False)
class Ranking:
    """One group's units, ranked.

    Args:
        order: positions of units, first to go first.
        costs: what is lost with each unit, by position, on a scale common to all groups; infinite where a unit has no
            place in the order.
    """

    order: Plane
    costs: Values


@dataclass(frozen=True, eq=False)
class Rankings:
    """What a plan goes by.

    Args:
        of: by group. criterion: whose they are, in words. scale: how costs compare, in words.
        missing: why a group has none. scores: by group, for looking at; none of curves.
        curves: they are of error curves.
    """

    of: Mapping[str, Ranking]
    criterion: str
    scale: str
    missing: str
    scores: Scores
    curves: bool


def rankings_of(graph: ChannelGraph, saliency: Saliency | ErrorCurves, rescale: str, reverse: bool) -> Rankings:
    """Rankings by scores, the lowest first, each unit at the cost of its rescaled score; or by error curves, in
    their order, each unit at the cost of what the error rises by.

    Args:
        graph, saliency: of the same model. rescale, reverse: of scores, as for `choose`.

    Raises:
        ConfigError: curves that do not fit, or options that they have no use for.
        UnknownNameError: a curve of no group.
    """
    if isinstance(saliency, Saliency):
        scores, scale = unit_scores(graph, saliency), RESCALINGS[rescale]
        found = {
            name: Ranking(removal_order(values, reverse), (-1.0 if reverse else 1.0) * scale.function(values))
            for name, values in scores.items()
        }
        return Rankings(found, described(saliency, reverse), f"scores {scale.words}", NO_SCORE, scores, False)
    if reverse or rescale != MEAN:
        name = "reverse" if reverse else f"rescale={rescale!r}"
        raise ConfigError(
            f"curves: {name} is for scores; errors are comparable as they are, and their order is made with the curves"
        )
    saliency.check(graph)
    groups = [group for group in graph.groups if group.name in saliency]
    found = {group.name: _of_curve(saliency[group.name], group.size) for group in groups}
    return Rankings(found, saliency.criterion, "by rise of error", NO_CURVE, {}, True)


def _of_curve(curve: Curve, size: int) -> Ranking:
    costs = np.full(size, np.inf)
    costs[curve.order] = np.diff(curve.errors)
    return Ranking(curve.order, costs)

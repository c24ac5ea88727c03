"""In which order the units of every group go, and what each of them costs: by scores, or by error curves.

A criterion scores the channels of layers; a unit of a group is scored by the layers that share it. Where one threshold
is to hold for all groups, their scores are rescaled to be comparable; the errors of curves are comparable as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from reconv.budget import Rescale
from reconv.cost.terms import Values
from reconv.errors import ConfigError
from reconv.graph.channels import ChannelGraph
from reconv.graph.labels import Plane
from reconv.plan.curves import Curve, ErrorCurves
from reconv.saliency import Saliency

Scores: TypeAlias = Mapping[str, Values]
NO_SCORE = "the criterion gives it no score"
NO_CURVE = "it has no error curve"


@dataclass(frozen=True)
class Rescaling:
    """A way to bring the scores of one group of channels to a common scale.

    Args:
        words: what is done, for the plan. function: scores [n] -> scores [n], in the same order of size.
    """

    words: str
    function: Callable[[Values], Values]


def _over(scale: Callable[[Values], float]) -> Callable[[Values], Values]:
    return lambda scores: scores / max(scale(np.abs(scores)), 1e-300)


def _ranks(scores: Values) -> Values:
    return (np.argsort(np.argsort(scores, kind="stable")) + 1) / len(scores)


RESCALINGS: dict[Rescale, Rescaling] = {
    "mean": Rescaling("divided by their mean", _over(lambda x: float(x.mean()))),
    "max": Rescaling("divided by their largest", _over(lambda x: float(x.max()))),
    "l2": Rescaling("divided by their Euclidean norm", _over(lambda x: float(np.sqrt((x * x).sum())))),
    "sum": Rescaling("divided by their sum", _over(lambda x: float(x.sum()))),
    "rank": Rescaling("replaced by their rank among them, from 0 to 1", _ranks),
    "none": Rescaling("as they are", lambda scores: scores),
}


def unit_scores(graph: ChannelGraph, saliency: Saliency) -> dict[str, Values]:
    """One score for every unit of every group that the criterion scores.

    A group of one layer takes the layer's scores as they are. In a group of several, each layer's scores are
    divided by their mean, and a unit's score is its mean over the layers.
    """
    result = {}
    for group in graph.groups:
        names = group.producers if saliency.direction == "forward" else group.consumers
        members = [graph.layer(name) for name in names if name in saliency.values]
        total, count = np.zeros(graph.classes), np.zeros(graph.classes)
        for layer in members:
            values = saliency.values[layer.name].detach().cpu().double().numpy()
            classes = layer.outputs if saliency.direction == "forward" else layer.inputs.ravel()
            if len(members) > 1:
                values = values / max(float(np.abs(values).mean()), 1e-300)
            np.add.at(total, classes, values)
            np.add.at(count, classes, 1)
        units = group.units
        if members and (count[units][group.free] > 0).all():
            result[group.name] = total[units] / np.maximum(count[units], 1)
    return result


def removal_order(scores: Values, reverse: bool) -> Plane:
    """Positions, first to go first."""
    return np.argsort(-scores if reverse else scores, kind="stable")


def criterion_text(saliency: Saliency, reverse: bool) -> str:
    """The criterion in words."""
    words = [saliency.criterion]
    words += ["backward"] if saliency.direction == "backward" else []
    words += ["reversed"] if reverse else []
    return ", ".join(words)


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


def rankings_of(graph: ChannelGraph, saliency: Saliency | ErrorCurves, rescale: Rescale, reverse: bool) -> Rankings:
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
        rankings = {
            name: Ranking(removal_order(values, reverse), (-1.0 if reverse else 1.0) * scale.function(values))
            for name, values in scores.items()
        }
        return Rankings(rankings, criterion_text(saliency, reverse), f"scores {scale.words}", NO_SCORE, scores, False)
    if reverse or rescale != "mean":
        name = "reverse" if reverse else f"rescale={rescale!r}"
        raise ConfigError(
            f"curves: {name} is for scores; errors are comparable as they are, and their order is made with the curves"
        )
    saliency.check(graph)
    groups = [group for group in graph.groups if group.name in saliency]
    rankings = {group.name: _of_curve(saliency[group.name], group.size) for group in groups}
    return Rankings(rankings, saliency.criterion, "by rise of error", NO_CURVE, {}, True)


def _of_curve(curve: Curve, size: int) -> Ranking:
    costs = np.full(size, np.inf)
    costs[curve.order] = np.diff(curve.errors)
    return Ranking(curve.order, costs)

"""Criteria that look at images: scores from the second moments of what layers read.

`reconstruction`: the predicted error (a share of the signal's energy) once this channel and all that go before it are
gone and the rest is solved anew; the order is the greedy one of `elimination`.

`activation`: the energy of what the readers of a channel make of it, `tr(W_c^T G_cc W_c)`, as a share of their
signal's energy: how large the channel is where it is read, with no thought of what others could do in its place.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch

from reconv.graph.channels import ChannelGraph, ChannelGroup
from reconv.plan import ErrorCurves, unit_scores
from reconv.plan.scores import described, removal_order
from reconv.refit.elimination import eliminate, error_curves, reads
from reconv.refit.statistics import Moments
from reconv.saliency import Saliency

IMAGE_CRITERIA = {
    "reconstruction": "predicted error after the channel's removal and a repair, greedily (from images)",
    "activation": "energy of what a channel's readers make of it (from images)",
}


def image_saliency(graph: ChannelGraph, criterion: str, moments: Mapping[str, Moments]) -> Saliency:
    """Scores of every channel that may go, by a criterion that looks at images.

    Args:
        graph: of the network that the moments are of.
        criterion: a name in `IMAGE_CRITERIA`.
        moments: from `gather_moments`.

    Returns:
        One number a channel, float64, the same for all layers of a group; layers without a scored channel are left out.
    """
    level = np.full(graph.classes, np.nan)
    for group in graph.groups:
        if not group.reason:
            of_group = _of_elimination if criterion == "reconstruction" else _of_activation
            found = of_group(graph, group, moments)
            if found is not None:
                level[group.units] = found
    values = {}
    for layer in graph.layers:
        found = level[layer.outputs]
        if not np.isnan(found).all():
            values[layer.name] = torch.from_numpy(np.where(np.isnan(found), np.nanmax(found), found))
    return Saliency(criterion, "forward", values)


def curves_of(
    graph: ChannelGraph,
    saliency: Saliency,
    moments: Mapping[str, Moments],
    *,
    coupled: bool = False,
    reverse: bool = False,
) -> ErrorCurves:
    """Error curves for channels that go in the order of their scores, under any criterion.

    Args:
        graph, saliency, moments: of the same network.
        coupled: residual streams too. reverse: the highest scores go first.
    """
    orders = {name: removal_order(scores, reverse) for name, scores in unit_scores(graph, saliency).items()}
    return error_curves(graph, moments, orders=orders, coupled=coupled, criterion=described(saliency, reverse))


def _of_elimination(
    graph: ChannelGraph, group: ChannelGroup, moments: Mapping[str, Moments]
) -> npt.NDArray[np.float64] | None:
    curve = eliminate(graph, group, moments)
    if curve is None:
        return None
    result = np.full(group.size, np.nan)
    # Two removals that cost nothing keep their order.
    result[curve.order] = np.maximum.accumulate(curve.errors[1:]) + 1e-12 * np.arange(1, len(curve.errors))
    return result


def _of_activation(
    graph: ChannelGraph, group: ChannelGroup, moments: Mapping[str, Moments]
) -> npt.NDArray[np.float64] | None:
    result, seen = np.zeros(group.size), False
    for found, g, blocks in reads(graph, group, moments):
        seen = True
        for unit, block in enumerate(blocks):
            if block:
                weights, gram = found.matrix[g][block], found.gram[g][block][:, block]
                result[unit] += float((weights * (gram @ weights)).sum()) / found.energy
    return result if seen else None

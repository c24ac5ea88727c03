"""Criteria of groups, from the second moments of what the layers read.

`reconstruction`: the predicted error (a share of the signal's energy) once this channel and all that go before it are
gone and the rest is solved anew; the order is the greedy one of `elimination`.

`activation`: the energy of what the readers of a channel make of it, `tr(W_c^T G_cc W_c)`, as a share of their
signal's energy: how large the channel is where it is read, with no thought of what others could do in its place.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from reconv.errors import check_kind
from reconv.graph.channels import ChannelGraph
from reconv.plan import ErrorCurves
from reconv.plan.rankings import criterion_text, removal_order, unit_scores
from reconv.refit.elimination import eliminate, error_curves, reads
from reconv.registry import register
from reconv.saliency import Criterion, GroupContext, Moments, Saliency


def curves_of(
    graph: ChannelGraph,
    saliency: Saliency,
    moments: Mapping[str, Moments],
    *,
    coupled: bool = False,
    reverse: bool = False,
    held_out: Tensor | None = None,
) -> ErrorCurves:
    """Error curves for channels that go in the order of their scores, under any criterion.

    Args:
        graph, saliency, moments: of the same network.
        coupled: residual streams too. reverse: the highest scores go first.
        held_out: images that the moments are not of, as for `error_curves`.

    Raises:
        WrongKindError: an argument of another kind.

    Example:
        >>> import torch, reconv
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 16, 3), torch.nn.ReLU(), torch.nn.Conv2d(16, 8, 3))
        >>> graph = reconv.trace(model, torch.zeros(1, 3, 8, 8))
        >>> moments = reconv.gather_moments(graph, torch.randn(64, 3, 8, 8))
        >>> list(reconv.curves_of(graph, reconv.score(graph, "l1"), moments))
        ['0']
    """
    check_kind("curves_of: graph", graph, ChannelGraph)
    check_kind("curves_of: saliency", saliency, Saliency)
    orders = {name: removal_order(scores, reverse) for name, scores in unit_scores(graph, saliency).items()}
    text = criterion_text(saliency, reverse)
    return error_curves(graph, moments, orders=orders, coupled=coupled, criterion=text, held_out=held_out)


def _reconstruction(context: GroupContext) -> Tensor | None:
    made = eliminate(context.graph, context.group, context.moments)
    if made is None:
        return None
    curve = made.curve
    scores = np.full(context.group.size, np.nan)
    # Two removals that cost nothing keep their order.
    scores[curve.order] = np.maximum.accumulate(curve.errors[1:]) + 1e-12 * np.arange(1, len(curve.errors))
    return torch.from_numpy(scores)


def _activation(context: GroupContext) -> Tensor | None:
    scores, is_read = torch.zeros(context.group.size, dtype=torch.float64), False
    for _, moments, g, blocks in reads(context.graph, context.group, context.moments):
        is_read = True
        for unit, block in enumerate(blocks):
            if block:
                weights, gram = moments.matrix[g][block], moments.gram[g][block][:, block]
                scores[unit] += float((weights * (gram @ weights)).sum()) / moments.energy
    return scores if is_read else None


register(
    Criterion(
        "reconstruction",
        "predicted error after the channel's removal and a repair, greedily",
        needs=frozenset({"weights", "moments"}),
        source="optimal brain surgeon (Hassibi & Stork, NeurIPS 1992), channels as blocks",
        unit="as a share of energy",
        of_group=_reconstruction,
    )
)
register(
    Criterion(
        "activation",
        "energy of what a channel's readers make of it",
        needs=frozenset({"weights", "moments"}),
        unit="as a share of energy",
        of_group=_activation,
    )
)

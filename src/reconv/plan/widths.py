"""Plans that keep given numbers of channels, as a recipe asks."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from reconv.errors import BudgetError, ConfigError, check_kind, unknown_name
from reconv.graph.channels import ChannelGraph, ChannelGroup, Mask
from reconv.plan.plans import Plan, finish_plan, planned_row
from reconv.plan.rankings import Scores, criterion_text, removal_order, unit_scores
from reconv.saliency import Saliency


def choose_widths(graph: ChannelGraph, saliency: Saliency, widths: Mapping[str, int], *, reverse: bool = False) -> Plan:
    """Choose channels so that the layers named keep so many output channels, and all others all.

    Args:
        graph, saliency: of the same model.
        widths: layer name -> channels kept, such as a recipe gives. A group of tied channels is named by any of
            its layers.
        reverse: remove the highest scores instead (a control).

    Returns:
        The plan.

    Raises:
        WrongKindError: an argument of the wrong kind.
        UnknownNameError: a layer that the model has not. ConfigError: a width outside 1..channels.
        BudgetError: a width that cannot be had, because channels are frozen or must go in equal numbers.

    Example:
        >>> import torch, reconv
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 16, 3), torch.nn.ReLU(), torch.nn.Conv2d(16, 8, 3))
        >>> graph = reconv.trace(model, torch.zeros(1, 3, 8, 8))
        >>> plan = reconv.choose_widths(graph, reconv.score(graph, "l1"), {"0": 4})
        >>> reconv.prune(model, plan)[0].out_channels
        4
    """
    check_kind("choose_widths: graph", graph, ChannelGraph)
    check_kind("choose_widths: saliency", saliency, Saliency)
    check_kind("choose_widths: widths", widths, Mapping, 'a mapping of layers to channels, such as {"conv1": 8}')
    group_of = {layer: group for group in graph.groups for layer in group.producers}
    requested: dict[str, int] = {}
    for layer, width in widths.items():
        if layer not in group_of:
            raise unknown_name("layer", layer, group_of)
        group = group_of[layer]
        if not 1 <= width <= group.size:
            raise ConfigError(f"{layer}: {width} channels asked for; it has {group.size}, give 1 to {group.size}")
        if requested.setdefault(group.name, width) != width:
            raise ConfigError(
                f"{layer}: tied to {group.name}, which is to keep {requested[group.name]}, not {width} channels"
            )
    scores = unit_scores(graph, saliency)
    rows = []
    for group in graph.groups:
        keep = np.ones(group.size, dtype=np.bool_)
        removed = group.size - requested.get(group.name, group.size)
        if removed:
            rows.append(planned_row(group, _narrow(group, scores, removed, reverse), scores, ""))
        else:
            rows.append(
                planned_row(group, keep, scores, "" if group.name in requested else group.reason or "not in the recipe")
            )
    return finish_plan(graph, rows, f"{len(widths)} widths", criterion_text(saliency, reverse), "recipe")


def _narrow(group: ChannelGroup, scores: Scores, removed: int, reverse: bool) -> Mask:
    if group.name not in scores:
        raise BudgetError(f"{group.name}: the criterion gives it no score; choose another criterion")
    steps = group.steps(removal_order(scores[group.name], reverse))
    cells = len(np.unique(group.cells))
    most = len(steps) - (len(steps) * cells == group.size)  # of a group that is all free, something stays
    if removed % cells or removed // cells > most:
        raise BudgetError(
            f"{group.name}: cannot remove {removed} of {group.size} channels; "
            f"{int(group.free.sum())} may go, {cells} at a time{': ' + group.reason if group.reason else ''}"
        )
    keep = np.ones(group.size, dtype=np.bool_)
    for step in steps[: removed // cells]:
        keep[step] = False
    return keep

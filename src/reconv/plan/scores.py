"""From one score a channel of every layer to one score a unit of every group."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from reconv.graph.channels import ChannelGraph
from reconv.graph.labels import Plane
from reconv.saliency import Saliency

Scores: TypeAlias = Mapping[str, npt.NDArray[np.float64]]


def unit_scores(graph: ChannelGraph, saliency: Saliency) -> dict[str, npt.NDArray[np.float64]]:
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


def removal_order(scores: npt.NDArray[np.float64], reverse: bool) -> Plane:
    """Positions, first to go first."""
    return np.argsort(-scores if reverse else scores, kind="stable")


def described(saliency: Saliency, reverse: bool) -> str:
    """The criterion in words."""
    words = [saliency.criterion]
    words += ["backward"] if saliency.direction == "backward" else []
    words += ["reversed"] if reverse else []
    return ", ".join(words)

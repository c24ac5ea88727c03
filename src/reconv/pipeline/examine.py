"""The end of a run: both networks on the test images, once, and both by the clock, in turns."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from reconv.data import DataSet
from reconv.graph import ChannelGraph
from reconv.pipeline import stages
from reconv.pipeline.account import Measured
from reconv.pipeline.layer_times import both, layer_latencies
from reconv.pipeline.watch import Diary
from reconv.report import LayerTime, Tested, most_changed, tested
from reconv.training.answers import Answers, answers


def examine(
    sizes: Measured, graph: ChannelGraph, small: nn.Module, data: DataSet, device: torch.device, diary: Diary
) -> Measured:
    """Test and time the graph's network and the smaller one.

    Args:
        sizes: with the sizes of the saved networks. graph: of the network before. small: the network after.

    Returns:
        The sizes with accuracies, changed answers, latencies and the layers' latencies.
    """
    base = graph.model
    with diary.stage("test") as stage:
        found = [answers(network, data, "test") for network in (base, small)]
        stage.note = f"{len(data.test):,} images, once"
    with diary.stage("measure latency") as stage:
        latencies = stages.latencies((base, small), data, device)
        layer_times = _layer_times(graph, small, data, device)
        stage.note = f"batches of {' and '.join(map(str, stages.BATCHES))}, the two networks in turns"
    return replace(
        sizes,
        accuracies=tuple(one.top1 for one in found),
        latencies=latencies,
        layer_times=layer_times,
        tested=compare_answers(found[0], found[1], data, "test"),
    )


def _layer_times(graph: ChannelGraph, small: nn.Module, data: DataSet, device: torch.device) -> tuple[LayerTime, ...]:
    names = [layer.name for layer in graph.layers]
    before, after = layer_latencies((graph.model, small), names, data, device)
    return tuple(LayerTime(*row) for row in both(before, after))


def compare_answers(before: Answers, after: Answers, data: DataSet, split: str) -> Tested:
    """What two networks answered to the same images of a split, with pictures of those that changed most."""
    images = getattr(data, split)
    parts = [torch.tensor([index]) for index in most_changed(before.probabilities, after.probabilities)]
    pictures = [batch[0].cpu() for batch in images.stream(parts, torch.device("cpu"))]
    return tested(split, before.probabilities, after.probabilities, before.labels, data.class_names, pictures)

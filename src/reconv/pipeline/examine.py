"""The end of a run: both networks on the test images, once, and both by the clock, in turns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from reconv.data import DataSet, SplitName
from reconv.graph import ChannelGraph
from reconv.pipeline import stages
from reconv.pipeline.account import Measured
from reconv.pipeline.layer_times import both, layer_latencies
from reconv.pipeline.watch import Diary
from reconv.report import Changed, Confusion, LayerTime, Tested
from reconv.report.images import data_uri
from reconv.report.numbers import counted
from reconv.significance import Replicates, interval, mcnemar
from reconv.training.predictions import Predictions, predict

_MOST_CLASSES = 20  # that a table of all pairs is readable for
_PAIRS = 20  # most frequent confusions, for more classes
_PICTURES = 10


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
        found = [predict(network, data, "test") for network in (base, small)]
        stage.note = f"{counted(len(data.test), 'image')}, once"
    with diary.stage("measure latency") as stage:
        latencies = stages.latencies((base, small), data, device)
        layer_times = _layer_times(graph, small, data, device)
        stage.note = f"batches of {' and '.join(map(str, stages.BATCHES))}, the two networks in turns"
    return replace(
        sizes,
        accuracies=tuple(one.top1 for one in found),
        latencies=latencies,
        layer_times=layer_times,
        tested=compare_predictions(found[0], found[1], data, "test"),
    )


def _layer_times(graph: ChannelGraph, small: nn.Module, data: DataSet, device: torch.device) -> tuple[LayerTime, ...]:
    names = [layer.name for layer in graph.layers]
    before, after = layer_latencies((graph.model, small), names, data, device)
    return tuple(LayerTime(*row) for row in both(before, after))


def compare_predictions(before: Predictions, after: Predictions, data: DataSet, split: SplitName) -> Tested:
    """What two networks answered to the same images of a split, with pictures of those that changed most."""
    changed = most_changed(before.probabilities, after.probabilities, _PICTURES)
    stream = getattr(data, split).stream([torch.tensor([index]) for index in changed], torch.device("cpu"))
    pictures = {index: batch[0].cpu() for index, (batch, _) in zip(changed, stream, strict=True)}
    return tested(split, before, after, data.class_names, pictures)


def tested(
    split: str, before: Predictions, after: Predictions, names: Sequence[str], pictures: Mapping[int, Tensor]
) -> Tested:
    """Compare two networks' answers to the same images.

    Args:
        split: its name. names: of the classes.
        pictures: uint8 `[C, H, W]` of the images that are shown, by their index in the split, in the order shown.
    """
    right = {"before": before.correct.numpy(), "after": after.correct.numpy()}
    only_before, only_after, p_value = mcnemar(*right.values())
    gain = interval(*Replicates(right).difference(["after"], ["before"]))
    few = len(names) <= _MOST_CLASSES
    pairs = _pairs(before, after, names)
    if not few:
        wrong = [pair for pair in pairs if pair.truth != pair.answer]
        pairs = sorted(wrong, key=lambda pair: -max(pair.before, pair.after))[:_PAIRS]
    return Tested(
        split=split,
        images=len(before.labels),
        classes=tuple(names) if few else (),
        confusions=tuple(pairs),
        changed=tuple(_changed(index, picture, before, after, names) for index, picture in pictures.items()),
        only_before=only_before,
        only_after=only_after,
        p_value=p_value,
        gain=(gain.low, gain.high),
    )


def most_changed(before: Tensor, after: Tensor, number: int) -> list[int]:
    """The images that changed most, by their probabilities `[n, classes]`.

    First those whose answer changed; among these, and among the others, by total variation.
    """
    changed = before.argmax(-1) != after.argmax(-1)
    order = torch.argsort(_distance(before, after) + changed, descending=True, stable=True)
    found: list[int] = order[:number].tolist()
    return found


def _distance(before: Tensor, after: Tensor) -> Tensor:
    """Total variation, 0 to 1, of distributions along the last axis."""
    return (before - after).abs().sum(-1) / 2


def _changed(index: int, picture: Tensor, before: Predictions, after: Predictions, names: Sequence[str]) -> Changed:
    sure_before, sure_after = before.probabilities[index], after.probabilities[index]
    return Changed(
        index=index,
        picture=data_uri(picture),
        truth=names[int(before.labels[index])],
        before=names[int(sure_before.argmax())],
        sure_before=float(sure_before.max()),
        after=names[int(sure_after.argmax())],
        sure_after=float(sure_after.max()),
        distance=float(_distance(sure_before, sure_after)),
    )


def _pairs(before: Predictions, after: Predictions, names: Sequence[str]) -> list[Confusion]:
    n = len(names)
    counts = [torch.bincount(one.labels * n + one.predicted, minlength=n * n).tolist() for one in (before, after)]
    return [
        Confusion(names[i // n], names[i % n], one, other)
        for i, (one, other) in enumerate(zip(*counts, strict=True))
        if one or other
    ]

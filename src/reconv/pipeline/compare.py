"""Two networks side by side, on the same images and in turns by the clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from reconv.cost import Latency, profile
from reconv.data import DataSet
from reconv.files import tensors_fingerprint
from reconv.graph import trace
from reconv.machine import device_name, versions
from reconv.pipeline import stages
from reconv.pipeline.layer_times import BATCH, layer_latencies
from reconv.pipeline.watch import Diary
from reconv.report.numbers import counted
from reconv.significance import Interval, Replicates, interval, mcnemar
from reconv.training.predictions import predict


@dataclass(frozen=True)
class Side:
    """One of the two: accuracy (fraction of images), MACs an image, parameters, latency, fingerprint of its weights."""

    name: str
    accuracy: float
    macs: int
    parameters: int
    latency: tuple[Latency, ...]
    weights: str


@dataclass(frozen=True)
class LayerPair:
    """A layer of either or both: output channels, MACs, median seconds a pass of its own forward; None: not there."""

    name: str
    channels: tuple[int | None, int | None]
    macs: tuple[int | None, int | None]
    seconds: tuple[float | None, float | None]


@dataclass(frozen=True)
class Comparison:
    """Two networks on the same images.

    Args:
        a, b: the two. split, images: which images, how many.
        difference: accuracy of b less that of a, with its 95 % bootstrap interval, paired by images.
        only_a, only_b: images that only one of them got right. p_value: McNemar's exact test of that.
        layers: of both, by name. layer_batch: images a pass in which they were timed.
        data_set: whose images. device: what computed, with how many `threads` of the processor.
        versions: of software and hardware, by name.
    """

    a: Side
    b: Side
    split: str
    images: int
    difference: Interval
    only_a: int
    only_b: int
    p_value: float
    layers: tuple[LayerPair, ...]
    layer_batch: int
    data_set: str
    device: str
    threads: int
    versions: Mapping[str, str]


def compare(
    models: tuple[nn.Module, nn.Module],
    names: tuple[str, str],
    data: DataSet,
    device: torch.device,
    diary: Diary,
    split: str = "test",
) -> Comparison:
    """Compare two networks.

    Args:
        models: on the device. names: what they are called. data, split: the images. diary: is told.

    Raises:
        ConfigError: one of them does not take these images. DataError: the split is empty.
    """
    with diary.stage("evaluate") as stage:
        found = [predict(model, data, split) for model in models]  # type: ignore[arg-type]  # checked by the caller
        stage.note = counted(len(found[0].labels), f"{split} image")
    with diary.stage("measure latency") as stage:
        latencies = stages.latencies(models, data, device)
        stage.note = "the two networks in turns"
    correct = [one.correct.numpy() for one in found]
    only_a, only_b, p_value = mcnemar(*correct)
    replicates = Replicates(dict(zip("ab", correct, strict=True)))
    profiles = [profile(trace(model, data.example().to(device))) for model in models]
    a, b = (
        Side(
            names[i],
            found[i].top1,
            profiles[i].macs,
            profiles[i].parameters,
            latencies[i],
            tensors_fingerprint(models[i].state_dict()),
        )
        for i in (0, 1)
    )
    layers = [{row.name: row for row in one.layers} for one in profiles]
    order = dict.fromkeys([*layers[0], *layers[1]])
    times = layer_latencies(models, order, data, device)
    pairs = []
    for name in order:
        one, other = (rows.get(name) for rows in layers)
        seconds = [found_times[name].median if name in found_times else None for found_times in times]
        pairs.append(
            LayerPair(
                name,
                (one.out_channels if one else None, other.out_channels if other else None),
                (one.macs if one else None, other.macs if other else None),
                (seconds[0], seconds[1]),
            )
        )
    difference = interval(*replicates.difference(["b"], ["a"]))
    return Comparison(
        a=a,
        b=b,
        split=split,
        images=len(found[0].labels),
        difference=difference,
        only_a=only_a,
        only_b=only_b,
        p_value=p_value,
        layers=tuple(pairs),
        layer_batch=BATCH,
        data_set=data.name,
        device=device_name(device),
        threads=torch.get_num_threads(),
        versions=versions(),
    )

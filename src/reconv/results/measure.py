"""Two networks on the same images, once, and by the clock, interleaved."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from reconv.cost import Latency, measure_latency, profile
from reconv.cost.layer_times import layer_latencies
from reconv.cost.timing import random_like
from reconv.data import DataSet, SplitName
from reconv.files import tensors_fingerprint
from reconv.graph import trace
from reconv.html_table import Cell, html_table
from reconv.inputs import on_device
from reconv.machine import device_name, versions
from reconv.quality import Quality
from reconv.report import Changed, Confusion, Tested
from reconv.report.images import data_uri
from reconv.report.numbers import counted
from reconv.runlog import RunLog
from reconv.significance import Interval, Replicates, interval, mcnemar
from reconv.training.evaluation import device_of
from reconv.training.predictions import Predictions, predict

BATCHES = (1, 64)  # that latency is measured with
LATENCY_SECONDS = 10.0  # spent on each of them, about
LAYER_BATCH = 16  # in which layers are timed
_MOST_CLASSES = 20  # that a table of all pairs is readable for
_PAIRS = 20  # most frequent confusions, for more classes
_PICTURES = 10


@dataclass(frozen=True, eq=False)
class Pair:
    """Two networks, measured.

    Args:
        qualities: of each on the images of `split`. predictions: of classifiers, image by image.
        latencies: of each, one entry per batch size. layers: of each, by layer: its own forward within passes.
    """

    split: SplitName
    qualities: tuple[float | None, float | None]
    predictions: tuple[Predictions, Predictions] | None
    latencies: tuple[tuple[Latency, ...], tuple[Latency, ...]]
    layers: tuple[Mapping[str, Latency], Mapping[str, Latency]]


def measure_pair(
    models: tuple[nn.Module, nn.Module],
    layers: Iterable[str],
    quality: Quality,
    example: Any,
    log: RunLog,
    split: SplitName = "test",
) -> Pair:
    """Test and time two networks.

    Args:
        models: on one device. layers: that are timed; a model need not have all of them.
        quality: what networks are measured by, and on which images. example: an input, as `trace` takes it; a tensor is
            timed in batches of two sizes, another as it is.
        split: the validation images serve where it has none.

    Raises:
        ConfigError: one of them does not take these images. DataError: the split is empty.
    """
    both: tuple[float | None, float | None] = (None, None)
    found, data = None, quality.data
    if data is not None:
        split = split if len(getattr(data, split)) else "validation"
        with log.stage("test") as stage:
            if quality.is_share:
                found = predict(models[0], data, split), predict(models[1], data, split)
                both = found[0].top1, found[1].top1
            else:
                both = quality.of(models[0], split), quality.of(models[1], split)
            stage.note = f"{counted(len(getattr(data, split)), f'{split} image')}, once"
    with log.stage("measure latency") as stage:
        device = device_of(models[0])
        if isinstance(example, Tensor) and example.ndim > 1:
            size, number = example.shape[1:], " and ".join(map(str, BATCHES))
            rows = [timed_interleaved(models, size, batch, device, seconds=LATENCY_SECONDS) for batch in BATCHES]
            batch = random_like(torch.zeros(LAYER_BATCH, *size, device=device))
            stage.note = f"batches of {number}, the two networks interleaved"
        else:
            batch = on_device(example, device)
            rows = [measure_latency(models, batch, runs=51, seconds=LATENCY_SECONDS)]
            stage.note = "the example, the two networks interleaved"
        latencies = tuple(row[0] for row in rows), tuple(row[1] for row in rows)
        before, after = layer_latencies(models, layers, batch)
    return Pair(split, both, found, latencies, (before, after))


def timed_interleaved(
    models: Sequence[nn.Module], size: Sequence[int], batch: int, device: torch.device, *, seconds: float
) -> list[Latency]:
    """The latency of each model at a batch size: as many passes as the seconds allow, 7 to 51."""
    return measure_latency(models, random_like(torch.zeros(batch, *size, device=device)), runs=51, seconds=seconds)


# --- two networks of any kind, for `reconv compare` ----------------------------------------------------------


@dataclass(frozen=True)
class Side:
    """One of the two: accuracy (a fraction; or the value of what it is measured by), MACs per image, parameters,
    latency, fingerprint of its weights."""

    name: str
    accuracy: float | None
    macs: int
    parameters: int
    latency: tuple[Latency, ...]
    weights: str


@dataclass(frozen=True)
class LayerPair:
    """A layer of either or both: output channels, MACs, median seconds per pass of its own forward; None: not there."""

    name: str
    channels: tuple[int | None, int | None]
    macs: tuple[int | None, int | None]
    seconds: tuple[float | None, float | None]


@dataclass(frozen=True)
class Comparison:
    """Two networks on the same images.

    Args:
        a, b: the two. split, images: which images, how many.
        difference: accuracy of b less that of a, with its 95 % bootstrap interval, paired by images; None where what is
            measured is no accuracy.
        only_a, only_b: images that only one of them got right. p_value: McNemar's exact test of that; None likewise.
        layers: of both, by name. layer_batch: images per pass in which they were timed.
        data_set: whose images. device: what computed, with how many `threads` of the processor.
        versions: of software and hardware, by name. quality: what accuracy is: "top-1", "agreement", a metric's name.
    """

    a: Side
    b: Side
    split: str
    images: int
    difference: Interval | None
    only_a: int
    only_b: int
    p_value: float | None
    layers: tuple[LayerPair, ...]
    layer_batch: int
    data_set: str
    device: str
    threads: int
    versions: Mapping[str, str]
    quality: str = "top-1"

    def _repr_html_(self) -> str:
        title, d = f"{self.b.name} against {self.a.name}", self.difference
        if d is not None:
            title += f": {100 * d.value:+.2f} points [{100 * d.low:+.2f}, {100 * d.high:+.2f}]"
        title += f" on {self.images:,} {self.split} images"
        title += "" if self.p_value is None else f", p = {self.p_value:.3g}"
        form = ".2%" if d is not None else ".4g"
        sides: list[Sequence[Cell]] = [
            (
                self.quality,
                *("" if side.accuracy is None else format(side.accuracy, form) for side in (self.a, self.b)),
            ),
            ("MACs", self.a.macs, self.b.macs),
            ("parameters", self.a.parameters, self.b.parameters),
            *(
                (f"ms, {one.batch} images", 1e3 * one.median, 1e3 * other.median)
                for one, other in zip(self.a.latency, self.b.latency, strict=True)
            ),
        ]
        layers: list[Sequence[Cell]] = [(row.name, *row.channels) for row in self.layers]
        return html_table(title, ("", self.a.name, self.b.name), [*sides, *layers])


def compare(
    models: tuple[nn.Module, nn.Module],
    names: tuple[str, str],
    data: DataSet,
    device: torch.device,
    log: RunLog,
    split: SplitName = "test",
    *,
    quality: Quality | None = None,
) -> Comparison:
    """Compare two networks.

    Args:
        models: on the device. names: what they are called. data, split: the images. log: is told.
        quality: what they are measured by; None: right answers.

    Raises:
        ConfigError: one of them does not take these images. DataError: the split is empty.
    """
    example, quality = on_device(data.example(), device), quality or Quality(data)
    profiles = [profile(trace(model, example)) for model in models]
    layers = [{row.name: row for row in one.layers} for one in profiles]
    order = dict.fromkeys([*layers[0], *layers[1]])
    pair = measure_pair(models, order, quality, example, log, split)
    paired = _paired(*pair.predictions) if pair.predictions is not None else (0, 0, None, None)
    only_a, only_b, p_value, difference = paired
    a, b = (
        Side(
            names[i],
            pair.qualities[i],
            profiles[i].macs,
            profiles[i].parameters,
            pair.latencies[i],
            tensors_fingerprint(models[i].state_dict()),
        )
        for i in (0, 1)
    )

    def both(name: str, rows: Sequence[Mapping[str, Any]], figure: str) -> tuple[Any, Any]:
        a, b = (getattr(row[name], figure) if name in row else None for row in rows)
        return a, b

    return Comparison(
        a=a,
        b=b,
        split=pair.split,
        images=0 if quality.data is None else len(getattr(quality.data, pair.split)),
        quality=quality.name,
        difference=difference,
        only_a=only_a,
        only_b=only_b,
        p_value=p_value,
        layers=tuple(
            LayerPair(
                name, both(name, layers, "out_channels"), both(name, layers, "macs"), both(name, pair.layers, "median")
            )
            for name in order
        ),
        layer_batch=LAYER_BATCH,
        data_set=data.name,
        device=device_name(device),
        threads=torch.get_num_threads(),
        versions=versions(),
    )


def _paired(a: Predictions, b: Predictions) -> tuple[int, int, float, Interval]:
    """Images that only one got right, McNemar's p, and the accuracy of b less that of a."""
    right = {"a": a.correct.numpy(), "b": b.correct.numpy()}
    return *mcnemar(*right.values()), interval(*Replicates(right).difference(["b"], ["a"]))


# --- answers of classifiers, for a report ----------------------------------------------------------------------


def compare_predictions(before: Predictions, after: Predictions, data: DataSet, split: SplitName) -> Tested:
    """What two networks answered to the same images of a split, with pictures of those that changed most."""
    shown = _PICTURES if len(data.input_size) == 3 else 0
    changed = most_changed(before.probabilities, after.probabilities, shown)
    stream = getattr(data, split).stream([torch.tensor([index]) for index in changed])
    pictures = {index: _pixels(batch[0].cpu()) for index, (batch, _) in zip(changed, stream, strict=True)}
    names = data.class_names or tuple(map(str, range(before.probabilities.shape[1])))
    return tested(split, before, after, names, pictures)


def _pixels(image: Tensor) -> Tensor:
    """An image as uint8; one that comes prepared for the network is stretched to the whole range."""
    if image.dtype == torch.uint8:
        return image
    low, high = image.min(), image.max()
    return (255 * (image - low) / (high - low).clamp_min(1e-12)).round().to(torch.uint8)


def tested(
    split: str, before: Predictions, after: Predictions, names: Sequence[str], pictures: Mapping[int, Tensor]
) -> Tested:
    """Compare two networks' answers to the same images.

    Args:
        split: its name. names: of the classes.
        pictures: uint8 `[C, H, W]` of the images that are shown, by their index in the split, in the order shown.
    """
    only_before, only_after, p_value, gain = _paired(before, after)
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

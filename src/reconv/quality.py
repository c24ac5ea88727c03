"""How good a network is, by images that were held out: top-1, a metric of one's own, agreement with the original's
classes, or, for networks that give anything else, the divergence of each output from the original's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from reconv.data import DataSet, SplitName, TensorSplit, evaluation_batches
from reconv.data.batches import call
from reconv.data.splits import hold_out
from reconv.errors import ConfigError
from reconv.modes import evaluating
from reconv.report.numbers import percent
from reconv.runlog import Stage
from reconv.training import Metric, evaluate
from reconv.training.evaluation import are_scores, device_of, normalization_for, scores_of

_HELD_OUT = 0.1  # of images without labels
_BATCH = 64
_DEVIATIONS = 2  # standard ones, that an accuracy may be above chance by chance
AGREEMENT = "agreement"
_SHOWN = 4  # output tensors, each by its own figure


@dataclass(frozen=True, eq=False)
class Quality:
    """Measures networks on held-out images.

    Args:
        data: with labels, or with the original's predictions in their place; None: there is nothing to measure on.
        name: of what is measured: "top-1", "agreement", "divergence", or the metric's.
        metric, loss: in place of top-1 and cross-entropy.
        original: the network that outputs are compared with, where their divergence is what is measured.
    """

    data: DataSet | None
    name: str = "top-1"
    metric: Metric | None = None
    loss: Callable[[Any, Any], Tensor] | None = None
    original: nn.Module | None = None

    @property
    def is_share(self) -> bool:
        """Whether it counts images that are right."""
        return self.metric is None and self.original is None

    @property
    def compares(self) -> bool:
        """Whether networks are compared with the original, for want of labels."""
        return self.original is not None or self.name == AGREEMENT

    def of(self, model: nn.Module, split: SplitName = "validation") -> float | None:
        """The value for a network; None where there are no such images."""
        if self.data is None or not len(getattr(self.data, split)):
            return None
        if self.original is not None:
            return self.divergence(model, split).mean
        return evaluate(model, self.data, split, metric=self.metric, loss=self.loss).quality

    def divergence(self, model: nn.Module, split: SplitName = "validation") -> Divergence:
        """How far a network's outputs are from the original's."""
        assert self.data is not None  # callers ask where there is something to measure on
        assert self.original is not None
        return measure_divergence(self.original, model, self.data, split)

    def accuracy(self, model: nn.Module) -> float | None:
        """The share of validation images that are right; None where something else is measured."""
        return self.of(model) if self.is_share else None

    def is_at_chance(self, accuracy: float | None) -> bool:
        """Whether an accuracy on the validation images is, within noise, that of naming the most frequent class."""
        if accuracy is None or self.name != "top-1" or not self.is_share or self.data is None:
            return False
        counts = torch.bincount(self.data.validation.labels).double()
        chance, images = float(counts.max() / counts.sum()), int(counts.sum())
        return len(counts) > 1 and accuracy <= chance + _DEVIATIONS * (chance * (1 - chance) / images) ** 0.5

    def text(self, model: nn.Module, form: str = "{}") -> str:
        """The validation images' value for a network, in words; "" where there is none."""
        value = self.of(model)
        if value is None:
            return ""
        if self.original is not None:
            return form.format(str(self.divergence(model)))
        return form.format(percent(value) if self.is_share else f"{self.name} {value:.4g}")

    def put_on(self, stage: Stage, model: nn.Module) -> None:
        """Measure a network on the validation images, as the result of a stage."""
        if self.is_share:
            stage.accuracy = self.accuracy(model)
            if self.name == AGREEMENT and stage.accuracy is not None:
                stage.note = ", ".join(filter(None, ("agreement with the original", stage.note)))
        else:
            stage.note = ", ".join(filter(None, (self.text(model, "validation {}"), stage.note)))


@dataclass(frozen=True)
class Divergence:
    """How far the outputs of one network are from those of another, on the same images.

    Args:
        outputs: of each output tensor, by its place in the structure: the relative distance, ||a - b|| / ||a||, of
            numbers, the share of entries that differ of others.
        identical: the share of identical predictions: of the largest entry along the second axis, of numbers; of
            entries, of others.
    """

    outputs: Mapping[str, float]
    identical: float

    @property
    def mean(self) -> float:
        """The mean over the output tensors."""
        return sum(self.outputs.values()) / len(self.outputs)

    def __str__(self) -> str:
        """One line: the mean, each of a few outputs, and the share of identical predictions."""
        several = ", ".join(f"{name} {value:.3g}" for name, value in self.outputs.items())
        each = f" ({several})" if 1 < len(self.outputs) <= _SHOWN else ""
        return f"divergence {self.mean:.3g}{each}, {percent(self.identical)} of predictions identical"


def measure_divergence(original: nn.Module, model: nn.Module, data: DataSet, split: SplitName) -> Divergence:
    """Run two networks over a split and compare all their output tensors.

    Args:
        original, model: on one device. data, split: the images; labels are not read.

    Raises:
        ConfigError: the original gives no tensor.
    """
    squares: dict[str, Tensor] = {}
    same = torch.zeros(2, dtype=torch.float64)
    for outputs, _, images in _answers(original, data, split):
        with evaluating(model), torch.inference_mode():
            others = dict(_tensors(call(model, images)))
        for name, value in _tensors(outputs):
            distance, alike = _compare(value, others.get(name))
            squares[name] = squares.get(name, torch.zeros(2, dtype=torch.float64)) + distance
            same += alike
    if not squares:
        raise ConfigError(f"{type(original).__name__}: gives no tensor to compare; give metric=")
    figures = {name: float((a / b.clamp_min(1e-30)).sqrt()) for name, (a, b) in squares.items()}
    return Divergence(figures, float(same[0] / same[1].clamp_min(1)))


def _tensors(outputs: Any, within: str = "") -> list[tuple[str, Tensor]]:
    """All tensors of a structure, by their place in it: "boxes", "features.0"."""
    if isinstance(outputs, Tensor):
        return [(within or "output", outputs)]
    if is_dataclass(outputs) and not isinstance(outputs, type):
        outputs = {field.name: getattr(outputs, field.name) for field in fields(outputs)}
    if isinstance(outputs, tuple | list):
        outputs = dict(enumerate(outputs))
    if not isinstance(outputs, Mapping):
        return []
    return [found for key, value in outputs.items() for found in _tensors(value, f"{within}.{key}".lstrip("."))]


def _compare(a: Tensor, b: Tensor | None) -> tuple[Tensor, Tensor]:
    """Squared distance and squared norm; identical predictions and their number. Of other shapes nothing is alike."""
    if b is None or a.shape != b.shape:
        return _pair(1, 1), _pair(0, max(len(a), 1) if a.ndim else 1)
    if not a.is_floating_point():
        differ = int((a != b).sum())
        return _pair(differ, a.numel()), _pair(a.numel() - differ, a.numel())
    finite = torch.isfinite(a) & torch.isfinite(b)
    x, y = (torch.where(finite, t, 0).double() for t in (a, b))
    predicted = (a.argmax(1), b.argmax(1)) if a.ndim > 1 and a.shape[1] > 1 else (a > 0, b > 0)
    alike = (predicted[0] == predicted[1]).sum()
    return _pair((x - y).square().sum(), x.square().sum()), _pair(alike, predicted[0].numel())


def _pair(a: Any, b: Any) -> Tensor:
    return torch.tensor([float(a), float(b)], dtype=torch.float64)


def held_out(data: DataSet, seed: int) -> DataSet:
    """Images without labels of which some are kept to measure on, where none are."""
    if data.labelled or len(data.validation) or len(data.train) < 2 / _HELD_OUT:
        return data
    kept, held = hold_out(torch.zeros(len(data.train), dtype=torch.long), round(_HELD_OUT * len(data.train)), seed)
    return replace(data, train=data.train.subset(kept), validation=data.train.subset(held))


def quality_for(base: nn.Module, data: DataSet | None, metric: Metric | None, loss: Any) -> Quality:
    """What networks are measured by: labels where there are some, otherwise the predictions of the original.

    Args:
        base: the original. data: images; `held_out` of those without labels. metric, loss: the user's own.
    """
    if data is None:
        return Quality(None)
    if metric is not None and data.labelled:
        return Quality(data, metric.name, metric, loss)
    if data.labelled and _is_classifier(base, data):
        return Quality(data, loss=loss)
    if data.labelled or data.sample is not None:
        return Quality(data, "divergence", original=base)
    parts = {split: _predicted(base, data, split) for split in ("validation", "test")}
    if any(part is None for part in parts.values()):
        return Quality(data, "divergence", original=base)
    named = replace(data, normalization=None, class_names=(), labelled=True, **parts)  # type: ignore[arg-type]
    return Quality(named, AGREEMENT)


def _is_classifier(base: nn.Module, data: DataSet) -> bool:
    """Whether a network gives scores of classes, and the data set their labels."""
    outputs, targets, _ = next(_answers(base, data, "validation" if len(data.validation) else "train"))
    return are_scores(scores_of(outputs, targets), targets)


def _predicted(base: nn.Module, data: DataSet, split: str) -> TensorSplit | None:
    """A split whose labels are the classes that a network predicts; None if it predicts no classes."""
    images, classes = [torch.zeros(0, *data.input_size)], [torch.zeros(0, dtype=torch.long)]
    for outputs, _, batch in _answers(base, data, split):
        scores = scores_of(outputs, torch.zeros(len(batch), dtype=torch.long))
        if not isinstance(scores, Tensor) or scores.ndim != 2:
            return None
        images.append(batch.cpu())
        classes.append(scores.argmax(1).cpu())
    return TensorSplit(torch.cat(images), torch.cat(classes))


def _answers(base: nn.Module, data: DataSet, split: str) -> Iterator[tuple[Any, Any, Any]]:
    """Outputs, targets and inputs, batch by batch."""
    batches = evaluation_batches(getattr(data, split), normalization_for(base, data), _BATCH, device_of(base))
    with evaluating(base), torch.inference_mode():
        for images, targets in batches:
            yield call(base, images), targets, images

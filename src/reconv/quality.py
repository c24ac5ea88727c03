"""How good a network is, by images that were held out: top-1, a metric of one's own, agreement with the original's
classes, or, for networks that give anything else, the divergence of each output from the original's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from reconv.data import DataSet, SplitName, TensorSplit
from reconv.data.splits import hold_out
from reconv.report.numbers import percent
from reconv.runlog import Stage
from reconv.training import Metric, evaluate
from reconv.training.divergence import Divergence, answers, measure_divergence
from reconv.training.evaluation import are_scores, scores_of

_HELD_OUT = 0.1  # of images without labels
_DEVIATIONS = 2  # standard ones, that an accuracy may be above chance by chance
AGREEMENT = "agreement"


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


def held_out(data: DataSet, seed: int, share: float | None = None) -> DataSet:
    """Images without labels of which some are kept to measure on, where none are; a tenth without a share."""
    share = share or _HELD_OUT
    if data.labelled or len(data.validation) or len(data.train) < 2 / share:
        return data
    kept, held = hold_out(torch.zeros(len(data.train), dtype=torch.long), round(share * len(data.train)), seed)
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
    outputs, targets, _ = next(answers(base, data, "validation" if len(data.validation) else "train"))
    return are_scores(scores_of(outputs, targets), targets)


def _predicted(base: nn.Module, data: DataSet, split: str) -> TensorSplit | None:
    """A split whose labels are the classes that a network predicts; None if it predicts no classes."""
    images, classes = [torch.zeros(0, *data.input_size)], [torch.zeros(0, dtype=torch.long)]
    for outputs, _, batch in answers(base, data, split):
        scores = scores_of(outputs, torch.zeros(len(batch), dtype=torch.long))
        if not isinstance(scores, Tensor) or scores.ndim != 2:
            return None
        images.append(batch.cpu())
        classes.append(scores.argmax(1).cpu())
    return TensorSplit(torch.cat(images), torch.cat(classes))

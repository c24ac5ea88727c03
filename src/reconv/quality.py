"""How good a network is, by images that were held out: top-1, a metric of one's own, or agreement with the original."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from reconv.data import DataSet, SplitName, TensorSplit, evaluation_batches
from reconv.data.splits import hold_out
from reconv.modes import evaluating
from reconv.report.numbers import percent
from reconv.runlog import Stage
from reconv.training import Metric, evaluate
from reconv.training.evaluation import are_scores, device_of, normalization_for

_HELD_OUT = 0.1  # of images without labels
_BATCH = 64


@dataclass(frozen=True, eq=False)
class Quality:
    """Measures networks on held-out images.

    Args:
        data: with labels, or with the original's predictions in their place; None: there is nothing to measure on.
        name: of what is measured: "top-1", "agreement", or the metric's.
        metric, loss: in place of top-1 and cross-entropy.
    """

    data: DataSet | None
    name: str = "top-1"
    metric: Metric | None = None
    loss: Callable[[Any, Any], Tensor] | None = None

    @property
    def is_share(self) -> bool:
        """Whether it counts images that are right."""
        return self.metric is None

    def of(self, model: nn.Module, split: SplitName = "validation") -> float | None:
        """The value for a network; None where there are no such images."""
        if self.data is None or not len(getattr(self.data, split)):
            return None
        return evaluate(model, self.data, split, metric=self.metric, loss=self.loss).quality

    def accuracy(self, model: nn.Module) -> float | None:
        """The share of validation images that are right; None where something else is measured."""
        return self.of(model) if self.is_share else None

    def text(self, model: nn.Module, form: str = "{}") -> str:
        """The validation images' value for a network, in words; "" where there is none."""
        value = self.of(model)
        if value is None:
            return ""
        return form.format(percent(value) if self.is_share else f"{self.name} {value:.4g}")

    def put_on(self, stage: Stage, model: nn.Module) -> None:
        """Measure a network on the validation images, as the result of a stage."""
        if self.is_share:
            stage.accuracy = self.accuracy(model)
        else:
            stage.note = ", ".join(filter(None, (self.text(model, "validation {}"), stage.note)))


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
    if data.labelled:
        return Quality(data if _is_classifier(base, data) else None, loss=loss)
    parts = {split: _predicted(base, data, split) for split in ("validation", "test")}
    if any(part is None for part in parts.values()):
        return Quality(None)
    named = replace(data, normalization=None, class_names=(), labelled=True, **parts)  # type: ignore[arg-type]
    return Quality(named, "agreement")


def _is_classifier(base: nn.Module, data: DataSet) -> bool:
    """Whether a network gives scores of classes, and the data set their labels."""
    outputs, targets, _ = next(_answers(base, data, "validation" if len(data.validation) else "train"))
    return are_scores(outputs, targets)


def _predicted(base: nn.Module, data: DataSet, split: str) -> TensorSplit | None:
    """A split whose labels are the classes that a network predicts; None if it predicts no classes."""
    images, classes = [torch.zeros(0, *data.input_size)], [torch.zeros(0, dtype=torch.long)]
    for outputs, _, batch in _answers(base, data, split):
        if not isinstance(outputs, Tensor) or outputs.ndim != 2:
            return None
        images.append(batch.cpu())
        classes.append(outputs.argmax(1).cpu())
    return TensorSplit(torch.cat(images), torch.cat(classes))


def _answers(base: nn.Module, data: DataSet, split: str) -> Iterator[tuple[Any, Any, Tensor]]:
    """Outputs, targets and inputs, batch by batch."""
    batches = evaluation_batches(getattr(data, split), normalization_for(base, data), _BATCH, device_of(base))
    with evaluating(base), torch.inference_mode():
        for images, targets in batches:
            yield base(images), targets, images

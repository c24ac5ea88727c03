"""A model's predictions image by image, where a count is not enough."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from reconv.data import DataSet, Share, SplitName
from reconv.errors import ConfigError
from reconv.inputs import call
from reconv.modes import evaluating
from reconv.threads import map_in_threads
from reconv.training.evaluation import are_scores, batches_for, channels_last, describe, device_of, scores_of


@dataclass(frozen=True, eq=False)
class Predictions:
    """A model's predictions, image by image, in the split's order.

    Attributes:
        probabilities: float32 `[n, classes]`, softmax of the scores, on the CPU.
        labels: int64 `[n]`, the right classes.
    """

    probabilities: Tensor
    labels: Tensor

    @property
    def predicted(self) -> Tensor:
        """int64 `[n]`: the class with the highest score."""
        return self.probabilities.argmax(1)

    @property
    def correct(self) -> Tensor:
        """bool `[n]`: whether that is the right one."""
        return self.predicted == self.labels

    @property
    def top1(self) -> float:
        """The fraction that is right."""
        return float(self.correct.double().mean())


def predict(
    model: nn.Module, data: DataSet, split: SplitName = "test", *, batch_size: int | None = None
) -> Predictions:
    """Run a model over a split, in evaluation mode, and keep its prediction for each image.

    Args:
        model, data, split, batch_size: as for `evaluate`, whose `top1` this gives too.

    Returns:
        The predictions, on the CPU.

    Raises:
        ConfigError: the model does not take such images or does not have as many classes.
        DataError: the split is empty.
    """
    batches = batches_for(model, data, split, batch_size, Share())
    with evaluating(model):
        parts = list(map_in_threads(lambda batch: _probabilities(model, *batch), batches, device_of(model)))
    probabilities, labels = zip(*parts)
    return Predictions(torch.cat(probabilities), torch.cat(labels))


@torch.inference_mode()
def _probabilities(model: nn.Module, images: Any, labels: Tensor) -> tuple[Tensor, Tensor]:
    scores = scores_of(call(model, channels_last(images)), labels)
    if not are_scores(scores, labels):
        raise ConfigError(
            f"outputs {describe(scores)}, targets {describe(labels)}; give scores [n, classes] and labels"
        )
    return scores.float().softmax(1).cpu(), labels.cpu()

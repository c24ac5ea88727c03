"""How far the outputs of one network are from those of another, on the same images: what can be measured without
labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn

from reconv.data import DataSet, SplitName, evaluation_batches
from reconv.errors import ConfigError
from reconv.inputs import call
from reconv.modes import evaluating
from reconv.training.evaluation import device_of, normalization_for

_BATCH = 64
_SHOWN = 4  # output tensors, each by its own figure


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
        return f"divergence {self.mean:.3g}{each}, {100 * self.identical:.2f} % of predictions identical"


def measure_divergence(original: nn.Module, model: nn.Module, data: DataSet, split: SplitName) -> Divergence:
    """Run two networks over a split and compare all their output tensors.

    Args:
        original, model: on one device. data, split: the images; labels are not read.

    Raises:
        ConfigError: the original gives no tensor.
    """
    squares: dict[str, Tensor] = {}
    same = torch.zeros(2, dtype=torch.float64)
    for outputs, _, images in answers(original, data, split):
        with evaluating(model), torch.inference_mode():
            others = dict(named_tensors(call(model, images)))
        for name, value in named_tensors(outputs):
            distance, alike = _compare(value, others.get(name))
            squares[name] = squares.get(name, torch.zeros(2, dtype=torch.float64)) + distance
            same += alike
    if not squares:
        raise ConfigError(f"{type(original).__name__}: gives no tensor to compare; give metric=")
    figures = {name: float((a / b.clamp_min(1e-30)).sqrt()) for name, (a, b) in squares.items()}
    return Divergence(figures, float(same[0] / same[1].clamp_min(1)))


def named_tensors(outputs: Any, within: str = "") -> list[tuple[str, Tensor]]:
    """All tensors of a structure, by their place in it: "boxes", "features.0"."""
    if isinstance(outputs, Tensor):
        return [(within or "output", outputs)]
    if is_dataclass(outputs) and not isinstance(outputs, type):
        outputs = {field.name: getattr(outputs, field.name) for field in fields(outputs)}
    if isinstance(outputs, tuple | list):
        outputs = dict(enumerate(outputs))
    if not isinstance(outputs, Mapping):
        return []
    return [found for key, value in outputs.items() for found in named_tensors(value, f"{within}.{key}".lstrip("."))]


def _compare(a: Tensor, b: Tensor | None) -> tuple[Tensor, Tensor]:
    """Squared distance and squared norm; identical predictions and their number. Of other shapes nothing is alike."""
    if b is None or a.shape != b.shape:
        return _pair(1, 1), _pair(0, max(len(a), 1) if a.ndim else 1)
    if not a.is_floating_point():
        alike = same_predictions(a, b).sum()
        return _pair(a.numel() - alike, a.numel()), _pair(alike, a.numel())
    finite = torch.isfinite(a) & torch.isfinite(b)
    x, y = (torch.where(finite, t, 0).double() for t in (a, b))
    same = same_predictions(a, b)
    return _pair((x - y).square().sum(), x.square().sum()), _pair(same.sum(), same.numel())


def same_predictions(a: Tensor, b: Tensor) -> Tensor:
    """Which predictions are the same: of the largest entry along the second axis, of numbers; of entries, of others."""
    if not a.is_floating_point():
        return a == b
    return a.argmax(1) == b.argmax(1) if a.ndim > 1 and a.shape[1] > 1 else (a > 0) == (b > 0)


def _pair(a: Any, b: Any) -> Tensor:
    return torch.tensor([float(a), float(b)], dtype=torch.float64)


def answers(base: nn.Module, data: DataSet, split: str) -> Iterator[tuple[Any, Any, Any]]:
    """Outputs, targets and inputs, batch by batch."""
    batches = evaluation_batches(getattr(data, split), normalization_for(base, data), _BATCH, device_of(base))
    with evaluating(base), torch.inference_mode():
        for images, targets in batches:
            yield call(base, images), targets, images

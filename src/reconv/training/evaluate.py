"""How often a model is right."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from reconv.data import DataSet, Share, Split, evaluation_batches
from reconv.errors import ConfigError, DataError
from reconv.modes import evaluating
from reconv.provenance import Normalization, provenance_of
from reconv.training.threads import map_in_threads

SplitName = Literal["train", "validation", "test"]
_BATCH = {"cpu": 128, "cuda": 1024}


@dataclass(frozen=True)
class Evaluation:
    """A model's figures on one split.

    Attributes:
        top1: the fraction of images whose label has the highest score.
        top5: the fraction whose label is among the five highest.
        loss: mean cross-entropy, in nats.
        n: how many images.
    """

    top1: float
    top5: float
    loss: float
    n: int

    def __str__(self) -> str:
        """One line, in percent."""
        return f"top-1 {self.top1:.2%}, top-5 {self.top5:.2%}, loss {self.loss:.4f}, {self.n:,} images"


def evaluate(
    model: nn.Module, data: DataSet, split: SplitName = "test", *, batch_size: int | None = None
) -> Evaluation:
    """Run a model over a split, in evaluation mode, and count.

    Images are normalized as the model's provenance says, or as the data set does where it says nothing. With
    several processes (`torch.distributed`) each takes a part, and all return the figures of the whole.

    Args:
        model: gives scores `[n, classes]`; stays as it is, on its device. On a CPU several batches pass
            through it at a time, each in a thread.
        data: the data set.
        split: which part of it; "test" is for once, at the end.
        batch_size: images at a time; None: what is fast on the model's device.

    Returns:
        The figures, as fractions.

    Raises:
        ConfigError: the model does not take such images or does not have as many classes.
        DataError: the split is empty.
    """
    batches = batches_for(model, data, split, batch_size, this_share())
    device = device_of(model)
    totals = torch.zeros(4, dtype=torch.float64, device=device if device.type != "mps" else "cpu")
    with evaluating(model):
        for counts in map_in_threads(lambda batch: _counts(model, *batch), batches, device):
            totals += counts.to(totals.device)
    if this_share().world > 1:
        torch.distributed.all_reduce(totals)
    top1, top5, loss, n = totals.tolist()
    return Evaluation(top1 / n, top5 / n, loss / n, round(n))


def batches_for(
    model: nn.Module, data: DataSet, split: SplitName, batch_size: int | None, share: Share
) -> Iterator[tuple[Tensor, Tensor]]:
    """A split's images as a model takes them, once it is sure that it can; arguments and errors as for `evaluate`."""
    images: Split = getattr(data, split)
    if len(images) == 0:
        raise DataError(f"{data.name}: the {split} split has no images; load the data with another one.")
    check_fits(model, data)
    device = device_of(model)
    size = batch_size or _BATCH.get(device.type, 256)
    return evaluation_batches(images, normalization_for(model, data), size, device, share)


@torch.inference_mode()
def _counts(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Right at first, right among five, summed loss, images."""
    scores = model(images.contiguous(memory_format=torch.channels_last)).float()
    five = scores.topk(min(5, scores.shape[1]), dim=1).indices == labels[:, None]
    loss = functional.cross_entropy(scores, labels, reduction="sum")
    return torch.stack([five[:, 0].sum(), five.sum(), loss, torch.tensor(len(labels), device=loss.device)])


def check_fits(model: nn.Module, data: DataSet) -> None:
    """Refuse a model that cannot take the data set's images or has another number of classes.

    Raises:
        ConfigError: what the model takes or gives, and what the data set has.
    """
    size = "x".join(str(side) for side in data.input_size)
    try:
        with evaluating(model), torch.no_grad():
            scores = model(data.example(2).to(device_of(model)))
    except (RuntimeError, ValueError, TypeError) as error:
        raise ConfigError(
            f"{data.name}: the model does not take its {size} images ({_first_line(error)}); "
            "give a model for images of this size and number of channels."
        ) from None
    if not isinstance(scores, Tensor) or scores.shape != (2, data.num_classes):
        got = tuple(scores.shape[1:]) if isinstance(scores, Tensor) else type(scores).__name__
        raise ConfigError(
            f"{data.name}: it has {data.num_classes} classes, but the model gives {got} an image; "
            f"build the model with num_classes={data.num_classes}."
        )


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0].rstrip(".")


def normalization_for(model: nn.Module, data: DataSet) -> Normalization:
    """What the model was trained with, where it is known; otherwise the data set's."""
    return provenance_of(model).normalization or data.normalization


def device_of(model: nn.Module) -> torch.device:
    """Where the model's first parameter or buffer is; the CPU for a model without any."""
    first = next(model.parameters(), next(model.buffers(), None))
    return first.device if first is not None else torch.device("cpu")


def this_share() -> Share:
    """Which of the running processes this is."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return Share(torch.distributed.get_rank(), torch.distributed.get_world_size())
    return Share()

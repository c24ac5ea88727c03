"""How good a model is: how often a classifier is right, or a metric of one's own."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._pytree import tree_leaves, tree_map

from reconv.data import DataSet, DataWarning, Share, Split, SplitName, as_data_set, evaluation_batches
from reconv.data.own import SPLITS
from reconv.errors import ConfigError, DataError, check_kind, first_line, unknown_name
from reconv.inputs import batch_size, call, first_images, on_device
from reconv.modes import evaluating
from reconv.provenance import Normalization, provenance_of
from reconv.threads import map_in_threads

LossFunction = Callable[[Any, Any], Tensor]

_BATCH = {"cpu": 128, "cuda": 1024}


@dataclass(frozen=True)
class Metric:
    """A measure of quality in place of top-1.

    Attributes:
        function: of a batch's outputs and targets; a number or a tensor of one.
        name: for tables and reports; the function's own where none is given.
        higher_is_better: whether more of it is better.
        whole: call it once, with the outputs and targets of all batches concatenated (on the CPU); otherwise it is
            the mean over the batches, weighted by their sizes.
    """

    function: Callable[[Any, Any], float | Tensor]
    name: str = ""
    higher_is_better: bool = True
    whole: bool = False

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise ConfigError(f"metric: {self.function!r}; give a function of (outputs, targets), or a Metric of one.")
        if not self.name:
            object.__setattr__(self, "name", getattr(self.function, "__name__", type(self.function).__name__))


def as_metric(metric: Metric | Callable[[Any, Any], float | Tensor] | None) -> Metric | None:
    """A metric, or a function as one."""
    return metric if metric is None or isinstance(metric, Metric) else Metric(metric)


@dataclass(frozen=True)
class Evaluation:
    """A model's figures on one split.

    Attributes:
        top1: the fraction of images whose label has the highest score; NaN where outputs are no scores of classes.
        top5: the fraction whose label is among the five highest; NaN likewise.
        loss: mean cross-entropy, in nats, or of the loss that was given; NaN where there is none.
        n: how many images.
        metric: value of the metric, if one was given. metric_name: its name.
    """

    top1: float
    top5: float
    loss: float
    n: int
    metric: float | None = None
    metric_name: str = ""

    @property
    def quality(self) -> float:
        """The metric's value; top-1 without a metric."""
        return self.top1 if self.metric is None else self.metric

    def is_better_than(self, other: Evaluation, *, higher: bool = True) -> bool:
        """By the metric (`higher`: more of it is better), by top-1 without one, by loss where both are missing."""
        mine, its = self.quality, other.quality
        if math.isnan(mine) or math.isnan(its):
            return self.loss < other.loss
        return mine > its if higher else mine < its

    @property
    def quality_text(self) -> str:
        """The metric by name, or top-1 in percent; the loss where both are missing."""
        if math.isnan(self.quality):
            return f"loss {self.loss:.4g}"
        return f"{self.top1:.2%}" if self.metric is None else f"{self.metric_name} {self.metric:.4g}"

    def __str__(self) -> str:
        """One line; fractions in percent."""
        figures = [] if self.metric is None else [self.quality_text]
        if math.isfinite(self.top1):
            figures.append(f"top-1 {self.top1:.2%}, top-5 {self.top5:.2%}")
        figures += [f"loss {self.loss:.4f}"] if not math.isnan(self.loss) else []
        return ", ".join([*figures, f"{self.n:,} images"])

    def to_json(self) -> dict[str, Any]:
        """As a JSON object: null for what there is not, no metric where none was given."""
        values = {name: None if value != value else value for name, value in asdict(self).items()}
        return {name: value for name, value in values.items() if self.metric is not None or "metric" not in name}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Evaluation:
        """What `to_json` made."""
        figures: dict[str, Any] = {name: math.nan if value is None else value for name, value in values.items()}
        return cls(**figures)


def evaluate(
    model: nn.Module,
    data: Any,
    split: SplitName = "test",
    *,
    metric: Metric | Callable[[Any, Any], float | Tensor] | None = None,
    loss: LossFunction | None = None,
    batch_size: int | None = None,
) -> Evaluation:
    """Run a model over a split, in evaluation mode, and measure.

    Images are normalized as the model's provenance says, or as the data set does where it says nothing; those of a
    DataLoader come prepared. With several processes (`torch.distributed`) each takes a part, and all return the figures
    of the whole.

    Args:
        model: gives scores `[n, classes]`, or what the metric takes; stays as it is, on its device. On a CPU several
            batches pass through it at a time, each in a thread.
        data: a data set; or a DataLoader, a Dataset or a pair of tensors, all of which is evaluated on (see
            `data.as_data_set`).
        split: which part of a data set; "test" is for once, at the end.
        metric: a function of (outputs, targets), or a `Metric`; needed where outputs are no scores of classes.
        loss: a function of (outputs, targets), the mean over a batch, in place of cross-entropy.
        batch_size: images at a time; None: what is fast on the model's device.

    Returns:
        The figures, top-1 and top-5 as fractions.

    Raises:
        ConfigError: the model does not take such images or does not have as many classes.
        DataError: the split is empty, or has no labels.

    Example:
        >>> images, labels = torch.zeros(4, 3), torch.tensor([0, 0, 0, 1])
        >>> evaluate(nn.Identity(), (images, labels), metric=lambda scores, labels: (labels == 0).float().mean()).metric
        0.75
    """
    check_kind("evaluate: model", model, nn.Module)
    if split not in SPLITS:
        raise unknown_name("split", str(split), SPLITS)
    measure = as_metric(metric)
    data = as_data_set(data, only=split)
    share = Share() if measure is not None and measure.whole else this_share()
    batches = batches_for(model, data, split, batch_size, share, labels=measure is None and loss is None)
    device = device_of(model)
    totals = torch.zeros(5, dtype=torch.float64, device=device if device.type != "mps" else "cpu")
    kept: list[tuple[Any, Any]] = []

    def figures(batch: tuple[Tensor, Any]) -> tuple[Tensor, tuple[Any, Any] | None]:
        return _figures(model, *batch, measure, loss)

    with evaluating(model):
        for counts, both in map_in_threads(figures, batches, device):
            totals += counts.to(totals.device)
            kept += [] if both is None else [both]
    if share.world > 1:
        torch.distributed.all_reduce(totals)
    n = round(totals[4].item())
    top1, top5, mean_loss, value = (totals[:4] / n).tolist()
    if measure is None:
        return Evaluation(top1, top5, mean_loss, n)
    if measure.whole:
        outputs, targets = (tree_map(lambda *parts: torch.cat(parts), *parts) for parts in zip(*kept))
        value = float(measure.function(outputs, targets))
    return Evaluation(top1, top5, mean_loss, n, value, measure.name)


def batches_for(
    model: nn.Module, data: DataSet, split: SplitName, batch_size: int | None, share: Share, *, labels: bool = True
) -> Iterator[tuple[Tensor, Any]]:
    """A split's images as a model takes them, once it is sure that it can; arguments and errors as for `evaluate`.

    `labels`: whether they and the model's scores have to be of as many classes.
    """
    images: Split = getattr(data, split)
    if len(images) == 0:
        raise DataError(f"{data.name}: the {split} split has no images; load the data with another one.")
    if not data.labelled:
        raise DataError(f"{data.name}: images without labels; give a DataLoader or Dataset of (input, target).")
    check_fits(model, data, labels=labels)
    if data.assumed and provenance_of(model).normalization is None:
        warnings.warn(
            f"{data.name}: how the network takes images is not known; they are read as ImageNet's are (mean and std of "
            f"ImageNet, a square of {data.input_size[-1]} pixels of their center). If it was trained otherwise, "
            "give load_data its image_size, resize and normalization.",
            DataWarning,
            stacklevel=3,
        )
    device = device_of(model)
    size = batch_size or _BATCH.get(device.type, 256)
    return evaluation_batches(images, normalization_for(model, data), size, device, share)


@torch.inference_mode()
def _figures(
    model: nn.Module, images: Any, targets: Any, metric: Metric | None, loss: LossFunction | None
) -> tuple[Tensor, tuple[Any, Any] | None]:
    """Right at first, right among five, summed loss, summed metric, images; and what a metric of the whole needs."""
    n = batch_size(images)
    outputs = call(model, channels_last(images))
    scores = scores_of(outputs, targets)
    right = five = summed = value = torch.tensor(math.nan)
    if are_scores(scores, targets):
        scores = scores.float()
        if targets.device.type == "cpu" and int(targets.max()) >= scores.shape[1]:
            raise ConfigError(
                f"evaluate: a label {int(targets.max())}, but the model gives scores of {scores.shape[1]} classes; "
                "give labels from 0 on, or a model of more classes."
            )
        among = scores.topk(min(5, scores.shape[1]), dim=1).indices == targets[:, None]
        right, five = among[:, 0].sum(), among.sum()
        summed = functional.cross_entropy(scores, targets, reduction="sum")
    elif metric is None and loss is None:
        raise ConfigError(
            f"evaluate: outputs {describe(outputs)} and targets {describe(targets)}; top-1 needs scores [n, classes] "
            "and labels [n]: give metric=, a function of (outputs, targets)."
        )
    if loss is not None:
        summed = n * torch.as_tensor(loss(outputs, targets))
    if metric is not None and not metric.whole:
        value = n * torch.as_tensor(metric.function(outputs, targets))
    counts = torch.stack(
        [figure.to(device_of(model)).double() for figure in (right, five, summed, value, torch.tensor(n))]
    )
    kept = on_device((outputs, targets), torch.device("cpu")) if metric is not None and metric.whole else None
    return counts, kept


def are_scores(outputs: Any, targets: Any) -> bool:
    """Whether these are scores of classes, `[n, classes]`, and labels, int64 `[n]`."""
    both = isinstance(outputs, Tensor) and isinstance(targets, Tensor)
    return both and outputs.ndim == 2 and targets.ndim == 1 and not targets.is_floating_point()


def scores_of(outputs: Any, targets: Any) -> Any:
    """The scores of classes in a classifier's outputs, where labels are to be compared with them: its `logits`, or its
    only tensor; other outputs as they are."""
    if isinstance(outputs, Tensor) or not (isinstance(targets, Tensor) and targets.ndim == 1):
        return outputs
    logits = outputs.get("logits") if isinstance(outputs, Mapping) else getattr(outputs, "logits", None)
    found = logits if isinstance(logits, Tensor) else only_tensor(outputs)
    return found if are_scores(found, targets) else outputs


def only_tensor(outputs: Any) -> Any:
    """The one tensor in a structure; None where there are several or none."""
    tensors = [leaf for leaf in tree_leaves(outputs) if isinstance(leaf, Tensor)]
    return tensors[0] if len(tensors) == 1 else None


def channels_last(images: Any) -> Any:
    """Images in the memory order that is faster on most devices; other inputs as they are."""
    if not isinstance(images, Tensor) or images.ndim != 4:
        return images
    return images.contiguous(memory_format=torch.channels_last)


def check_fits(model: nn.Module, data: DataSet, *, labels: bool = True) -> Any:
    """Refuse a model that cannot take the data set's images or has another number of classes.

    Args:
        model, data: what is checked.
        labels: whether the outputs have to be scores of the data set's classes, where these are known.

    Returns:
        The model's outputs for two images of zeros.

    Raises:
        ConfigError: what the model takes or gives, and what the data set has.
    """
    size = "x".join(str(side) for side in data.input_size)
    try:
        with evaluating(model), torch.no_grad():
            inputs = first_images(data.sample, 2) if data.sample is not None else data.example(2)
            outputs = call(model, on_device(inputs, device_of(model)))
    except (RuntimeError, ValueError, TypeError) as error:
        raise ConfigError(
            f"{data.name}: the model does not take its {size} images ({first_line(error)}); "
            "give a model for images of this size and number of channels."
        ) from None
    outputs = scores_of(outputs, torch.zeros(2, dtype=torch.long)) if labels else outputs
    if labels and data.class_names and getattr(outputs, "shape", None) != (2, data.num_classes):
        got = tuple(outputs.shape[1:]) if isinstance(outputs, Tensor) else type(outputs).__name__
        raise ConfigError(
            f"{data.name}: it has {data.num_classes} classes, but the model gives {got} per image; "
            f"build the model with num_classes={data.num_classes}, or give metric= and loss= for another task."
        )
    return outputs


def describe(value: Any) -> str:
    """A tensor's shape, or the kind of anything else."""
    return str(tuple(value.shape)) if isinstance(value, Tensor) else type(value).__name__


def normalization_for(model: nn.Module, data: DataSet) -> Normalization | None:
    """What the model was trained with, where it is known; otherwise the data set's, None for prepared images."""
    return provenance_of(model).normalization or data.normalization


def device_of(model: nn.Module) -> torch.device:
    """Where the model's first parameter or buffer is; the CPU for a model without any."""
    first = next(model.parameters(), next(model.buffers(), None))
    return first.device if first is not None else torch.device("cpu")


def placed(model: nn.Module, device: torch.device) -> nn.Module:
    """The model itself where it is on the device; else a copy that is."""
    return model if device_of(model) == device else copy.deepcopy(model).to(device)


def this_share() -> Share:
    """Which of the running processes this is."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return Share(torch.distributed.get_rank(), torch.distributed.get_world_size())
    return Share()

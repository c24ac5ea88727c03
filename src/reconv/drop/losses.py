"""What a network loses against the original, image by image, and bounds of that.

Where images are right or wrong, the bounds are exact: of disagreements (Clopper-Pearson) where networks are compared
with the original, of paired answers where there are labels. Other metrics are bootstrapped over the images.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from reconv.bounds import LEVEL, Floats, fewest_images, upper_difference, upper_quantile, upper_share
from reconv.errors import ConfigError
from reconv.inputs import batch_size, call, on_device
from reconv.modes import evaluating
from reconv.quality import Quality
from reconv.training import Metric
from reconv.training.divergence import answers, named_tensors, same_predictions
from reconv.training.evaluation import scores_of
from reconv.training.predictions import predict

_REPLICATES = 2000
_FEWEST_RESAMPLED = 100  # images: with fewer a bootstrap's quantile is too low too often
PREDICTIONS = "identical predictions"


@dataclass(frozen=True, eq=False)
class Drop:
    """What a network loses against the original on the same images.

    Args:
        value: as a fraction, of which a hundredth is a point: of top-1, of a metric, of identical predictions.
        images: that both were tried on.
        lost, gained: images that only the original gets right, and those that only the network does; None where images
            are not right or wrong.
        replicates: of the bootstrap, where they are not. compares: predictions with the original's.
    """

    value: float
    images: int
    lost: int | None = None
    gained: int | None = None
    replicates: Floats | None = None
    compares: bool = False

    def bound(self, level: float = LEVEL) -> float:
        """What is lost at most, with this confidence, one-sided."""
        if self.replicates is not None:
            return upper_quantile(self.replicates, level)
        assert self.lost is not None  # counted
        assert self.gained is not None
        return _counted_bound(self.lost, self.gained, self.images, level, self.compares)

    def interval(self, level: float) -> tuple[float, float]:
        """Bounds from below and from above, each with this confidence."""
        if self.replicates is not None:
            return upper_quantile(self.replicates, 1 - level), self.bound(level)
        assert self.lost is not None  # counted
        assert self.gained is not None
        if self.compares:
            return 1 - upper_share(self.images - self.lost, self.images, level), self.bound(level)
        return -upper_difference(self.gained, self.lost, self.images, level), self.bound(level)

    @property
    def method(self) -> str:
        """How the bound is found, in words."""
        if self.replicates is not None:
            return f"bootstrap of {len(self.replicates):,} replicates"
        return "Clopper-Pearson" if self.compares else "exact paired bound"


def _counted_bound(lost: int, gained: int, images: int, level: float, compares: bool) -> float:
    return upper_share(lost, images, level) if compares else upper_difference(lost, gained, images, level)


class Judge:
    """Says what networks lose against the original.

    Args:
        base: the original. quality: what networks are measured by; its validation images are those that are used.
        seed: of a bootstrap.
    """

    def __init__(self, base: nn.Module, quality: Quality, seed: int = 0):
        self.base, self.quality, self.seed = base, quality, seed

    @property
    def name(self) -> str:
        """Of what is lost: "top-1", "identical predictions", or the metric's."""
        return PREDICTIONS if self.quality.compares else self.quality.name

    @property
    def images(self) -> int:
        """How many there are."""
        return 0 if self.quality.data is None else len(self.quality.data.validation)

    def fewest_images(self, limit: float, level: float = LEVEL) -> int:
        """How many images it takes to bound a loss by a limit, where nothing is lost on any of them."""
        if not self.quality.is_share:
            return _FEWEST_RESAMPLED
        return fewest_images(limit, lambda n: _counted_bound(0, 0, n, level, self.quality.compares))

    def least_bound(self, level: float = LEVEL) -> float | None:
        """The bound of a loss of nothing on all images; None where that has none, or there are no images."""
        if not self.quality.is_share or not self.images:
            return None
        return _counted_bound(0, 0, self.images, level, self.quality.compares)

    def of(self, model: nn.Module) -> Drop:
        """What a network loses.

        Raises:
            ConfigError: its outputs cannot be compared image by image.
        """
        if self.quality.is_share:
            after = self._correct(model)
            before = torch.ones_like(after) if self.quality.compares else self._base_correct
            lost, gained = int((before & ~after).sum()), int((after & ~before).sum())
            n = len(before)
            return Drop((lost - gained) / n, n, lost, gained, compares=self.quality.compares)
        if self.quality.metric is not None and self.quality.metric.whole:
            return self._resampled_whole(model, self.quality.metric)
        losses = self._losses(model)
        n = len(losses)
        counts = np.random.default_rng(self.seed).multinomial(n, np.full(n, 1 / n), size=_REPLICATES)
        return Drop(float(losses.mean()), n, replicates=counts @ losses / n, compares=self.quality.compares)

    @cached_property
    def base_value(self) -> float:
        """The original's own: of identical predictions 1."""
        if self.quality.compares:
            return 1.0
        value = self.quality.of(self.base)
        assert value is not None  # callers have images
        return value

    def value_after(self, drop: float) -> float:
        """The value of a network that loses so much."""
        return self.base_value - drop if self.higher_is_better else self.base_value + drop

    @property
    def higher_is_better(self) -> bool:
        """Of what is measured."""
        return self.quality.metric is None or self.quality.metric.higher_is_better

    @cached_property
    def _base_correct(self) -> Tensor:
        return self._correct(self.base)

    def _correct(self, model: nn.Module) -> Tensor:
        assert self.quality.data is not None  # callers have images
        return predict(model, self.quality.data, "validation").correct

    def _losses(self, model: nn.Module) -> Floats:
        """What each image loses."""
        metric = self.quality.metric
        if metric is None:
            return 1 - self._identical(model)
        before, after = self._base_values, self._values(model, metric)
        return before - after if metric.higher_is_better else after - before

    @cached_property
    def _base_values(self) -> Floats:
        assert self.quality.metric is not None
        return self._values(self.base, self.quality.metric)

    def _values(self, model: nn.Module, metric: Metric) -> Floats:
        """The metric of every image."""
        values = []
        for outputs, targets, inputs in answers(model, self._data, "validation"):
            n = batch_size(inputs)
            outputs = scores_of(outputs, targets)
            values += [float(metric.function(*(_image(part, i, n) for part in (outputs, targets)))) for i in range(n)]
        return np.array(values, dtype=np.float64)

    def _identical(self, model: nn.Module) -> Floats:
        """The share of each image's predictions that are the original's."""
        shares = []
        for outputs, _, inputs in answers(self.base, self._data, "validation"):
            n = batch_size(inputs)
            with evaluating(model), torch.inference_mode():
                others = dict(named_tensors(call(model, inputs)))
            same, number = torch.zeros(n, dtype=torch.float64), torch.zeros(n, dtype=torch.float64)
            for name, value in named_tensors(outputs):
                other = others.get(name)
                if value.ndim == 0 or len(value) != n:
                    continue
                alike = (
                    torch.zeros(n, 1) if other is None or other.shape != value.shape else same_predictions(value, other)
                )
                alike = alike.reshape(n, -1).double().cpu()
                same, number = same + alike.sum(1), number + alike.shape[1]
            if not bool(number.all()):
                raise ConfigError(f"{type(self.base).__name__}: gives no tensor with an entry per image; give metric=")
            shares.append(same / number)
        return np.asarray(torch.cat(shares).numpy(), dtype=np.float64)

    def _resampled_whole(self, model: nn.Module, metric: Metric) -> Drop:
        """Of a metric of all images together."""
        sign = 1.0 if metric.higher_is_better else -1.0
        (before, targets), (after, _) = self._base_outputs, self._outputs(model)

        def lost(index: Tensor) -> float:
            a, b, of = (tree_map(lambda t: t[index], part) for part in (before, after, targets))
            return sign * (float(metric.function(a, of)) - float(metric.function(b, of)))

        n = self.images
        rng = np.random.default_rng(self.seed)
        draws = [lost(torch.from_numpy(rng.integers(0, n, n))) for _ in range(_REPLICATES)]
        return Drop(lost(torch.arange(n)), n, replicates=np.array(draws))

    @cached_property
    def _base_outputs(self) -> tuple[Any, Any]:
        return self._outputs(self.base)

    def _outputs(self, model: nn.Module) -> tuple[Any, Any]:
        """Outputs and targets of all images, on the CPU."""
        cpu = torch.device("cpu")
        parts = [on_device((scores_of(o, t), t), cpu) for o, t, _ in answers(model, self._data, "validation")]
        joined: Callable[..., Any] = lambda *tensors: torch.cat(tensors)  # noqa: E731
        outputs, targets = (tree_map(joined, *own) for own in zip(*parts))
        return outputs, targets

    @property
    def _data(self) -> Any:
        assert self.quality.data is not None  # callers have images
        return self.quality.data


def _image(part: Any, i: int, n: int) -> Any:
    """One image of a batch, as a batch."""
    return tree_map(lambda t: t[i : i + 1] if isinstance(t, Tensor) and t.ndim and len(t) == n else t, part)

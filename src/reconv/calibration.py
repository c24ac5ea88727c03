"""Calibration images: those that criteria, the scheme "allocated" and repair look at; no label is read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from reconv.cache import Cache
from reconv.data import DataSet, calibration_images, evaluation_batches
from reconv.data.splits import sample
from reconv.data.unlabelled import unlabelled_images
from reconv.errors import ConfigError
from reconv.graph import ChannelGraph
from reconv.inputs import batch_size, first_images, part_of, tensors_of
from reconv.provenance import Normalization, provenance_of
from reconv.refit import dead_leaves

LEAVES = "leaves"
_BATCH = 32  # images per gradient
_FEWEST_TRIED, _MOST_TRIED = 20, 100  # images that groups of channels are tried on
_SMALL_SIDE = 64  # pixels


@dataclass(frozen=True, eq=False)
class Calibration:
    """Where a network's calibration images come from.

    Args:
        size: of the network's input, without the batch.
        normalization: that the network expects; None: it is not known.
        data: whose training images serve where no source is named.
        source: a folder, a data set by name, or "leaves" for generated ones; None: `data`.
        root: the folder that holds data sets.
        seed: which images are drawn.
        number: how many, where a step does not say.
        cache: keeps them; None: they are drawn each time.
    """

    size: tuple[int, ...]
    normalization: Normalization | None
    data: DataSet | None
    source: str | None = None
    root: str | None = None
    seed: int = 0
    number: int = 1000
    cache: Cache | None = None

    def images(self, number: int | None = None) -> Any:
        """Images, float32 `[n, C, H, W]`, normalized as the network expects; of several inputs their structure.

        Args:
            number: how many; None: as many as everything looks at.

        Raises:
            ConfigError: no source, or it is not known how to normalize them. DataError: images that cannot be used.
        """
        number = number or self.number
        if self.cache is None:
            return self._drawn(number)
        return self.cache.get("images", (self.source, self.seed, number), lambda: self._drawn(number))

    def _drawn(self, number: int) -> Any:
        if self.source is None:
            if self.data is None:
                raise ConfigError("calibration: no images to look at; give data, or the calibration images' folder")
            return calibration_images(self.data, number, self.seed, normalization=self.normalization)
        if len(self.size) != 3:
            raise ConfigError(f"calibration: the network takes {self.size}, not images; leave calibration out")
        channels, height, width = self.size
        normalization = self.normalization or _refuse(channels)
        if self.source == LEAVES:
            return dead_leaves(number, (height, width), normalization=normalization, seed=self.seed)
        size = channels, height, width
        return unlabelled_images(self.source, number, size, normalization=normalization, root=self.root, seed=self.seed)

    def batches(self, device: torch.device) -> Iterator[tuple[Tensor, Any]]:
        """As many training images with their labels, on a device, as a gradient is taken of.

        Raises:
            ConfigError: there are none with labels.
        """
        if self.data is None or not self.data.labelled:
            raise ConfigError("calibration: gradients need images with labels; give such data, or another criterion")
        split = sample(self.data.train, self.number, self.seed)
        return evaluation_batches(split, self.normalization, _BATCH, device)

    @property
    def key(self) -> tuple[str | None, int, int]:
        """What tells its images from others for the same network and data."""
        return self.source, self.seed, self.number

    def __str__(self) -> str:
        return "training images" if self.source is None else f"images ({self.source})"


def calibration_for(
    graph: ChannelGraph,
    data: DataSet | None,
    source: str | None,
    number: int,
    seed: int,
    root: str | None = None,
    cache: Cache | None = None,
) -> Calibration:
    """The calibration images of a network, normalized as it, or the data set where it does not say, has them."""
    normalization = provenance_of(graph.model).normalization or (None if data is None else data.normalization)
    return Calibration(tuple(graph.example[0][1:]), normalization, data, source, root, seed, number, cache)


def split_for_curves(images: Any) -> tuple[Any, Any]:
    """Images that error curves are made from, and those that groups are tried on, in the order of their draw.

    Groups are tried where that was measured to pay (docs/repair.md): on images larger than 64 x 64.

    Returns:
        Four fifths, and at most a hundred of the others; all of them and None where no group is tried.
    """
    number = batch_size(images)
    held = number // 5
    sides = [side for tensor in tensors_of(images) for side in tensor.shape[-2:] if tensor.dim() >= 3]
    if held < _FEWEST_TRIED or max(sides, default=0) <= _SMALL_SIDE:
        return images, None
    return first_images(images, number - held), part_of(images, slice(number - held, number - held + _MOST_TRIED))


def _refuse(channels: int) -> Normalization:
    raise ConfigError(
        f"calibration: how images of {channels} channels are normalized for this network is not known; "
        "save the network with its normalization, or give the data set that it was trained on"
    )

"""Batches, normalized and on the device, whose order depends only on the seed and the epoch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from reconv.data.augmentation import NONE, WHOLE, Augmentation, Share, augment, erase, normalize
from reconv.data.folder import FolderSplit
from reconv.data.own import DatasetSplit, as_data_set
from reconv.data.randomness import derive_seed, generator
from reconv.data.splits import CPU, Reading, Split, sample
from reconv.errors import DataError
from reconv.inputs import joined
from reconv.provenance import Normalization


@dataclass(frozen=True, eq=False)
class TrainingBatches:
    """Shuffled, augmented batches of one split.

    Every batch has `batch_size` images; what is left over at an epoch's end, fewer than a batch, is left out,
    other images each time. A split that is smaller than a batch is one batch.

    Attributes:
        split, normalization, augmentation: what is read and what is done to it.
        batch_size: images per step, over all processes together.
        seed: with the epoch and the step it decides order and augmentation; nothing else does.
        device: where the batches are wanted.
        share: which part of each batch is wanted.
    """

    split: Split
    normalization: Normalization | None
    batch_size: int
    augmentation: Augmentation = NONE
    seed: int = 0
    device: torch.device = CPU
    share: Share = WHOLE

    def __post_init__(self) -> None:
        """Refuse what cannot be divided into batches."""
        if len(self.split) == 0:
            raise DataError("training split: no images; hold out fewer for validation.")
        if self.images_per_step % self.share.world:
            raise DataError(
                f"batch size: {self.images_per_step} images cannot be shared by {self.share.world} "
                f"processes; give a multiple of {self.share.world}."
            )

    @property
    def images_per_step(self) -> int:
        """Images in each batch, over all processes."""
        return min(self.batch_size, len(self.split))

    @property
    def steps(self) -> int:
        """Batches in an epoch."""
        return len(self.split) // self.images_per_step

    def epoch(self, epoch: int, start: int = 0) -> Iterator[tuple[Any, Any]]:
        """This process's share of the batches of one epoch.

        Args:
            epoch: counted from 0.
            start: the first step wanted; what follows is the same whatever it is.

        Yields:
            Images float32 `[b, C, H, W]`, normalized and augmented where they do not come prepared, and labels int64
            `[b]` (or other targets), on the device.
        """
        order = torch.randperm(len(self.split), generator=generator(self.seed, "order", epoch))
        wholes = order[: self.steps * self.images_per_step].view(self.steps, -1)[start:]
        batches = list(wholes.chunk(self.share.world, dim=1)[self.share.rank])
        random = self.augmentation.resized_crop or isinstance(self.split, DatasetSplit)
        seed = derive_seed(self.seed, "crop", epoch) if random else None
        reading = Reading(self.device, seed, worker_count(self.split), blank_faults=True)
        for step, (images, labels) in enumerate(self.split.stream(batches, reading), start):
            yield self._finish(images, (epoch, step)), labels

    def _finish(self, images: Any, position: tuple[int, int]) -> Any:
        if not isinstance(images, Tensor) or images.is_floating_point():
            return images
        seed = derive_seed(self.seed, "augment", *position)
        result = normalize(augment(images, self.augmentation, seed, self.share), self.normalization)
        chance = self.augmentation.erasing
        return erase(result, chance, seed, self.share) if chance else result


def evaluation_batches(
    split: Split,
    normalization: Normalization | None,
    batch_size: int,
    device: torch.device,
    share: Share = WHOLE,
) -> Iterator[tuple[Any, Any]]:
    """Every image once, in order, not augmented; process `rank` gets every `world`-th batch.

    Yields:
        Images float32 `[b, C, H, W]`, normalized, and labels int64 `[b]`, on `device`; the last batch may be
        smaller.
    """
    if len(split) == 0:
        return
    batches = torch.arange(len(split)).split(batch_size)[share.rank :: share.world]
    for images, labels in split.stream(batches, Reading(device, workers=worker_count(split))):
        yield normalize(images, normalization), labels


def worker_count(split: Split) -> int:
    """Processes that read ahead, four batches each: none for images in memory or a few files, else one per core, at
    most 16; where a launcher started several trainings on this machine they share the cores.

    One core decodes and crops some hundred photographs per second, so a fast accelerator waits all the same where there
    are few cores; images per second of the progress line show it.
    """
    if not isinstance(split, FolderSplit) or len(split) < 1000:
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(16, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))


def calibration_images(data: Any, n: int, seed: int = 0, *, normalization: Normalization | None = None) -> Any:
    """Training images without their labels, as statistics are estimated from.

    Args:
        data: a data set, or what `as_data_set` makes one of.
        n: how many; all training images if there are fewer.
        seed: which ones.
        normalization: what the model expects, as `training.normalization_for` says; None: the data set's.

    Returns:
        float32 `[n, C, H, W]`, normalized, not augmented, on the CPU; of a network of several inputs, their structure.

    Raises:
        DataError: inputs of different shapes.
    """
    data = as_data_set(data, only="train", seed=seed)
    chosen = sample(data.train if data.calibration is None else data.calibration, n, seed)
    parts = torch.arange(len(chosen)).split(256)
    images = joined([part for part, _ in chosen.stream(parts, Reading(workers=worker_count(chosen)))])
    return normalize(images, normalization or data.normalization)

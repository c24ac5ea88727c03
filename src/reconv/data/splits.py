"""One part of a data set: images, their labels, and how to hold some of them out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from reconv.data.randomness import generator
from reconv.errors import DataError

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Reading:
    """How a split's images are read.

    Attributes:
        device: where they are wanted.
        seed: of random reading, such as random crops of images on disk; None cuts the center.
        workers: processes that read ahead, for images on disk.
        blank_faults: an image that cannot be read is named in a warning and comes as zeros, instead of ending a
            training that has run for hours.
    """

    device: torch.device = CPU
    seed: int | None = None
    workers: int = 0
    blank_faults: bool = False


PLAIN = Reading()


class Split(Protocol):
    """Images and their labels that can be read in any order, in memory or on disk."""

    @property
    def labels(self) -> Tensor:
        """int64 `[n]`, on the CPU; -1 where there is none. Of other tasks than classification: the targets."""

    def __len__(self) -> int:
        """The number of images."""

    def subset(self, indices: Tensor) -> Split:
        """The images at these indices, in this order."""

    def stream(self, batches: Sequence[Tensor], reading: Reading = PLAIN) -> Iterator[tuple[Tensor, Any]]:
        """The images at each batch of indices, int64 `[b]` on the CPU, and their labels, on the device: uint8
        `[b, C, H, W]`, or float where they come prepared for the network.
        """


@dataclass(frozen=True, eq=False)
class TensorSplit:
    """Images that fit in memory.

    Attributes:
        images: uint8 `[n, C, H, W]`; or float, prepared for the network.
        labels: int64 `[n]`.
    """

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def subset(self, indices: Tensor) -> TensorSplit:
        return TensorSplit(self.images[indices], self.labels[indices])

    def stream(self, batches: Sequence[Tensor], reading: Reading = PLAIN) -> Iterator[tuple[Tensor, Tensor]]:
        """The images at each batch of indices; the whole split is moved to the device once (see `Split`)."""
        device = reading.device
        images = self.images.to(device)
        for indices in batches:
            yield images[indices.to(device)], self.labels[indices].to(device)


def hold_out(labels: Tensor, amount: float, seed: int) -> tuple[Tensor, Tensor]:
    """Divide indices into kept and held out, so that each class has its share in both.

    Every class gives the floor of its share; the rest goes to the classes with the largest remainders.
    The order within each part is that of `labels`, so files are read in order.

    Args:
        labels: int64 `[n]`.
        amount: how many to hold out: a fraction if below 1, otherwise a number of images.
        seed: which images.

    Returns:
        Indices kept and indices held out, int64.

    Raises:
        DataError: nothing would be left to keep.
    """
    wanted = round(amount * len(labels)) if amount < 1 else int(amount)
    if not 0 <= wanted < max(len(labels), 1):
        raise DataError(
            f"validation split: {amount:g} of {len(labels)} training images cannot be held out; "
            f"give a fraction in [0, 1) or a number below {len(labels)}."
        )
    counts = torch.bincount(labels).double()
    shares = counts * (wanted / max(len(labels), 1))
    quota = shares.floor().long()
    largest_remainders = torch.argsort(shares - quota, descending=True, stable=True)
    quota[largest_remainders[: wanted - int(quota.sum())]] += 1
    held = torch.zeros(len(labels), dtype=torch.bool)
    for label, number in enumerate(quota.tolist()):
        members = torch.nonzero(labels == label).flatten()
        order = torch.randperm(len(members), generator=generator(seed, "hold out", label))
        held[members[order[:number]]] = True
    return torch.nonzero(~held).flatten(), torch.nonzero(held).flatten()


def sample(split: Split, number: int, seed: int) -> Split:
    """A random choice of `number` images without repetition; all of them if there are no more."""
    order = torch.randperm(len(split), generator=generator(seed, "sample"))
    return split.subset(order[:number])

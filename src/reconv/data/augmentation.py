"""Augmentation: random changes to a batch of images that leave what they show.

All work on whole batches of uint8 tensors, on the device they are on. What is random is drawn on the CPU from
a generator that the caller seeds, so a batch is augmented alike on every device.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from reconv.data.randomness import seeded
from reconv.optional import optional
from reconv.provenance import Normalization


@dataclass(frozen=True)
class Augmentation:
    """What is done to training images.

    Attributes:
        padding: pixels of zeros around the image, out of which a window of the old size is cut at random.
        flip: mirror every second image, on average, left to right.
        resized_crop: images from disk are cut out and scaled at random, instead of at the center.
        trivial: one random operation of random strength for each image (TrivialAugment).
        erasing: the chance that a random rectangle of an image is set to zero, the mean.
    """

    padding: int = 0
    flip: bool = False
    resized_crop: bool = False
    trivial: bool = False
    erasing: float = 0.0


NONE = Augmentation()


@dataclass(frozen=True)
class Share:
    """Which part of every batch is this process's: part `rank` of `world`, of equal length."""

    rank: int = 0
    world: int = 1

    def part(self, values: Tensor) -> Tensor:
        """This process's part of values, one per image."""
        return values.chunk(self.world)[self.rank]


WHOLE = Share()


def normalize(images: Any, normalization: Normalization | None) -> Any:
    """Scale uint8 images to [0, 1], subtract the mean and divide by the standard deviation of each channel.

    Args:
        images: uint8 `[n, C, H, W]`; or of a floating type, or other inputs, which come prepared and stay as they are.
        normalization: mean and standard deviation, C each; None where images come prepared.

    Returns:
        float32 `[n, C, H, W]`, on the same device.
    """
    if normalization is None or not isinstance(images, Tensor) or images.is_floating_point():
        return images
    mean = torch.tensor(normalization.mean, device=images.device).view(-1, 1, 1)
    std = torch.tensor(normalization.std, device=images.device).view(-1, 1, 1)
    return (images.float() - 255 * mean).div_(255 * std)


def augment(images: Tensor, what: Augmentation, seed: int, share: Share = WHOLE) -> Tensor:
    """Augment uint8 images, in the order TrivialAugment, crop, flip.

    Args:
        images: uint8 `[n, C, H, W]`, this process's part of a batch.
        what: which changes.
        seed: decides them for the whole batch, so the parts together are augmented as the whole would be.
        share: which part this is.

    Returns:
        uint8 `[n, C, H, W]`; the input is left as it was.
    """
    randomness = torch.Generator().manual_seed(seed)
    total = len(images) * share.world
    corners = torch.randint(0, 2 * what.padding + 1, (total, 2), generator=randomness)
    mirrored = torch.rand(total, generator=randomness) < 0.5
    if what.trivial:
        images = _trivial(images, seed, share)
    if what.padding:
        images = crop(images, what.padding, share.part(corners).to(images.device))
    if what.flip:
        images = flip(images, share.part(mirrored).to(images.device))
    return images


def crop(images: Tensor, padding: int, corners: Tensor) -> Tensor:
    """Pad by zeros and cut a window of the old size out of each image.

    Args:
        images: `[n, C, H, W]`.
        padding: pixels on each side.
        corners: int64 `[n, 2]`, the window's upper left corner in the padded image, row and column.
    """
    n, channels, height, width = images.shape
    padded = functional.pad(images, (padding,) * 4)
    rows = corners[:, :1] + torch.arange(height, device=images.device)
    columns = corners[:, 1:] + torch.arange(width, device=images.device)
    # One flat index per pixel, shared by the channels.
    window = rows[:, :, None] * padded.shape[3] + columns[:, None, :]
    window = window.view(n, 1, -1).expand(-1, channels, -1)
    return padded.flatten(2).gather(2, window).view_as(images)


def flip(images: Tensor, mirrored: Tensor) -> Tensor:
    """Mirror left to right the images, `[n, C, H, W]`, for which `mirrored`, bool `[n]`, says so."""
    return torch.where(mirrored[:, None, None, None], images.flip(3), images)


def erase(images: Tensor, chance: float, seed: int, share: Share = WHOLE) -> Tensor:
    """Set a random rectangle to zero in some of the normalized images (random erasing)."""
    return _one_by_one(transforms().RandomErasing(p=chance), images, seed, share)


def transforms() -> Any:
    """torchvision's transforms."""
    return optional("torchvision.transforms.v2", "images on disk and their augmentation")


def _trivial(images: Tensor, seed: int, share: Share) -> Tensor:
    return _one_by_one(transforms().TrivialAugmentWide(), images, seed, share)


def _one_by_one(operation: Callable[[Tensor], Tensor], images: Tensor, seed: int, share: Share) -> Tensor:
    """Apply an operation that draws from the global generator, seeded anew for each image."""
    first = share.rank * len(images)
    changed = []
    for index, image in enumerate(images, first):
        with seeded(seed, type(operation).__name__, index):
            changed.append(operation(image))
    return torch.stack(changed)

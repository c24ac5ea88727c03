"""How a network is repaired, and what images will do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from reconv.errors import ConfigError, DataError, check_kind
from reconv.inputs import batch_size


@dataclass(frozen=True)
class Settings:
    """How a network is repaired.

    Args:
        points: positions an image that each layer is solved on; more where a layer has more inputs than rows.
        ridge: relative to the mean squared input of a layer.
        gate_passes: passes for which a target beyond a ReLU's bound only asks for its side.
        joint: iterations in which two layers with only an activation between them are refined together; 0 for none.
        joint_rows: positions that these iterations look at.
        seed: of the positions.
        memory: bytes that signals may take, about; layers whose signals of all images need more are solved on fewer.
        batch: images at a time, at most.
    """

    points: int = 16
    ridge: float = 1e-4
    gate_passes: int = 3
    joint: int = 6
    joint_rows: int = 64_000
    seed: int = 0
    memory: int = 1 << 30
    batch: int = 250

    def __post_init__(self) -> None:
        for name in ("points", "joint_rows", "memory", "batch"):
            if getattr(self, name) < 1:
                raise ConfigError(f"repair: {name}={getattr(self, name)}; give 1 or more")
        if not 0 < self.ridge < 1e3:
            raise ConfigError(f"repair: ridge={self.ridge:g}; give a small positive number, such as 1e-4")
        for name in ("gate_passes", "joint"):
            if getattr(self, name) < 0:
                raise ConfigError(f"repair: {name}={getattr(self, name)}; give 0 or more")


def check_images(images: Any) -> None:
    """Raises WrongKindError or DataError unless these are at least two finite images, or other inputs."""
    tensors = [leaf for leaf in tree_leaves(images) if isinstance(leaf, Tensor)]
    if tensors and isinstance(images, list | tuple | Mapping):
        if batch_size(images) < 2 or not all(bool(torch.isfinite(t).all()) for t in tensors):
            raise DataError(f"repair: {batch_size(images)} inputs; give at least two, all of them finite numbers")
        return
    check_kind("repair: images", images, Tensor, "normalized images, a float tensor (n, C, H, W)")
    if not images.is_floating_point() or images.dim() < 2 or len(images) < 2:
        raise DataError(
            f"repair: images: {tuple(images.shape)} {images.dtype}; "
            "give at least two normalized images, float (n, C, H, W)"
        )
    if not bool(torch.isfinite(images).all()):
        raise DataError("repair: images hold NaN or infinity; give finite, normalized images")

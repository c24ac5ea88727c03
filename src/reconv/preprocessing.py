"""How images on disk become inputs of a network, as a user says it; plain values, for the command line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from reconv.errors import ConfigError

if TYPE_CHECKING:
    from reconv.provenance import Normalization, Resizing

_CROP = 224 / 256  # of what ImageNet's networks are tested with


@dataclass(frozen=True)
class Preprocessing:
    """How images on disk become inputs.

    Args:
        image_size: pixels per side of the square that is cut out of the center of images on disk; None: as the network
            takes them, else 224.
        resize: pixels of their shorter side before that; None: image_size.
        mean: of each channel, for values in [0, 1], such as 0.5,0.5,0.5; None: as the network takes them.
        std: standard deviation of each channel, likewise.
    """

    image_size: int | None = None
    resize: int | None = None
    mean: str | None = None
    std: str | None = None

    def __post_init__(self) -> None:
        if (self.mean is None) != (self.std is None):
            raise ConfigError("mean, std: one of them; give both, such as --mean 0.5,0.5,0.5 --std 0.5,0.5,0.5")
        if self.resize is not None and self.image_size is None:
            raise ConfigError(f"resize: {self.resize} without image_size; give both")
        if self.image_size is not None and not 1 <= self.image_size <= (self.resize or self.image_size):
            raise ConfigError(f"image_size: {self.image_size}, resize: {self.resize}; give pixels, resize the larger")
        for name in ("mean", "std"):
            _numbers(name, getattr(self, name))

    @property
    def normalization(self) -> Normalization | None:
        """The mean and standard deviation, where they are given."""
        from reconv.provenance import Normalization

        if self.mean is None:
            return None
        return Normalization(_numbers("mean", self.mean), _numbers("std", self.std))

    @property
    def resizing(self) -> Resizing | None:
        """The two sizes, where they are given."""
        from reconv.provenance import Resizing

        return None if self.image_size is None else Resizing(self.image_size, self.resize or self.image_size)


def _numbers(name: str, text: str | None) -> tuple[float, ...]:
    try:
        return () if text is None else tuple(float(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"{name}: {text!r}; give a number per channel, such as 0.5,0.5,0.5") from None


def usual_crop(side: int) -> int:
    """The shorter side that ImageNet's networks are tested with, for a square of a side."""
    return round(side / _CROP)

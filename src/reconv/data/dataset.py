"""A data set: what its classes are called, what its images look like, and its three splits."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from reconv.data.splits import Split
from reconv.provenance import Normalization


@dataclass(frozen=True, eq=False)
class DataSet:
    """A data set as the stages use it: `train` to learn from, `validation` for every choice, `test` once at
    the end.

    Attributes:
        name: as `load_data` knows it, or the folder's name.
        class_names: one per class, in the order of the labels; empty where they are not known, or are no classes.
        input_size: channels, height, width.
        normalization: mean and standard deviation of each channel, for images scaled to [0, 1]; None: the images come
            prepared for the network.
        train, validation, test: the splits; validation is held out of the training images and may be empty.
        labelled: False for images alone, which serve calibration only.
        assumed: nobody said that this is how the network takes images: a folder is read as ImageNet is.
    """

    name: str
    class_names: tuple[str, ...]
    input_size: tuple[int, ...]
    normalization: Normalization | None
    train: Split
    validation: Split
    test: Split
    labelled: bool = True
    assumed: bool = False

    @property
    def num_classes(self) -> int:
        """The number of classes; 0 where it is not known."""
        return len(self.class_names)

    def with_normalization(self, normalization: Normalization | None) -> DataSet:
        """The same images, normalized as a model expects; None changes nothing, and prepared images stay."""
        known = normalization is not None and self.normalization is not None
        return replace(self, normalization=normalization, assumed=False) if known else self

    def example(self, batch: int = 1) -> Tensor:
        """Zeros of a batch's shape, float32 `[batch, C, H, W]`: what tracing needs."""
        return torch.zeros(batch, *self.input_size)

    def __str__(self) -> str:
        """One line: name, classes, image size, sizes of the splits."""
        size = "x".join(str(side) for side in self.input_size)
        return (
            f"{self.name}: {f'{self.num_classes} classes, ' if self.class_names else ''}{size} images, "
            f"{len(self.train):,} training, {len(self.validation):,} validation, {len(self.test):,} test"
        )

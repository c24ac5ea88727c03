"""A data set: what its classes are called, what its images look like, and its three splits."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch

from reconv.data.splits import Split
from reconv.inputs import as_example, first_images
from reconv.provenance import Normalization, Resizing


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
        calibration: images that criteria and repair look at; None: those of `train`.
        sample: a batch of inputs, where they are no single tensor (see `reconv.inputs`).
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
    calibration: Split | None = None
    sample: Any = None

    @property
    def num_classes(self) -> int:
        """The number of classes; 0 where it is not known."""
        return len(self.class_names)

    def with_normalization(self, normalization: Normalization | None) -> DataSet:
        """The same images, normalized as a model expects; None changes nothing, and prepared images stay."""
        known = normalization is not None and self.normalization is not None
        return replace(self, normalization=normalization, assumed=False) if known else self

    def prepared(self, normalization: Normalization | None, resizing: Resizing | None, channels: int = 0) -> DataSet:
        """The same images as a network takes them; of images in memory, only the normalization can be another.

        Args:
            normalization, resizing: of the network; None changes nothing. channels: of its input; 0 changes nothing.
        """
        data = self.with_normalization(normalization)
        splits = {name: getattr(data, name) for name in ("train", "validation", "test", "calibration")}
        on_disk = {name: split for name, split in splits.items() if hasattr(split, "read_as")}
        if not on_disk or (resizing is None and channels in (0, self.input_size[0])):
            return data
        channels, side = channels or self.input_size[0], self.input_size[-1] if resizing is None else resizing.side
        read = {name: split.read_as(channels, resizing) for name, split in on_disk.items()}
        if data.normalization is not None and len(data.normalization.mean) != channels:
            gray = [[sum(values) / len(values)] * channels for values in vars(data.normalization).values()]
            data = replace(data, normalization=Normalization(tuple(gray[0]), tuple(gray[1])))
        return replace(data, input_size=(channels, side, side), **read)

    def example(self, batch: int = 1) -> Any:
        """What tracing needs: zeros of a batch's shape, float32 `[batch, C, H, W]`; of other inputs some of them."""
        if self.sample is not None:
            return as_example(first_images(self.sample, batch))
        return torch.zeros(batch, *self.input_size)

    def __str__(self) -> str:
        """One line: name, classes, image size, sizes of the splits."""
        size = "x".join(str(side) for side in self.input_size)
        return (
            f"{self.name}: {f'{self.num_classes} classes, ' if self.class_names else ''}{size} images, "
            f"{len(self.train):,} training, {len(self.validation):,} validation, {len(self.test):,} test"
        )

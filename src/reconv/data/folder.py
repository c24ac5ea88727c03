"""Images on disk, a folder per class: ImageNet as torchvision lays it out, and any tree like it.

    root/train/<class>/*.jpg        root/val/<class>/*.jpg        optionally root/test/<class>/*.jpg

What is wrong with a tree is found and named when it is opened, not when an epoch comes across it.
"""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from reconv.data.augmentation import transforms
from reconv.data.dataset import DataSet
from reconv.data.images import UNREADABLE, decode, examine, examine_ends, fault_text, quiet_decoding
from reconv.data.randomness import seeded
from reconv.data.sources import LoadOptions
from reconv.data.splits import PLAIN, Reading, hold_out
from reconv.errors import DataError
from reconv.preprocessing import usual_crop
from reconv.provenance import IMAGENET, Resizing

IMAGE_ENDINGS = frozenset((".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp"))
_TEST_FOLDERS = ("test", "val", "validation")
_VALIDATION, _LEAST_VALIDATION, _MOST_VALIDATION = 0.1, 200, 0.2  # shares, but for the number of images
IMAGENET_NAME, _IMAGENET_VALIDATION = "imagenet", 0.02
_DECODED_IF_AT_MOST = 5_000
_SIDE = 224


class DataWarning(UserWarning):
    """Something in a data set that is left out, and named."""


@dataclass(frozen=True, eq=False)
class FolderSplit:
    """Images that are read from disk when they are needed.

    Attributes:
        root: the folder that the names are relative to.
        names: one file per image; text, since reading processes share it, and a million path objects would
            weigh.
        labels: int64 `[n]`.
        side: height and width, in pixels, of the square that is cut out.
        resize: the shorter side, in pixels, that images are scaled to before.
        channels: 3 for colored images, 1 for gray ones; either is made of the other.
    """

    root: Path
    names: tuple[str, ...]
    labels: Tensor
    side: int
    resize: int
    channels: int = 3

    def __len__(self) -> int:
        return len(self.names)

    def subset(self, indices: Tensor) -> FolderSplit:
        chosen = tuple(self.names[index] for index in indices.tolist())
        return replace(self, names=chosen, labels=self.labels[indices])

    def pixels(self, name: str) -> Tensor:
        """An image, uint8 `[3, H, W]`."""
        return decode(self.root / name)

    def read_as(self, channels: int, resizing: Resizing | None) -> FolderSplit:
        """The same images, read with other sizes and as many channels."""
        if channels not in (1, 3):
            raise DataError(f"{self.root}: images on disk have 3 channels, or 1; the network takes {channels}")
        side, resize = (self.side, self.resize) if resizing is None else (resizing.side, resizing.resize)
        return replace(self, channels=channels, side=side, resize=resize)

    def stream(self, batches: Sequence[Tensor], reading: Reading = PLAIN) -> Iterator[tuple[Tensor, Tensor]]:
        """The images at each batch of indices, decoded by processes ahead of need (see `Split`).

        Raises:
            DataError: a file that cannot be decoded, by name, unless such ones are to be blank.
        """
        device = reading.device
        pinned = device.type == "cuda"
        loader: Iterable[Any] = DataLoader(
            _Decoder(self, reading.seed),
            batch_sampler=[batch.tolist() for batch in batches],
            num_workers=reading.workers,
            prefetch_factor=4 if reading.workers else None,
            pin_memory=pinned,
            collate_fn=partial(_stack, channels=self.channels, side=self.side),
            generator=torch.Generator(),  # else it draws a seed from the global one
        )
        for (images, faults), indices in zip(loader, batches):
            if faults and not reading.blank_faults:
                raise DataError(f"{faults[0]}: cannot be read; replace or remove it.")
            for fault in faults:
                warnings.warn(f"{fault}: cannot be read; it is left blank, replace it.", DataWarning, stacklevel=2)
            yield images.to(device, non_blocking=pinned), self.labels[indices].to(device)


@dataclass(frozen=True)
class _Decoder(Dataset[Any]):
    """Index -> uint8 image `[channels, side, side]`, or the text of what is wrong with it."""

    split: FolderSplit
    crop_seed: int | None

    def __getitem__(self, index: int) -> Tensor | str:
        v2, side = transforms(), self.split.side
        name = self.split.names[index]
        path = self.split.root / name
        try:
            image = self.split.pixels(name)
        except UNREADABLE as error:
            return fault_text(path, error)
        if self.split.channels == 1:
            image = v2.functional.rgb_to_grayscale(image)
        if self.crop_seed is None:
            image = v2.functional.resize(image, [self.split.resize], antialias=True)
            center: Tensor = v2.functional.center_crop(image, [side, side])
            return center
        with seeded(self.crop_seed, index):
            cropped: Tensor = v2.RandomResizedCrop(side, antialias=True)(image)
        return cropped


def _stack(items: list[Tensor | str], channels: int, side: int) -> tuple[Tensor, list[str]]:
    """Images as one tensor, zeros in the place of those that are the text of a fault, and these texts."""
    faults = [item for item in items if isinstance(item, str)]
    blank = torch.zeros(channels, side, side, dtype=torch.uint8)
    return torch.stack([blank if isinstance(item, str) else item for item in items]), faults


def load_folder(root: Path, name: str, options: LoadOptions) -> DataSet:
    """Open a tree of images.

    The test split is `test/`, or `val/` where there is no `test/`; where both are, `val/` is the validation
    split, otherwise some training images are held out for it.

    Args:
        root: the folder that holds `train/` and `val/`.
        name: the data set's name.
        options: how much is held out for validation (None: a tenth, or 200 images if that is more, but at most a fifth;
            2 % of ImageNet), and how images become inputs.

    Raises:
        DataError: a missing folder, an empty class, fewer than two classes, classes that differ between the
            folders, images that cannot be read, all by name.
    """
    train_folder = root / "train"
    test_folder = next((root / part for part in _TEST_FOLDERS if (root / part).is_dir()), None)
    if not train_folder.is_dir() or test_folder is None:
        raise DataError(
            f"{name}: {root} does not hold train/ and val/, each with a folder per class; "
            "point --data-root or RECONV_DATA to the folder that does."
        )
    sizes = sizes_of(options, name)
    side = sizes[0]
    classes = _class_folders(train_folder)
    train, test = _open(train_folder, classes, sizes), _open(test_folder, classes, sizes)
    if test_folder.name == "test" and (root / "val").is_dir() and options.validation is None:
        held_out, kept = _open(root / "val", classes, sizes), train
    else:
        share = usual_share(name, len(train)) if options.validation is None else options.validation
        keep, hold = hold_out(train.labels, share, options.seed)
        kept, held_out = train.subset(keep), train.subset(hold)
    return DataSet(
        name, classes, (3, side, side), IMAGENET, kept, held_out, test, assumed=options.normalization is None
    )


def sizes_of(options: LoadOptions, name: str) -> tuple[int, int]:
    """The side that is cut out of images, and their shorter side before.

    Raises:
        DataError: they cannot be.
    """
    side = options.image_size or _SIDE
    usual = side if options.image_size and name != IMAGENET_NAME else usual_crop(side)
    sizes = side, options.resize or usual
    if not 1 <= sizes[0] <= sizes[1]:
        raise DataError(
            f"{name}: image_size {sizes[0]}, resize {sizes[1]}; give pixels, and resize at least image_size."
        )
    return sizes


def usual_share(name: str, images: int) -> float:
    """Of the training images, how much is held out for validation."""
    if name == IMAGENET_NAME:
        return _IMAGENET_VALIDATION
    return min(max(_VALIDATION, _LEAST_VALIDATION / images), _MOST_VALIDATION)


def imagenet_folder(root: Path) -> Path:
    """The folder below `root` that holds ImageNet's `train/`.

    Raises:
        DataError: there is none.
    """
    below = next((root / name for name in ("imagenet", "ImageNet", "ILSVRC2012") if (root / name).is_dir()), root)
    if not (below / "train").is_dir():
        raise DataError(
            f"imagenet: {root} holds neither train/ nor imagenet/train/; point --data-root or RECONV_DATA "
            "to the folder with train/ and val/, one folder per class in each. "
            "ImageNet itself can be downloaded, after registration, from https://image-net.org."
        )
    return below


def _class_folders(folder: Path) -> tuple[str, ...]:
    classes = tuple(sorted(e.name for e in folder.iterdir() if e.is_dir() and not e.name.startswith(".")))
    if len(classes) < 2:
        number = f"1 class folder ({classes[0]})" if classes else "0 class folders"
        raise DataError(f"{folder}: {number}; at least two are needed, one per class.")
    return classes


def _open(folder: Path, classes: tuple[str, ...], sizes: tuple[int, int]) -> FolderSplit:
    different = sorted(set(_class_folders(folder)) ^ set(classes))
    if different:
        raise DataError(
            f"{folder}: its classes differ from train/: {_listed(different)}; both need the same class folders."
        )
    paths: list[Path] = []
    labels: list[int] = []
    stray = [entry for entry in folder.iterdir() if not entry.is_dir()]
    for label, name in enumerate(classes):
        files = sorted(path for path in (folder / name).rglob("*") if path.is_file())
        images = [path for path in files if path.suffix.lower() in IMAGE_ENDINGS]
        stray += [path for path in files if path.suffix.lower() not in IMAGE_ENDINGS]
        if not images:
            raise DataError(f"{folder / name}: no image in this class; add some, or remove the folder.")
        paths += images
        labels += [label] * len(images)
    if stray:
        warnings.warn(
            f"{folder}: {len(stray)} stray file(s) that are no images are left out: {_listed(stray)}",
            DataWarning,
            stacklevel=4,
        )
    check_images(folder, paths)
    names = tuple(path.relative_to(folder).as_posix() for path in paths)
    return FolderSplit(folder, names, torch.tensor(labels), *sizes)


def check_images(folder: Path, paths: list[Path]) -> None:
    """Decode every image once; of a very large tree only read the head and the tail of each."""
    read = examine if len(paths) <= _DECODED_IF_AT_MOST else examine_ends

    def look(path: Path) -> tuple[str, tuple[str, ...]]:
        try:
            return "", read(path)
        except UNREADABLE as error:
            return fault_text(path, error), ()

    with quiet_decoding(), ThreadPoolExecutor(max_workers=min(16, 2 * (os.cpu_count() or 1))) as pool:
        looked = list(pool.map(look, paths))
    if faults := [fault for fault, _ in looked if fault]:
        raise DataError(
            f"{folder}: {len(faults)} of {len(paths)} images cannot be read: {_listed(faults)}; replace or remove them."
        )
    unusual = Counter(what for _, kinds in looked for what in kinds)
    if unusual:
        counts = "; ".join(f"{number} {what}" for what, number in sorted(unusual.items()))
        warnings.warn(f"{folder}: of {len(paths)} images {counts}", DataWarning, stacklevel=5)


def _listed(items: Sequence[object], most: int = 5) -> str:
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(str(item) for item in items[:most]) + more

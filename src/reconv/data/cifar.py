"""CIFAR-10 and CIFAR-100, in the binary layout and in the python layout that torchvision downloads.

Source: Krizhevsky, *Learning Multiple Layers of Features from Tiny Images* (2009),
https://www.cs.toronto.edu/~kriz/cifar.html.
Normalization: the figures that SPSRC (WACV 2024) trains with.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from reconv.data.dataset import DataSet
from reconv.data.pickled import read_pickled
from reconv.data.splits import TensorSplit, hold_out
from reconv.errors import ArtifactError, DataError
from reconv.files import read_bytes, read_text
from reconv.optional import optional
from reconv.provenance import Normalization

_SHAPE = (3, 32, 32)
_PIXELS = 3 * 32 * 32
_VALIDATION = 0.1


@dataclass(frozen=True)
class Layout:
    """How one of the two data sets lies in one of the two layouts.

    Attributes:
        folder: its name below the root.
        train, test: file names.
        names: the file with the class names.
        label: binary: bytes before the pixels, of which the last is the label; python: the labels' key.
        names_key: python: the key of the class names.
    """

    folder: str
    train: tuple[str, ...]
    test: str
    names: str
    label: int | str
    names_key: str = ""


@dataclass(frozen=True)
class Cifar:
    """A data set: how many classes, its normalization, and its layouts."""

    name: str
    classes: int
    normalization: Normalization
    layouts: tuple[Layout, ...]
    torchvision_name: str


def _batches(ending: str) -> tuple[str, ...]:
    return tuple(f"data_batch_{number}{ending}" for number in range(1, 6))


CIFAR10 = Cifar(
    "cifar10",
    10,
    Normalization((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    (
        Layout("cifar-10-batches-bin", _batches(".bin"), "test_batch.bin", "batches.meta.txt", 1),
        Layout("cifar-10-batches-py", _batches(""), "test_batch", "batches.meta", "labels", "label_names"),
    ),
    "CIFAR10",
)
CIFAR100 = Cifar(
    "cifar100",
    100,
    Normalization((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
    (
        Layout("cifar-100-binary", ("train.bin",), "test.bin", "fine_label_names.txt", 2),
        Layout("cifar-100-python", ("train",), "test", "meta", "fine_labels", "fine_label_names"),
    ),
    "CIFAR100",
)


KINDS = {kind.classes: kind for kind in (CIFAR10, CIFAR100)}


def load_cifar(kind: Cifar, root: Path, validation: float | None, seed: int) -> DataSet:
    """Read one of the two data sets, its validation split held out of the training images.

    Args:
        kind: `CIFAR10` or `CIFAR100`.
        root: the folder that holds the data set's folder, or that folder itself.
        validation: how much is held out: a fraction below 1 or a number of images; None: a tenth.
        seed: which images are held out.

    Raises:
        DataError: a file is missing or is not what it should be.
    """
    folder, layout = _find(kind, root)
    read = _read_binary if isinstance(layout.label, int) else _read_python
    try:
        parts = [read(folder / name, layout, kind.classes) for name in layout.train]
        test = read(folder / layout.test, layout, kind.classes)
        names = _class_names(folder / layout.names, layout, kind.classes)
    except ArtifactError as error:
        raise DataError(f"{kind.name}: {error}") from None
    sizes = {name: len(part) for name, part in zip(layout.train, parts)}
    if len(set(sizes.values())) > 1:
        raise DataError(
            f"{kind.name}: {folder}: the training files differ in size: {sizes} images; "
            "a shorter one was cut off, download it again."
        )
    whole = TensorSplit(torch.cat([p.images for p in parts]), torch.cat([p.labels for p in parts]))
    kept, held = hold_out(whole.labels, _VALIDATION if validation is None else validation, seed)
    return DataSet(
        name=kind.name,
        class_names=names,
        input_size=_SHAPE,
        normalization=kind.normalization,
        train=whole.subset(kept),
        validation=whole.subset(held),
        test=test,
    )


def is_cifar(folder: Path) -> Cifar | None:
    """Which of the two data sets a folder itself is, if any."""
    for kind in KINDS.values():
        if any((folder / layout.test).is_file() and (folder / layout.train[0]).is_file() for layout in kind.layouts):
            return kind
    return None


def _find(kind: Cifar, root: Path) -> tuple[Path, Layout]:
    for layout in kind.layouts:
        for folder in (root / layout.folder, root):
            if (folder / layout.test).is_file() or (folder / layout.train[0]).is_file():
                return folder, layout
    wanted = " or ".join(layout.folder for layout in kind.layouts)
    raise DataError(
        f"{kind.name}: {root} does not hold {wanted}; point --data-root or RECONV_DATA to the folder "
        "that does, or load it with download=True to get it from its home page."
    )


def _read_binary(path: Path, layout: Layout, classes: int) -> TensorSplit:
    content = np.frombuffer(read_bytes(path), dtype=np.uint8)
    row = int(layout.label) + _PIXELS
    if content.size == 0 or content.size % row:
        raise ArtifactError(
            f"{path}: {content.size} bytes, which is no whole number of {row}-byte images; download it again."
        )
    rows = content.reshape(-1, row)
    return _split(path, rows[:, int(layout.label) :], rows[:, int(layout.label) - 1], classes)


def _read_python(path: Path, layout: Layout, classes: int) -> TensorSplit:
    table = read_pickled(path)
    pixels, labels = table.get("data"), table.get(str(layout.label))
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.shape[1:] != (_PIXELS,):
        raise ArtifactError(f"{path}: no uint8 array 'data' of {_PIXELS} columns in it; download it again.")
    if not isinstance(labels, list) or not all(type(label) is int for label in labels):
        raise ArtifactError(f"{path}: no list of integers {layout.label!r} in it; download it again.")
    return _split(path, pixels, np.array(labels), classes)


def _split(path: Path, pixels: np.ndarray, labels: np.ndarray, classes: int) -> TensorSplit:
    if len(pixels) != len(labels):
        raise ArtifactError(f"{path}: {len(pixels)} images, {len(labels)} labels; download it again.")
    outside = labels[(labels < 0) | (labels >= classes)]
    if len(labels) == 0 or len(outside):
        wrong = f"the label {outside[0]}" if len(outside) else "no images"
        raise ArtifactError(f"{path}: {wrong}; labels go from 0 to {classes - 1}; download it again.")
    images = torch.from_numpy(pixels.copy()).view(-1, *_SHAPE)
    return TensorSplit(images, torch.from_numpy(labels.astype(np.int64)))


def _class_names(path: Path, layout: Layout, classes: int) -> tuple[str, ...]:
    """The names in the file beside the images; numbers, where that file is missing."""
    if not path.is_file():
        return tuple(f"class {label}" for label in range(classes))
    if layout.names_key:
        names = tuple(map(str, read_pickled(path).get(layout.names_key, [])))
    else:
        names = tuple(filter(None, map(str.strip, read_text(path).splitlines())))
    if len(names) != classes:
        raise ArtifactError(f"{path}: {len(names)} class names; expected {classes}; download it again.")
    return names


def download_if_missing(kind: Cifar, root: Path) -> None:
    """Fetch the python layout from its home page into `root`, its MD5 checked before it is unpacked.

    Raises:
        DataError: no network, a wrong checksum, or no folder to write to.
    """
    if any((root / layout.folder / layout.test).is_file() or (root / layout.test).is_file() for layout in kind.layouts):
        return
    source = getattr(optional("torchvision.datasets", f"download of {kind.name}"), kind.torchvision_name)
    utilities = optional("torchvision.datasets.utils", f"download of {kind.name}")
    try:
        root.mkdir(parents=True, exist_ok=True)
        utilities.download_and_extract_archive(source.url, str(root), filename=source.filename, md5=source.tgz_md5)
    except (OSError, RuntimeError) as error:
        with contextlib.suppress(OSError):
            root.rmdir()  # goes if it is empty
        raise DataError(
            f"{kind.name}: it is not in {root} and cannot be downloaded from {source.url}: {error}; get "
            f"{source.filename} by other means and unpack it there, or point --data-root or RECONV_DATA to it."
        ) from None

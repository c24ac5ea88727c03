"""Images inside of other files: WebDataset's shards, and folders of Hugging Face's `datasets`."""

from __future__ import annotations

import io
import tarfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from reconv.data.augmentation import transforms
from reconv.data.dataset import DataSet
from reconv.data.folder import IMAGE_ENDINGS, DataWarning, FolderSplit, sizes_of
from reconv.data.image_files import NO_LABEL, SPLIT_NAMES, in_splits
from reconv.data.images import decode
from reconv.data.sources import LoadOptions
from reconv.errors import DataError, first_line
from reconv.optional import optional


@dataclass(frozen=True, eq=False)
class PackedSplit(FolderSplit):
    """Images as a reader gives them; their names are the indices that it takes.

    Attributes:
        reader: gives an image by its index: the content of an image file, or a picture of PIL.
    """

    reader: Callable[[int], Any] | None = None

    def pixels(self, name: str) -> Tensor:
        """An image, uint8 `[3, H, W]`."""
        assert self.reader is not None
        item = self.reader(int(name))
        if isinstance(item, bytes):
            return decode(io.BytesIO(item))  # type: ignore[arg-type]  # PIL takes both
        pixels: Tensor = transforms().functional.pil_to_tensor(item.convert("RGB"))
        return pixels


def _packed(reader: Callable[[int], Any], labels: Tensor, options: LoadOptions) -> PackedSplit:
    names = tuple(map(str, range(len(labels))))
    return PackedSplit(options.path, names, labels, *sizes_of(options, ""), reader=reader)


# --- WebDataset shards ------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class ShardReader:
    """Reads one image of some tar files.

    Attributes:
        files: the tar files. members: of each image: which file, where its bytes begin, how many they are.
    """

    files: tuple[Path, ...]
    members: tuple[tuple[int, int, int], ...]

    def __call__(self, index: int) -> bytes:
        file, start, size = self.members[index]
        with self.files[file].open("rb") as stream:
            stream.seek(start)
            return stream.read(size)


def is_shards(path: Path) -> bool:
    """Whether this is a tar file, or a folder of tar files."""
    return path.suffix == ".tar" if path.is_file() else path.is_dir() and any(path.glob("*.tar"))


def load_shards(options: LoadOptions) -> DataSet:
    """WebDataset shards: tar files of images and, by the same name, `.cls` files of labels (whole numbers).

    Shards whose name begins with val or test are these splits; where there are none, images are held out.
    """
    files = (options.path,) if options.path.is_file() else tuple(sorted(options.path.glob("*.tar")))
    members: list[tuple[int, int, int]] = []
    labels: list[int] = []
    parts: list[str] = []
    for number, file in enumerate(files):
        part = "validation" if file.stem.startswith("val") else "test" if file.stem.startswith("test") else "train"
        for start, size, label in _samples(file):
            members.append((number, start, size))
            labels.append(label)
            parts.append(part)
    if len(members) < 2:
        raise DataError(f"{options.path}: {len(members)} images in {len(files)} tar files; give shards with images")
    labelled = NO_LABEL not in labels
    classes = tuple(map(str, range(max(labels) + 1))) if labelled else ()
    reader = ShardReader(files, tuple(members))
    whole = _packed(reader, torch.tensor(labels), options)
    return in_splits(options, whole, classes, parts, labelled=labelled)


def _samples(file: Path) -> Iterator[tuple[int, int, int]]:
    """Of each image in a tar file: where its bytes begin, how many they are, and its label, -1 for none."""
    images: dict[str, tuple[int, int]] = {}
    labels: dict[str, int] = {}
    try:
        with tarfile.open(file, "r:") as tar:
            for member in tar:
                key, dot, ending = member.name.rpartition("/")[2].partition(".")
                key = member.name[: len(member.name) - len(dot + ending)]
                if not member.isfile():
                    continue
                if f".{ending.lower()}" in IMAGE_ENDINGS:
                    images[key] = member.offset_data, member.size
                elif ending == "cls":
                    stream = tar.extractfile(member)
                    labels[key] = int(stream.read(32)) if stream is not None else NO_LABEL
    except (OSError, tarfile.TarError, ValueError) as error:
        raise DataError(f"{file}: no shard of WebDataset ({error}); give uncompressed tar files") from None
    for key, (start, size) in images.items():
        yield start, size, labels.get(key, NO_LABEL)


# --- Hugging Face's datasets --------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class RowReader:
    """Reads the picture of one row of a dataset of `datasets`."""

    dataset: Any
    column: str

    def __call__(self, index: int) -> Any:
        return self.dataset[index][self.column]


def is_hf_folder(path: Path) -> bool:
    """Whether `save_to_disk` of `datasets` wrote this folder."""
    return (path / "dataset_dict.json").is_file() or (path / "dataset_info.json").is_file()


def load_hf(options: LoadOptions) -> DataSet:
    """A folder that `save_to_disk` wrote, or a data set in the cache of `datasets`: its first column of pictures, and
    its first of class labels."""
    library = optional("datasets", "data sets of Hugging Face", package="datasets")
    try:
        found = (
            library.load_from_disk(str(options.path))
            if options.path.is_dir()
            else library.load_dataset(str(options.path), download_mode="reuse_dataset_if_exists")
        )
    except Exception as error:  # of many kinds
        raise DataError(
            f"{options.path}: no data set of Hugging Face ({first_line(error)[:120]}); give its folder"
        ) from error
    tables = dict(found) if isinstance(found, dict) else {"train": found}
    first = next(iter(tables.values()))
    kinds = {name: type(feature).__name__ for name, feature in first.features.items()}
    image = next((name for name, kind in kinds.items() if kind == "Image"), None)
    label = next((name for name, kind in kinds.items() if kind == "ClassLabel"), None)
    if image is None:
        raise DataError(f"{options.path}: columns {', '.join(kinds)}; none of them has images")
    pieces = [(SPLIT_NAMES.get(name.lower(), "test"), table) for name, table in tables.items()]
    whole = library.concatenate_datasets([table for _, table in pieces])
    parts = [part for part, table in pieces for _ in range(len(table))]
    labels = torch.tensor(whole[label][:]) if label else torch.full((len(whole),), NO_LABEL)
    classes = tuple(first.features[label].names) if label else ()
    split = _packed(RowReader(whole, image), labels, options)
    if label is None:
        warnings.warn(f"{options.path}: no column of class labels; images alone are read", DataWarning, stacklevel=4)
    return in_splits(options, split, classes, parts, labelled=label is not None)

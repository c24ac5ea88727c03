"""By which a reader knows that the images are the same: a hash of what they are made of."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from reconv.data import DataSet
from reconv.data.folder import FolderSplit
from reconv.data.own import DatasetSplit
from reconv.data.splits import Split, TensorSplit
from reconv.files import tensors_fingerprint

_ITEMS = 256  # of a torch Dataset's split at most, evenly spaced
_READ = 10_000  # files of a split at most, evenly spaced; of a larger one, names and sizes tell of the rest


def images_fingerprint(data: DataSet) -> tuple[str, str]:
    """What is hashed of a data set's three splits, and its SHA-256: labels and images, which may be files."""
    hashed: dict[str, Tensor] = {}
    for name in ("train", "validation", "test"):
        split: Split = getattr(data, name)
        if isinstance(split, DatasetSplit):
            hashed |= _items(name, split)
            continue
        hashed[f"{name} labels"] = split.labels
        if isinstance(split, TensorSplit):
            hashed[f"{name} images"] = split.images
        elif isinstance(split, FolderSplit):
            hashed[f"{name} files"] = _files(split)
    return "files and labels" if "train files" in hashed else "images and labels", tensors_fingerprint(hashed)


def _items(name: str, split: DatasetSplit) -> dict[str, Tensor]:
    """Which items of a dataset a split holds, and some of them, as their owner prepares them for one seed."""
    some = torch.arange(0, len(split), -(-max(len(split), 1) // _ITEMS)).split(64)
    inputs = [images for images, _ in split.stream(some)]
    return {f"{name} indices": split.indices, f"{name} items": torch.cat(inputs) if inputs else torch.empty(0)}


def _files(split: FolderSplit) -> Tensor:
    """A hash, uint8 `[32]`, of the files' names in their folder, sizes and contents."""
    digest = hashlib.sha256()
    step = -(-len(split) // _READ)
    for number, name in enumerate(split.names):
        path = split.root / name
        content = hashlib.sha256(path.read_bytes() if number % step == 0 else b"").hexdigest()
        digest.update(f"{name} {path.stat().st_size} {content}\n".encode())
    return torch.frombuffer(bytearray(digest.digest()), dtype=torch.uint8)

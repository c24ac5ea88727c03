"""By which a reader knows that the images are the same: a hash of what they are made of."""

from __future__ import annotations

from reconv.data import DataSet
from reconv.data.splits import TensorSplit
from reconv.files import tensors_fingerprint


def images_fingerprint(data: DataSet) -> tuple[str, str]:
    """What is hashed of a data set's three splits, and its SHA-256: labels, and images too where they lie in memory."""
    splits = {name: getattr(data, name) for name in ("train", "validation", "test")}
    labels = {f"{name} labels": split.labels for name, split in splits.items()}
    images = {f"{name} images": split.images for name, split in splits.items() if isinstance(split, TensorSplit)}
    what = "images and labels" if len(images) == len(splits) else "labels of the images"
    return what, tensors_fingerprint(labels | images)

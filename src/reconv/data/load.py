"""From a name or a path to a data set."""

from __future__ import annotations

import os
from pathlib import Path

from reconv.data import cifar, digits, folder
from reconv.data.dataset import DataSet
from reconv.errors import DataError, unknown_name

ROOT_VARIABLE = "RECONV_DATA"
_CIFARS = {kind.name: kind for kind in (cifar.CIFAR10, cifar.CIFAR100)}
_IMAGENET = "imagenet"
_DIGITS = "digits"


def data_set_names() -> tuple[str, ...]:
    """The names that `load_data` knows, besides paths of folders."""
    return (_DIGITS, *_CIFARS, _IMAGENET)


def data_root(root: str | os.PathLike[str] | None = None) -> Path:
    """Where data sets lie: `root`, else the environment's `RECONV_DATA`, else `~/.cache/reconv`."""
    chosen = root or os.environ.get(ROOT_VARIABLE) or Path.home() / ".cache" / "reconv"
    return Path(chosen).expanduser()


def load_data(
    name: str,
    root: str | os.PathLike[str] | None = None,
    *,
    validation: float | None = None,
    seed: int = 0,
    download: bool = False,
    image_size: int = 224,
) -> DataSet:
    """Load a data set with a training, a validation and a test split.

    The validation split is held out of the training images, the same share of every class; the test images
    are the data set's own. Loading twice with the same arguments gives the same images in the same order.

    Args:
        name: "digits", "cifar10", "cifar100" or "imagenet", in any case and with or without a hyphen; or the path
            of a folder: one with `train/` and `val/`, or a CIFAR folder.
        root: the folder that holds the data sets' folders; None: `RECONV_DATA`, else `~/.cache/reconv`.
        validation: how much is held out: a fraction below 1 or a number of images, 0 for nothing; None: 360
            digits, a tenth of CIFAR, 2 % of an image folder.
        seed: which images are held out.
        download: fetch CIFAR from its home page if it is not there (MD5 checked).
        image_size: the side, in pixels, of what is cut out of images on disk.

    Returns:
        The data set; CIFAR and digits in memory as uint8, image folders on disk.

    Raises:
        UnknownNameError: neither a known name nor a folder.
        DataError: the data is missing, incomplete or unusable; the message says which file and what to do.
    """
    key = name.lower().replace("-", "").replace("_", "")
    if key == _DIGITS:
        return digits.load_digits(validation, seed)
    if key in _CIFARS:
        where = data_root(root)
        if download and not _is_there(_CIFARS[key], where):
            cifar.download(_CIFARS[key], where)
        return cifar.load_cifar(_CIFARS[key], where, validation, seed)
    if key == _IMAGENET:
        return folder.load_folder(_imagenet_folder(data_root(root)), key, validation, seed, image_size)
    return _load_path(name, validation, seed, image_size)


def _is_there(kind: cifar.Cifar, root: Path) -> bool:
    return any((place / layout.test).is_file() for layout in kind.layouts for place in (root, root / layout.folder))


def _imagenet_folder(root: Path) -> Path:
    below = next((root / name for name in ("imagenet", "ImageNet", "ILSVRC2012") if (root / name).is_dir()), root)
    if not (below / "train").is_dir():
        raise DataError(
            f"imagenet: {root} holds neither train/ nor imagenet/train/; point --data-root or RECONV_DATA "
            "to the folder with train/ and val/, one folder a class in each. "
            "ImageNet itself is to be had, after registration, from https://image-net.org."
        )
    return below


def _load_path(name: str, validation: float | None, seed: int, image_size: int) -> DataSet:
    path = Path(name).expanduser()
    if path.is_dir():
        kind = cifar.is_cifar(path)
        if kind is not None:
            return cifar.load_cifar(kind, path, validation, seed)
        return folder.load_folder(path, path.resolve().name, validation, seed, image_size)
    if os.sep in name or path.exists():
        raise DataError(f"{name}: not a folder; give one that holds train/ and val/, or a data set's name.")
    raise unknown_name("data set", name, data_set_names())

"""Data sets by name: a row for each source; one's own is registered alike, `reconv.register(DataSource(...))`."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from reconv.errors import ConfigError, DataError, unknown_name
from reconv.registry import Registry, register

if TYPE_CHECKING:
    from reconv.data.dataset import DataSet
    from reconv.provenance import Normalization

ROOT_VARIABLE = "RECONV_DATA"


@dataclass(frozen=True)
class LoadOptions:
    """What a source is asked for.

    Attributes:
        path: the folder that was named, or the one that holds the data sets' folders.
        validation: how much of the training images is held out: a fraction below 1 or a number; None: as usual.
        seed: which images are held out.
        download: may be fetched from its home page.
        image_size, resize, normalization: how images on disk become inputs; None: the source decides.
        name: as the user wrote it.
    """

    path: Path
    validation: float | None = None
    seed: int = 0
    download: bool = False
    image_size: int | None = None
    resize: int | None = None
    normalization: Normalization | None = None
    name: str = ""


@dataclass(frozen=True)
class DataSource:
    """A data set, or a kind of folder, that is found by name.

    Args:
        name: as `load_data` takes it, whatever its case, with or without hyphens and underscores.
        meaning: one line for lists.
        load: makes a `DataSet` of the options, or anything that `as_data_set` takes, such as a DataLoader.
        aliases: other names.
        input_size: channels, height and width of its images, where that is known before loading.
        num_classes: likewise.
        recognizes: whether a folder or file that the user names is one of this source; `name:PATH` is in any case.

    Example:
        >>> def load(options):
        ...     return torch.rand(20, 3, 8, 8), torch.arange(20) % 2
        >>> _ = reconv.register(DataSource("noise", "random images", load, input_size=(3, 8, 8), num_classes=2))
        >>> len(reconv.data.load_data("Noise").test)
        2
    """

    registry: ClassVar[Registry[DataSource]] = Registry("data set")

    name: str
    meaning: str
    load: Callable[[LoadOptions], Any]
    aliases: tuple[str, ...] = ()
    input_size: tuple[int, ...] | None = None
    num_classes: int | None = None
    recognizes: Callable[[Path], bool] | None = None


def data_sources() -> tuple[DataSource, ...]:
    """All sources that are registered."""
    return tuple(DataSource.registry)


def data_set_names() -> tuple[str, ...]:
    """The names that `load_data` knows, besides paths of folders."""
    return tuple(source.name for source in data_sources() if source.name not in _OF_PATHS)


def find_source(name: str) -> tuple[DataSource, Path | None]:
    """The source that a name or the path of a folder stands for, and that folder.

    Raises:
        UnknownNameError: neither a known name nor a folder. DataError: a path that is no folder.
    """
    source = DataSource.registry.get(name)
    if source is not None:
        return source, None
    prefix, colon, rest = name.partition(":")
    if colon and (source := DataSource.registry.get(prefix)) is not None:
        return source, Path(rest).expanduser()
    path = Path(name).expanduser()
    if path.exists():
        special = (source for source in data_sources() if source.recognizes is not None and source.recognizes(path))
        if (found := next(special, FOLDER if path.is_dir() else None)) is not None:
            return found, path
    if os.sep in name or path.exists():
        raise DataError(
            f"{name}: not a folder, a CSV or shards; give one that holds train/ and val/, or a data set's name."
        )
    raise unknown_name("data set", name, data_set_names())


def canonical_data_set(name: str) -> str:
    """The one spelling of a data set's name, such as "cifar10" for "CIFAR-10"; a path stays as it is."""
    source = DataSource.registry.get(name)
    return name if source is None else source.name


def data_root(root: str | os.PathLike[str] | None = None) -> Path:
    """The folder of the data sets' folders: `root`, else the environment's `RECONV_DATA`, else `~/.cache/reconv`."""
    chosen = root or os.environ.get(ROOT_VARIABLE) or Path.home() / ".cache" / "reconv"
    return Path(chosen).expanduser()


def load_data(
    name: str,
    root: str | os.PathLike[str] | None = None,
    *,
    validation: float | None = None,
    seed: int = 0,
    download: bool = False,
    image_size: int | None = None,
    resize: int | None = None,
    normalization: Normalization | None = None,
) -> DataSet:
    """Load a data set with a training, a validation and a test split.

    The validation split is held out of the training images, the same share of every class; the test images
    are the data set's own. Loading twice with the same arguments gives the same images in the same order.

    Args:
        name: "digits", "cifar10", "cifar100", "imagenet" or that of a registered `DataSource`, in any case and with or
            without hyphens; or the path of a folder: one with `train/` and `val/`, or a CIFAR folder.
        root: the folder that holds the data sets' folders; None: `RECONV_DATA`, else `~/.cache/reconv`.
        validation: how much is held out: a fraction below 1 or a number of images, 0 for nothing; None: 360
            digits, a tenth of CIFAR, 2 % of ImageNet, of another folder a tenth, or 200 images if that is more, but at
            most a fifth.
        seed: which images are held out.
        download: fetch CIFAR from its home page if it is not there (MD5 checked).
        image_size: the side, in pixels, of what is cut out of images on disk; None: 224.
        resize: the shorter side that images on disk are scaled to before; None: `image_size`, or 256 where that is not
            given either; 256/224 of it for ImageNet.
        normalization: of the network that takes the images; None: the data set's, ImageNet's for a folder.

    Returns:
        The data set; CIFAR and digits in memory as uint8, image folders on disk.

    Raises:
        UnknownNameError: neither a known name nor a folder.
        DataError: the data is missing, incomplete or unusable; the message says which file and what to do.

    Example:
        >>> print(load_data("digits"))
        digits: 10 classes, 1x8x8 images, 1,077 training, 360 validation, 360 test
    """
    from reconv.data.own import as_data_set

    if not isinstance(name, str | os.PathLike):
        raise ConfigError(f"load_data: {type(name).__name__}; give a name or the path of a folder, or use as_data_set.")
    source, folder = find_source(str(name))
    path = data_root(root) if folder is None else folder
    options = LoadOptions(path, validation, seed, download, image_size, resize, normalization, str(name))
    loaded = source.load(options)
    data = as_data_set(loaded, seed=seed, validation=0.1 if validation is None else validation)
    return data.with_normalization(normalization)


def _digits(options: LoadOptions) -> DataSet:
    from reconv.data.digits import load_digits

    return load_digits(options.validation, options.seed)


def _cifar(classes: int, options: LoadOptions) -> DataSet:
    from reconv.data import cifar

    kind = cifar.KINDS[classes]
    if options.download:
        cifar.download_if_missing(kind, options.path)
    return cifar.load_cifar(kind, options.path, options.validation, options.seed)


def _is_cifar(classes: int, path: Path) -> bool:
    from reconv.data import cifar

    return cifar.is_cifar(path) is cifar.KINDS[classes]


def _imagenet(options: LoadOptions) -> DataSet:
    from reconv.data.folder import imagenet_folder, load_folder

    return load_folder(imagenet_folder(options.path), "imagenet", options)


def _folder(options: LoadOptions) -> DataSet:
    from reconv.data.folder import load_folder

    return load_folder(options.path, options.path.resolve().name, options)


def _images(options: LoadOptions) -> DataSet:
    from reconv.data.image_files import load_images_alone

    return load_images_alone(options)


def _table(options: LoadOptions) -> DataSet:
    from reconv.data.image_files import load_table

    return load_table(options)


def _shards(options: LoadOptions) -> DataSet:
    from reconv.data.packed import load_shards

    return load_shards(options)


def _hf(options: LoadOptions) -> DataSet:
    from reconv.data.packed import load_hf

    return load_hf(options)


def _is_of(module: str, question: str, path: Path) -> bool:
    from importlib import import_module

    return bool(getattr(import_module(f"reconv.data.{module}"), question)(path))


_OF_PATHS = ("folder", "csv", "hf", "webdataset", "images")  # sources that read what a user names by its path
FOLDER = DataSource("folder", "a path: folder with train/ and val/, one folder per class", _folder)
for _source in (
    DataSource("digits", "8x8 images of handwritten digits, of scikit-learn", _digits, (), (1, 8, 8), 10),
    DataSource("cifar10", "32x32 photographs", partial(_cifar, 10), (), (3, 32, 32), 10, partial(_is_cifar, 10)),
    DataSource("cifar100", "32x32 photographs", partial(_cifar, 100), (), (3, 32, 32), 100, partial(_is_cifar, 100)),
    DataSource("imagenet", "photographs, ILSVRC 2012", _imagenet, (), (3, 224, 224), 1000),
    FOLDER,
    DataSource("csv", "a CSV of files and labels", _table, recognizes=partial(_is_of, "image_files", "is_table")),
    DataSource("hf", "a folder of Hugging Face's datasets", _hf, recognizes=partial(_is_of, "packed", "is_hf_folder")),
    DataSource(
        "webdataset", "tar files of images and labels", _shards, recognizes=partial(_is_of, "packed", "is_shards")
    ),
    DataSource(
        "images",
        "images alone, without labels",
        _images,
        recognizes=partial(_is_of, "image_files", "holds_images_alone"),
    ),
):
    register(_source)

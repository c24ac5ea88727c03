"""Data sets: digits (embedded), CIFAR-10/100, ImageNet and any folder of images; three splits each."""

from reconv.data.augmentation import Augmentation, Share, augment, normalize
from reconv.data.dataset import DataSet
from reconv.data.folder import DataWarning, FolderSplit
from reconv.data.loader import TrainingBatches, calibration_images, evaluation_batches
from reconv.data.own import SplitName, as_data_set
from reconv.data.sources import (
    DataSource,
    LoadOptions,
    canonical_data_set,
    data_root,
    data_set_names,
    data_sources,
    find_source,
    load_data,
)
from reconv.data.splits import Reading, Split, TensorSplit, hold_out, sample

__all__ = [
    "Augmentation",
    "DataSet",
    "DataSource",
    "DataWarning",
    "FolderSplit",
    "LoadOptions",
    "Reading",
    "Share",
    "Split",
    "SplitName",
    "TensorSplit",
    "TrainingBatches",
    "as_data_set",
    "augment",
    "calibration_images",
    "canonical_data_set",
    "data_root",
    "data_set_names",
    "data_sources",
    "evaluation_batches",
    "find_source",
    "hold_out",
    "load_data",
    "normalize",
    "sample",
]

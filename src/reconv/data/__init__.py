"""Data sets: digits (embedded), CIFAR-10/100, ImageNet and any folder of images; three splits each."""

from reconv.data.augment import Augmentation, Share, augment, normalize
from reconv.data.dataset import DataSet
from reconv.data.folder import DataWarning, FolderSplit
from reconv.data.load import data_root, data_set_names, load_data
from reconv.data.loader import TrainingBatches, calibration_images, evaluation_batches
from reconv.data.own import SplitName, as_data_set
from reconv.data.splits import Split, TensorSplit, hold_out, sample

__all__ = [
    "Augmentation",
    "DataSet",
    "DataWarning",
    "FolderSplit",
    "Share",
    "Split",
    "SplitName",
    "TensorSplit",
    "TrainingBatches",
    "as_data_set",
    "augment",
    "calibration_images",
    "data_root",
    "data_set_names",
    "evaluation_batches",
    "hold_out",
    "load_data",
    "normalize",
    "sample",
]

"""scikit-learn's handwritten digits: 1,797 real 8x8 images that come with the library, no download.

Source: Alpaydin and Kaynak, *Optical Recognition of Handwritten Digits*, UCI repository (1998); the part that
scikit-learn embeds.
"""

from __future__ import annotations

import torch

from reconv.data.dataset import DataSet
from reconv.data.splits import TensorSplit, hold_out
from reconv.optional import optional
from reconv.provenance import Normalization

_TEST = 360
_VALIDATION = 360
_BRIGHTEST = 16  # a pixel counts the set dots in a 4x4 block of the scan


def load_digits(validation: float | None = None, seed: int = 0) -> DataSet:
    """The digits as 1x8x8 images, split by class into 60 % training, 20 % validation, 20 % test.

    The test images are the same for every seed; the seed chooses the validation images among the others.
    """
    table = optional("sklearn.datasets", "data set digits").load_digits()
    images = (torch.from_numpy(table.images) * (255 / _BRIGHTEST)).round().to(torch.uint8).unsqueeze(1)
    whole = TensorSplit(images, torch.from_numpy(table.target).long())
    rest, test = hold_out(whole.labels, _TEST, seed=0)
    remaining = whole.subset(rest)
    kept, held = hold_out(remaining.labels, _VALIDATION if validation is None else validation, seed)
    return DataSet(
        name="digits",
        class_names=tuple(str(name) for name in table.target_names),
        input_size=(1, 8, 8),
        normalization=Normalization(mean=(0.3053,), std=(0.3760,)),
        train=remaining.subset(kept),
        validation=remaining.subset(held),
        test=whole.subset(test),
    )

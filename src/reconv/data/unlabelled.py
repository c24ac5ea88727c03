"""Images without labels, from wherever they are, in the shape that a network takes.

Any folder will do: files are found at any depth, and neither the names of its folders nor their number matter. Of a
tree with `train/`, only what lies in there is taken.
"""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from reconv.data.augmentation import normalize
from reconv.data.cifar import is_cifar
from reconv.data.folder import IMAGE_ENDINGS
from reconv.data.images import UNREADABLE, decode, fault_text, quiet_decoding
from reconv.data.loader import worker_count
from reconv.data.randomness import generator
from reconv.data.sources import load_data
from reconv.data.splits import Reading, sample
from reconv.errors import DataError
from reconv.provenance import Normalization

_TRAIN = "train"


def unlabelled_images(
    where: str,
    n: int,
    size: tuple[int, int, int],
    *,
    normalization: Normalization,
    root: str | os.PathLike[str] | None = None,
    seed: int = 0,
) -> Tensor:
    """A random choice of training images; no label is read.

    Args:
        where: a folder with images at any depth, or a data set by name, of which the training split is taken.
        n: how many; all where there are fewer.
        size: channels, height, width. Other images are scaled so that they just cover it, and cut at their center;
            gray ones become colored and colored ones gray.
        normalization: of the network.
        root: the folder that holds the data sets.
        seed: which ones.

    Returns:
        float32 [n, C, H, W], normalized.

    Raises:
        DataError: fewer than two images, or one that cannot be read. UnknownNameError: neither a folder nor a name.
    """
    folder = Path(where).expanduser()
    if folder.is_dir() and is_cifar(folder) is None:
        pixels = _from_files(folder, n, size, seed)
    else:
        chosen = sample(load_data(where, root, seed=seed, image_size=size[1]).train, n, seed)
        parts = torch.arange(len(chosen)).split(256)
        pixels = torch.cat([fitted(p, size) for p, _ in chosen.stream(parts, Reading(workers=worker_count(chosen)))])
    images: Tensor = normalize(pixels, normalization)
    return images


def fitted(pixels: Tensor, size: tuple[int, int, int]) -> Tensor:
    """Images in another shape: scaled to just cover it, cut at the center.

    Args:
        pixels: uint8 [n, c, h, w], c = 1 or 3. size: channels, height, width.

    Returns:
        uint8 [n, C, H, W].
    """
    channels, height, width = size
    scale = max(height / pixels.shape[2], width / pixels.shape[3])
    if scale != 1:
        sides = [max(height, round(scale * pixels.shape[2])), max(width, round(scale * pixels.shape[3]))]
        pixels = functional.interpolate(pixels.float(), sides, mode="bilinear", antialias=scale < 1)
    top, left = (pixels.shape[2] - height) // 2, (pixels.shape[3] - width) // 2
    pixels = pixels[:, :, top : top + height, left : left + width]
    if pixels.shape[1] != channels:
        pixels = pixels.float().mean(1, keepdim=True).expand(-1, channels, -1, -1)
    return pixels if pixels.dtype == torch.uint8 else pixels.round().clamp(0, 255).to(torch.uint8)


def _from_files(folder: Path, n: int, size: tuple[int, int, int], seed: int) -> Tensor:
    below = folder / _TRAIN if (folder / _TRAIN).is_dir() else folder
    files = sorted(path for path in below.rglob("*") if path.suffix.lower() in IMAGE_ENDINGS and path.is_file())
    if len(files) < 2:
        number = "one image" if files else "no image"
        raise DataError(f"{below}: {number} in it; give a folder with at least two {', '.join(sorted(IMAGE_ENDINGS))}")
    order = torch.randperm(len(files), generator=generator(seed, "sample"))
    images = []
    for index in order[:n].tolist():  # a random order: parts of it are held out
        try:
            with quiet_decoding():
                images.append(fitted(decode(files[index])[None], size))
        except UNREADABLE as error:
            raise DataError(f"{fault_text(files[index], error)}: cannot be read; replace or remove it") from None
    return torch.cat(images)

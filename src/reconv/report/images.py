"""A small image as a `data:` address, so that a page needs no other file."""

from __future__ import annotations

import base64

import torch
from torch import Tensor

from reconv.optional import optional


def data_uri(pixels: Tensor, largest: int = 96) -> str:
    """An image as a PNG inside an address.

    Args:
        pixels: uint8 `[C, H, W]`, C of 1 or 3 (others: the first channel). largest: side, in pixels, it is reduced to.
    """
    image = pixels if pixels.shape[0] in (1, 3) else pixels[:1]
    side = max(image.shape[1:])
    if side > largest:
        size = [max(1, round(n * largest / side)) for n in image.shape[1:]]
        shrunk = torch.nn.functional.interpolate(image[None].float(), size, mode="area")
        image = shrunk[0].round().clamp(0, 255).to(torch.uint8)
    torchvision_io = optional("torchvision.io", "images in a report")
    png = torchvision_io.encode_png(image.cpu().contiguous(), compression_level=9)
    return "data:image/png;base64," + base64.b64encode(png.numpy().tobytes()).decode()

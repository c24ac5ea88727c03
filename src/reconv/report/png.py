"""A small image as a `data:` address, so that a page needs no other file."""

from __future__ import annotations

import base64
import struct
import zlib

import torch
from torch import Tensor


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
    return "data:image/png;base64," + base64.b64encode(encode(image)).decode()


def encode(image: Tensor) -> bytes:
    """PNG bytes of uint8 `[C, H, W]`, C of 1 (gray) or 3 (RGB)."""
    channels, height, width = image.shape
    rows = image.permute(1, 2, 0).reshape(height, -1).contiguous().cpu().numpy()
    raw = b"".join(b"\0" + row.tobytes() for row in rows)  # every row unfiltered
    header = struct.pack(">IIBBBBB", width, height, 8, 0 if channels == 1 else 2, 0, 0, 0)
    parts = (_chunk(b"IHDR", header), _chunk(b"IDAT", zlib.compress(raw, 9)), _chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

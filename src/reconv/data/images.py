"""One image file, as pixels: which formats are read, and what an unusual file becomes.

Formats are a fixed list, and a file's content decides which one it is, never its ending: Pillow knows formats that are
programs (PostScript), and runs them.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from reconv.data.augmentation import transforms
from reconv.optional import optional

FORMATS = ("JPEG", "PNG", "PPM", "BMP", "TIFF", "WEBP")
UNREADABLE = (OSError, ValueError)
_MOST_PIXELS = 80_000_000  # of one image; a small file can unpack to far more
_MOST_SLENDER = 100  # times as long as wide; scaled by its shorter side, a longer one would fill the memory
_ORIENTATION = 0x0112  # the EXIF tag
_TURNED, _ANIMATED, _CMYK, _DEEP = (
    "turned upright, as their EXIF data say",
    "with several pictures, of which the first is taken",
    "in CMYK, taken as RGB",
    "of 16 bits, taken as 8",
)


def decode(path: Path) -> Tensor:
    """A file's image, uint8 `[3, H, W]`: upright, the first where it holds several, of 16 bits the upper 8.

    Raises:
        ValueError: no image of the formats that are read, a damaged one, or one that is too large.
    """
    return _read(path)[0]


def examine(path: Path) -> tuple[str, ...]:
    """What is unusual about an image, which is decoded for it; the same errors as of `decode`."""
    return _read(path)[1]


def _read(path: Path) -> tuple[Tensor, tuple[str, ...]]:
    pillow = optional("PIL.ImageOps", "images on disk")
    try:
        with _opened(path) as image:
            unusual = dict.fromkeys(_unusual(image))
            image.load()
            if _is_turned(image):  # known, of some formats, only now; TIFF is upright already
                unusual[_TURNED] = None
                upright = pillow.exif_transpose(image)
            else:
                upright = image
            picture = _eight_bits(upright, image.format).convert("RGB")
            decoded: Tensor = transforms().functional.pil_to_tensor(picture)
    except UNREADABLE:
        raise
    except Exception as error:  # a damaged file makes decoders fail in any way
        raise ValueError(f"damaged: {type(error).__name__}") from None
    return decoded, tuple(unusual)


def examine_ends(path: Path) -> tuple[str, ...]:
    """What is unusual about an image, by its head; whether it is cut off, by its tail.

    Raises:
        ValueError: no image of the formats that are read, one that is too large, or a truncated one.
    """
    try:
        with _opened(path) as image:
            ending = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}.get(image.format, b"")
            unusual = _unusual(image)
    except UNREADABLE:
        raise
    except Exception as error:
        raise ValueError(f"damaged: {type(error).__name__}") from None
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 512))
        if ending not in file.read():
            raise ValueError("truncated")
    return unusual


def fault_text(path: Path, error: BaseException) -> str:
    """What is wrong with a file, for a message."""
    reason = "empty file" if path.is_file() and path.stat().st_size == 0 else str(error) or type(error).__name__
    return f"{path} ({reason})"


def _opened(path: Path) -> Any:
    """The image, of which the head is read."""
    pillow = optional("PIL.Image", "images on disk")
    try:
        image = pillow.open(path, formats=FORMATS)
    except pillow.UnidentifiedImageError:
        raise ValueError(f"no {', '.join(FORMATS[:-1])} or {FORMATS[-1]} file, whatever its ending says") from None
    except (pillow.DecompressionBombError, pillow.DecompressionBombWarning) as error:
        raise ValueError(f"too large: {error}") from None
    width, height = image.size
    if width * height > _MOST_PIXELS:
        image.close()
        raise ValueError(f"{width} x {height} pixels, more than {_MOST_PIXELS:,}; scale it down")
    if max(width, height) > _MOST_SLENDER * min(width, height):
        image.close()
        raise ValueError(f"{width} x {height} pixels, more than {_MOST_SLENDER} times as long as wide; cut it")
    return image


@contextlib.contextmanager
def quiet_decoding() -> Iterator[None]:
    """Without Pillow's warnings of what is refused or reported here; not for several threads at once."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\b")
        yield


def _unusual(image: Any) -> tuple[str, ...]:
    found = {
        _TURNED: _is_turned(image),
        _ANIMATED: getattr(image, "is_animated", False),
        _CMYK: image.mode == "CMYK",
        _DEEP: image.mode.startswith("I"),
    }
    return tuple(what for what, is_so in found.items() if is_so)


def _is_turned(image: Any) -> bool:
    """Whether its EXIF data say that it lies on a side, or is mirrored."""
    try:
        exif = optional("PIL.Image", "images on disk").Image.getexif(image)  # a PNG's own method would decode it
        return exif.get(_ORIENTATION) in range(2, 9)
    except Exception:  # damaged data beside an image are no damage of the image
        return False


def _eight_bits(image: Any, file_format: str) -> Any:
    """An image of 16 bits with the upper 8 of each value; others as they are."""
    if image.mode == "F" or (image.mode == "I" and file_format == "TIFF"):
        raise ValueError(f"values of 32 bits ({image.mode}), whose range nobody knows; save it with 8 or 16 bits")
    if not image.mode.startswith("I"):
        return image
    upper = np.asarray(image).astype(np.int32) >> 8
    return optional("PIL.Image", "images on disk").fromarray(upper.clip(0, 255).astype(np.uint8))

"""Images of text to calibrate and to test readers of text on: words, fonts, colours, rotations, noise, all by seeds."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Sequence
from pathlib import Path
from pydoc_data.topics import topics

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from torch import Tensor

_LATIN = ("DejaVuSans", "DejaVuSerif", "Liberation", "NotoSans-", "NotoSerif-")
_LEFT_OUT = ("Math", "Symbol")


def fonts(folders: Sequence[Path]) -> list[Path]:
    """Fonts with Latin letters in these folders: of the families DejaVu, Liberation and Noto.

    Raises:
        SystemExit: there is none.
    """
    found = [path for folder in folders for path in sorted(folder.rglob("*.ttf"))]
    latin = [p for p in found if p.name.startswith(_LATIN) and not any(word in p.name for word in _LEFT_OUT)]
    if not latin:
        raise SystemExit(f"no fonts in {', '.join(map(str, folders))}; install fonts-dejavu, or give --fonts FOLDER")
    return latin


def words(held_out: bool) -> list[str]:
    """English words of three to twelve letters, from Python's own documentation; no word is in both lists."""
    text = " ".join(topics.values())
    found = sorted(set(re.findall(r"\b[A-Za-z]{3,12}\b", text)))
    return [word for word in found if (sum(map(ord, word.lower())) % 3 == 0) == held_out]


def text_line(rng: random.Random, chosen: Sequence[str], paths: Sequence[Path], turned: bool = False) -> Image.Image:
    """One to three words, or a number, in one line."""
    text = " ".join(rng.choice(chosen) for _ in range(rng.choice((1, 1, 1, 2, 3))))
    if rng.random() < 0.15:
        text = str(rng.randrange(10 ** rng.randrange(2, 9)))
    return drawn(rng, text, paths, turned)


def drawn(rng: random.Random, text: str, paths: Sequence[Path], turned: bool = False) -> Image.Image:
    """A text, cut out as a detector would."""
    font = ImageFont.truetype(str(rng.choice(paths)), rng.randrange(24, 56))
    left, top, right, bottom = font.getbbox(text)
    margin = rng.randrange(3, 10)
    size = math.ceil(right - left) + 2 * margin, math.ceil(bottom - top) + 2 * margin
    paper, ink = _colours(rng)
    image = Image.new("RGB", size, paper)
    ImageDraw.Draw(image).text((margin - left, margin - top), text, font=font, fill=ink)
    image = image.rotate(rng.uniform(-3, 3), resample=Image.Resampling.BILINEAR, fillcolor=paper)
    if rng.random() < 0.3:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.0)))
    return (noisy(rng, image)).rotate(180) if turned else noisy(rng, image)


def _colours(rng: random.Random) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Of paper and ink, far enough apart to be read."""
    while True:
        paper, ink = ((rng.randrange(256), rng.randrange(256), rng.randrange(256)) for _ in range(2))
        if abs(sum(paper) - sum(ink)) > 240:
            return paper, ink


def noisy(rng: random.Random, image: Image.Image) -> Image.Image:
    """The image with normal noise on every value."""
    pixels = np.asarray(image).astype(np.float32)
    noise = np.random.default_rng(rng.randrange(2**32)).normal(0, rng.uniform(0, 12), pixels.shape)
    return Image.fromarray((pixels + noise).clip(0, 255).astype(np.uint8))


def page(rng: random.Random, chosen: Sequence[str], paths: Sequence[Path], side: int) -> Image.Image:
    """A square page with some lines of text on a paper that is lighter at one end."""
    paper, ink = _colours(rng)
    shade = np.linspace(0, rng.uniform(-60, 60), side)[:, None, None]
    image = Image.fromarray((np.full((side, side, 3), paper) + shade).clip(0, 255).astype(np.uint8))
    draw, top = ImageDraw.Draw(image), rng.randrange(4, 30)
    while top < side - 30:
        font = ImageFont.truetype(str(rng.choice(paths)), rng.randrange(14, 34))
        text = " ".join(rng.choice(chosen) for _ in range(rng.randrange(1, 5)))
        draw.text((rng.randrange(4, side // 2), top), text, font=font, fill=ink)
        top += rng.randrange(24, 80)
    return noisy(rng, image.rotate(rng.uniform(-8, 8), resample=Image.Resampling.BILINEAR, fillcolor=paper))


def line_tensor(image: Image.Image, height: int, width: int) -> Tensor:
    """A line as readers take it, `[3, height, width]`: scaled to the height, from -1 to 1, zeros to its right."""
    wide = min(width, math.ceil(height * image.width / image.height))
    pixels = np.asarray(image.resize((wide, height), Image.Resampling.BILINEAR)).astype(np.float32)
    result = torch.zeros(3, height, width)
    result[:, :, :wide] = torch.from_numpy(pixels).permute(2, 0, 1) / 127.5 - 1
    return result


def page_tensor(image: Image.Image) -> Tensor:
    """A page, values from -1 to 1; `[3, side, side]`."""
    return torch.from_numpy(np.array(image).astype(np.float32)).permute(2, 0, 1) / 127.5 - 1

"""One image file: which formats are read, by content, and what an unusual or hostile one becomes."""

from __future__ import annotations

import io
import os
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from reconv.data import DataWarning, load_data
from reconv.data import folder as folder_module
from reconv.data import images as images_module
from reconv.data.images import decode, examine, examine_ends
from reconv.data.unlabelled import unlabelled_images
from reconv.errors import DataError
from reconv.provenance import IMAGENET

POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n(canary) (w) file\n"
NO_FORMAT = "no JPEG, PNG, PPM, BMP, TIFF or WEBP file, whatever its ending says"


def refusal(path: Path, read: Callable[[Path], object] = decode) -> str:
    with pytest.raises((OSError, ValueError)) as caught:
        read(path)
    return str(caught.value)


@pytest.fixture
def photo() -> Any:
    """Wider than high, no two corners alike."""
    pixels = np.zeros((20, 30, 3), dtype=np.uint8)
    pixels[:10, :15] = 255
    pixels[10:, 15:, 0] = 200
    return Image.fromarray(pixels)


@pytest.fixture
def tree(tmp_path: Path, photo: Any) -> Path:
    """A folder of images in which one may be replaced: train/a/0.png."""
    for part in ("train", "val"):
        for name in ("a", "b"):
            (tmp_path / part / name).mkdir(parents=True)
            for number in range(2):
                photo.save(tmp_path / part / name / f"{number}.png")
    return tmp_path


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize(
    "content",
    [
        POSTSCRIPT,
        b"\xc5\xd0\xd3\xc6" + struct.pack("<II", 32, len(POSTSCRIPT)) + bytes(20) + POSTSCRIPT,
        b"P6 x",
        b"GIF89a",
    ],
    ids=["postscript", "binary eps", "half a ppm", "gif"],
)
def test_no_program_and_no_other_format_is_opened(
    content: bytes, large: bool, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("a program was started")

    for name in ("run", "Popen", "check_call", "check_output"):
        monkeypatch.setattr(f"subprocess.{name}", never)
    monkeypatch.setattr(os, "system", never)
    if large:
        monkeypatch.setattr(folder_module, "_DECODED_IF_AT_MOST", 0)
    (tree / "train" / "a" / "0.png").write_bytes(content)
    with pytest.raises(DataError, match=r"1 of 4 images cannot be read: .*a/0.png \("):
        load_data(str(tree))
    with pytest.raises(DataError, match=r"a/0.png \("):
        unlabelled_images(str(tree), 4, (3, 8, 8), normalization=IMAGENET)


def test_other_formats_of_pillow_are_not_asked(tmp_path: Path, photo: Any) -> None:
    for name in ("GIF", "TGA", "ICO", "PCX", "SGI", "EPS", "PDF", "JPEG2000", "DDS", "AVIF", "QOI"):
        path = tmp_path / "x.png"
        try:
            photo.save(path, format=name)
        except (KeyError, OSError, ValueError):
            continue  # this Pillow writes no such file
        assert refusal(path) == NO_FORMAT


def test_the_content_says_the_format_not_the_ending(tmp_path: Path, photo: Any) -> None:
    photo.save(tmp_path / "a.jpg", format="PNG")
    assert torch.equal(decode(tmp_path / "a.jpg"), torch.from_numpy(np.asarray(photo)).permute(2, 0, 1))


def png(width: int, height: int, rows: bytes = b"") -> bytes:
    """A PNG whose head says any size."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("read", [decode, examine_ends])
@pytest.mark.parametrize(
    ("size", "said"),
    [
        ((9_000, 9_000), "9000 x 9000 pixels, more than 80,000,000; scale it down"),
        ((10_000, 10_000), "pixels, more than 80,000,000"),
        ((60_000, 60_000), "too large: Image size"),
        ((1, 10_000_000), "more than 100 times as long as wide"),
        ((2_000, 3), "2000 x 3 pixels, more than 100 times as long as wide; cut it"),
    ],
)
def test_a_small_file_of_a_large_image_is_refused(
    size: tuple[int, int], said: str, read: Callable[[Path], object], tmp_path: Path
) -> None:
    (tmp_path / "a.png").write_bytes(png(*size))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert said in refusal(tmp_path / "a.png", read)


@pytest.mark.parametrize("side", [9_000, 10_000, 60_000])
def test_a_large_image_is_one_error_and_no_warning(side: int, tree: Path) -> None:
    (tree / "train" / "a" / "0.png").write_bytes(png(side, side))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(DataError, match="1 of 4 images cannot be read"):
            load_data(str(tree))


@pytest.mark.parametrize("name", ["JPEG", "PNG", "PPM", "BMP", "TIFF", "WEBP"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_truncated_image_is_refused(name: str, share: float, tmp_path: Path) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    noise.save(tmp_path / "a", format=name)
    content = (tmp_path / "a").read_bytes()
    (tmp_path / "a").write_bytes(content[: int(share * len(content))])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        refusal(tmp_path / "a")


def orientation(number: int) -> Any:
    exif = Image.Exif()
    exif[0x0112] = number
    return exif


@pytest.mark.parametrize("name", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("number", [1, 2, 3, 4, 5, 6, 7, 8])
def test_an_image_lies_as_its_exif_data_say(name: str, number: int, tmp_path: Path, photo: Any) -> None:
    how = {"lossless": True} if name == "WEBP" else {"quality": 100, "subsampling": 0} if name == "JPEG" else {}
    photo.save(tmp_path / "a", format=name, exif=orientation(number), **how)
    pixels = torch.from_numpy(np.asarray(photo)).permute(2, 0, 1)
    turned = {  # what to do with the stored pixels, by the standard
        1: pixels,
        2: pixels.flip(2),
        3: pixels.flip(1, 2),
        4: pixels.flip(1),
        5: pixels.transpose(1, 2),
        6: pixels.transpose(1, 2).flip(2),
        7: pixels.transpose(1, 2).flip(1, 2),
        8: pixels.transpose(1, 2).flip(1),
    }[number]
    decoded = decode(tmp_path / "a")
    assert decoded.shape == turned.shape
    assert (decoded.float() - turned).abs().mean() < 5
    said = ("turned upright, as their EXIF data say",) if number > 1 else ()
    assert examine(tmp_path / "a") == said
    if name != "PNG":
        assert examine_ends(tmp_path / "a") == said


def test_damaged_exif_data_are_no_damage_of_the_image(tmp_path: Path, photo: Any) -> None:
    photo.save(tmp_path / "a.jpg", exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff")
    assert decode(tmp_path / "a.jpg").shape == (3, 20, 30)


@pytest.mark.parametrize("name", ["PNG", "TIFF", "PPM"])
def test_16_bits_are_scaled_to_8(name: str, tmp_path: Path) -> None:
    values = (np.arange(600, dtype=np.uint32) * 109 % 65536).astype(np.uint16).reshape(20, 30)
    Image.fromarray(values).save(tmp_path / "a", format=name)
    assert torch.equal(decode(tmp_path / "a")[0], torch.from_numpy((values >> 8).astype(np.uint8)))
    assert examine(tmp_path / "a") == ("of 16 bits, taken as 8",)


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_values_of_no_known_range_are_refused(kind: Any, tmp_path: Path) -> None:
    Image.fromarray(np.ones((20, 30), dtype=kind)).save(tmp_path / "a.tif")
    assert "whose range nobody knows" in refusal(tmp_path / "a.tif")


def test_cmyk_becomes_rgb(tmp_path: Path, photo: Any) -> None:
    photo.convert("CMYK").save(tmp_path / "a.jpg", quality=100)
    pixels = torch.from_numpy(np.asarray(photo)).permute(2, 0, 1)
    assert (decode(tmp_path / "a.jpg").float() - pixels).abs().mean() < 8
    assert examine(tmp_path / "a.jpg") == ("in CMYK, taken as RGB",)


@pytest.mark.parametrize("name", ["PNG", "TIFF", "WEBP"])
def test_of_several_pictures_the_first_is_taken(name: str, tmp_path: Path, photo: Any) -> None:
    how = {"lossless": True} if name == "WEBP" else {}
    black = Image.new("RGB", photo.size)
    photo.save(tmp_path / "a", format=name, save_all=True, append_images=[black, black], **how)
    assert torch.equal(decode(tmp_path / "a"), torch.from_numpy(np.asarray(photo)).permute(2, 0, 1))
    assert examine(tmp_path / "a") == ("with several pictures, of which the first is taken",)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGBA"])
def test_every_usual_mode_becomes_rgb(mode: str, tmp_path: Path, photo: Any) -> None:
    photo.convert("L").convert(mode).save(tmp_path / "a.png" if mode != "PA" else tmp_path / "a.tif")
    assert decode(next(tmp_path.iterdir())).shape == (3, 20, 30)
    assert examine(next(tmp_path.iterdir())) == ()


@pytest.mark.parametrize("large", [False, True])
def test_unusual_images_of_a_tree_are_counted(
    large: bool, tree: Path, photo: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    if large:
        monkeypatch.setattr(folder_module, "_DECODED_IF_AT_MOST", 0)
    for number in range(2, 5):
        photo.save(tree / "train" / "a" / f"{number}.jpg", exif=orientation(6))
    photo.convert("CMYK").save(tree / "train" / "b" / "2.jpg")
    with pytest.warns(
        DataWarning, match=r"train: of 8 images 1 in CMYK, taken as RGB; 3 turned upright, as their EXIF"
    ):
        data = load_data(str(tree), image_size=8, validation=0)
    (batch, _) = next(data.train.stream([torch.arange(8)]))
    assert batch.shape == (8, 3, 8, 8)


def test_what_damage_makes_of_decoders_is_one_kind_of_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise struct.error("unpack requires a buffer of 4 bytes")

    monkeypatch.setattr(images_module, "_eight_bits", fail)
    stream = io.BytesIO()
    Image.new("RGB", (4, 4)).save(stream, format="PNG")
    (tmp_path / "a.png").write_bytes(stream.getvalue())
    assert refusal(tmp_path / "a.png") == "damaged: error"

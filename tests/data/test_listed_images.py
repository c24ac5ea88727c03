"""Images on disk without a folder per class: a CSV, shards, a folder of `datasets`, images alone; read as a network
takes them."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from reconv.data import DataSet, load_data
from reconv.errors import DataError
from reconv.provenance import Normalization, Resizing


def _picture(shade: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.full((10, 12, 3), shade, np.uint8)).save(stream, "png")
    return stream.getvalue()


def _shades(data: DataSet) -> dict[int, int]:
    """The shade of every image of all splits, and its label."""
    shades = {}
    for split in (data.train, data.validation, data.test):
        for images, labels in split.stream([torch.arange(len(split))]) if len(split) else ():
            shades |= dict(zip(images[:, 0, 0, 0].tolist(), labels.tolist()))
    return shades


def _written(folder: Path, number: int = 30) -> list[str]:
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(number):
        (folder / f"{i}.png").write_bytes(_picture(i))
    return [f"{i}.png" for i in range(number)]


@pytest.mark.parametrize("split", [False, True])
def test_a_table_of_files_and_labels(tmp_path: Path, split: bool) -> None:
    names = _written(tmp_path / "images")
    parts = ["train"] * 20 + ["val"] * 6 + ["test"] * 4
    rows = [f"images/{name},{10 * (i % 3)}" + f",{parts[i]}" * split for i, name in enumerate(names)]
    table = tmp_path / "all.csv"
    table.write_text("\n".join(["filename,Label" + ",split" * split, *rows]))
    data = load_data(str(table), image_size=8)
    assert data.class_names == ("0", "10", "20")  # by size, not by the alphabet
    assert data.input_size == (3, 8, 8)
    assert _shades(data) == {i: i % 3 for i in range(30)}
    sizes = tuple(map(len, (data.train, data.validation, data.test)))
    assert sizes == ((20, 6, 4) if split else (19, 5, 6))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name,label\nimages/0.png,a\n", "columns name, label; it needs one called file"),
        ("file,label\nimages/0.png,a\nimages/99.png,b\n", "1 of its 2 files are not there, such as images/99.png"),
        ("file,label\nimages/0.png,\n", "line 2 lacks a label"),
        ("file,label\nimages/0.png,a\n", "labels of one class"),
        ("file,label,split\nimages/0.png,a,test\nimages/1.png,b,test\n", "no training images"),
        ("", "columns nothing"),
    ],
)
def test_a_table_that_cannot_be_used(tmp_path: Path, text: str, said: str) -> None:
    _written(tmp_path / "images", 2)
    (tmp_path / "all.csv").write_text(text)
    with pytest.raises(DataError, match=said):
        load_data(str(tmp_path / "all.csv"))


@pytest.mark.parametrize("labelled", [True, False])
def test_shards(tmp_path: Path, labelled: bool) -> None:
    for shard in ("train-0", "train-1", "val-0"):
        with tarfile.open(tmp_path / f"{shard}.tar", "w") as tar:
            for i in range(5):
                number = 5 * ("train-0", "train-1", "val-0").index(shard) + i
                files = {f"a/{number}.png": _picture(number)} | (
                    {f"a/{number}.cls": str(number % 2).encode()} if labelled else {}
                )
                for name, content in files.items():
                    member = tarfile.TarInfo(name)
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
    data = load_data(str(tmp_path), image_size=8)
    assert data.labelled is labelled
    assert _shades(data) == {i: i % 2 if labelled else -1 for i in range(15)}
    assert len(data.validation) == 5


def test_a_folder_of_datasets(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="datasets is for users to install")
    rows = {"image": [Image.open(io.BytesIO(_picture(i))) for i in range(12)], "label": [i % 2 for i in range(12)]}
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["even", "odd"])})
    table = datasets.Dataset.from_dict(rows, features=features)
    datasets.DatasetDict({"train": table.select(range(8)), "test": table.select(range(8, 12))}).save_to_disk(tmp_path)
    data = load_data(str(tmp_path), image_size=8)
    assert data.class_names == ("even", "odd")
    assert _shades(data) == {i: i % 2 for i in range(12)}
    assert len(data.test) == 4


def test_images_alone_have_no_labels(tmp_path: Path) -> None:
    _written(tmp_path / "deep" / "down")
    data = load_data(str(tmp_path), image_size=8)
    assert not data.labelled
    assert len(data.train) == 30
    assert _shades(data) == dict.fromkeys(range(30), -1)


def test_images_are_read_as_a_network_takes_them(tmp_path: Path) -> None:
    for part in ("train", "val"):
        for name in ("a", "b"):
            _written(tmp_path / part / name, 6)
    data = load_data(str(tmp_path))
    assert data.assumed
    own = Normalization((0.5,) * 3, (0.25,) * 3)
    asked = data.prepared(own, Resizing(6, 9))
    assert (asked.input_size, asked.normalization, asked.assumed) == ((3, 6, 6), own, False)
    images, _ = next(asked.test.stream([torch.arange(2)]))
    assert images.shape == (2, 3, 6, 6)
    gray = asked.prepared(None, None, channels=1)
    assert gray.input_size == (1, 6, 6)
    assert gray.normalization is not None
    assert gray.normalization.mean == (0.5,)
    images, _ = next(gray.test.stream([torch.arange(2)]))
    assert images.shape == (2, 1, 6, 6)
    assert len(data.prepared(None, None).test) == 12

"""Both layouts of CIFAR give the same images, and a file that is not what it should be is named, never
run."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from reconv.data import TensorSplit, calibration_images, load_data
from reconv.data.cifar import download_if_missing
from reconv.errors import DataError

TEN = [f"class{number}" for number in range(10)]


def rows(n: int, classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    return random.integers(0, 256, (n, 3072), dtype=np.uint8), np.arange(n) % classes


def python2(table: dict[str, Any]) -> bytes:
    """The table as Python 2 pickled it (protocol 2): byte strings, also for the array's content."""
    out = b"\x80\x02}("
    for key, value in table.items():
        out += text2(key) + value2(value)
    return out + b"u."


def text2(text: str) -> bytes:
    return b"U" + bytes([len(text)]) + text.encode() + b"q\x01"


def value2(value: Any) -> bytes:
    if isinstance(value, str):
        return text2(value)
    if isinstance(value, int):
        return b"K" + bytes([value])
    if isinstance(value, list):
        return b"](" + b"".join(value2(item) for item in value) + b"e"
    content = value.tobytes()
    shape = b"".join(b"J" + int(side).to_bytes(4, "little") for side in value.shape)
    return (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01("
        + shape
        + b"tcnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        b"\x89T" + len(content).to_bytes(4, "little") + content + b"tb"
    )


def cifar10(root: Path, layout: str, n: int = 20) -> Path:
    """A small tree in a layout: "bin", "py2", or a pickle protocol of Python 3."""
    folder = root / ("cifar-10-batches-bin" if layout == "bin" else "cifar-10-batches-py")
    folder.mkdir(parents=True)
    for seed, name in enumerate([*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]):
        pixels, labels = rows(n, 10, seed)
        if layout == "bin":
            whole = np.concatenate([labels[:, None].astype(np.uint8), pixels], axis=1)
            (folder / f"{name}.bin").write_bytes(whole.tobytes())
        else:
            table = {"batch_label": name, "labels": labels.tolist(), "data": pixels}
            content = python2(table) if layout == "py2" else pickle.dumps(table, protocol=int(layout))
            (folder / name).write_bytes(content)
    if layout == "bin":
        (folder / "batches.meta.txt").write_text("\n".join(TEN) + "\n\n")
    else:
        names = {"num_cases_per_batch": n, "label_names": TEN}
        (folder / "batches.meta").write_bytes(python2(names) if layout == "py2" else pickle.dumps(names))
    return folder


def images_of(split: Any) -> torch.Tensor:
    assert isinstance(split, TensorSplit)
    return split.images


@pytest.mark.parametrize("layout", ["py2", "0", "2", "3", "4"])
def test_both_layouts_give_the_same(tmp_path: Path, layout: str) -> None:
    cifar10(tmp_path / "one", "bin")
    cifar10(tmp_path / "other", layout)
    binary = load_data("CIFAR10", tmp_path / "one", validation=0.2)
    python = load_data("cifar-10", tmp_path / "other", validation=0.2)
    for name in ("train", "validation", "test"):
        one, other = getattr(binary, name), getattr(python, name)
        assert torch.equal(images_of(one), images_of(other))
        assert torch.equal(one.labels, other.labels)
    assert python.class_names == binary.class_names == tuple(TEN)
    assert (len(python.train), len(python.validation), len(python.test)) == (80, 20, 20)


def test_rows_become_images_channel_by_channel(tmp_path: Path) -> None:
    cifar10(tmp_path, "bin")
    pixels, labels = rows(20, 10, 5)
    data = load_data("cifar10", tmp_path)
    assert torch.equal(images_of(data.test), torch.from_numpy(pixels.reshape(20, 3, 32, 32)))
    assert data.test.labels.tolist() == labels.tolist()


def test_the_folder_itself_is_a_root_and_a_path_too(tmp_path: Path) -> None:
    folder = cifar10(tmp_path, "py2")
    whole = images_of(load_data("cifar10", tmp_path).train)
    assert torch.equal(images_of(load_data("cifar10", folder).train), whole)
    assert torch.equal(images_of(load_data(str(folder)).train), whole)


def test_the_environment_says_where_data_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cifar10(tmp_path, "bin")
    monkeypatch.setenv("RECONV_DATA", str(tmp_path))
    assert len(load_data("cifar10").test) == 20


@pytest.mark.parametrize("python", [False, True])
def test_cifar100_has_fine_labels(tmp_path: Path, python: bool) -> None:
    folder = tmp_path / ("cifar-100-python" if python else "cifar-100-binary")
    folder.mkdir()
    for seed, name in enumerate(("train", "test")):
        pixels, labels = rows(200, 100, seed)
        if python:
            table = {"coarse_labels": [0] * 200, "fine_labels": labels.tolist(), "data": pixels}
            (folder / name).write_bytes(pickle.dumps(table, protocol=2))
        else:
            whole = np.concatenate([np.zeros((200, 1)), labels[:, None], pixels], axis=1).astype(np.uint8)
            (folder / f"{name}.bin").write_bytes(whole.tobytes())
    data = load_data("cifar100", tmp_path, validation=100)
    assert data.num_classes == 100
    assert data.class_names[7] == "class 7"
    assert torch.bincount(data.validation.labels).tolist() == [1] * 100


class Crafted:
    """Its pickle, run, makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_crafted_pickle_is_refused_and_not_run(tmp_path: Path, protocol: int) -> None:
    folder = cifar10(tmp_path, "py2")
    mark = tmp_path / "run"
    (folder / "test_batch").write_bytes(pickle.dumps({"data": Crafted(mark)}, protocol=protocol))
    with pytest.raises(DataError, match=r"test_batch: not a plain table.*the name \S+ Nothing in it was run"):
        load_data("cifar10", tmp_path)
    assert not mark.exists()


HARMFUL = {
    "a call": (b"\x80\x02cos\nsystem\nU\x04true\x85R.", "the name os.system"),
    "a call through an allowed name": (b"\x80\x02cnumpy\nndarray\nK\x05\x85R.", "a call other than"),
    "an object array": (
        b"\x80\x02cnumpy\ndtype\nU\x02O8K\x00K\x01\x87R.",
        "a call other than those that build arrays of integers",
    ),
    "an instance": (b"\x80\x02(cos\nsystem\no.", "the name os.system"),
    "an old instance": (b"(U\x04trueios\nsystem\n.", "the operation INST"),
    "a persistent id": (b"Pname\n.", "the operation PERSID"),
    "an extension": (b"\x82\x01.", "the operation EXT1"),
    "no dictionary": (b"\x80\x02].", "no attribute 'items'"),
    "nothing at all": (b"", "pickle exhausted"),
    "text": (b"hello", "a value that is not there"),
}


@pytest.mark.parametrize("case", HARMFUL)
def test_pickles_that_do_something_are_refused_by_place(tmp_path: Path, case: str) -> None:
    folder = cifar10(tmp_path, "py2")
    content, reason = HARMFUL[case]
    (folder / "data_batch_2").write_bytes(content)
    with pytest.raises(DataError, match=f"data_batch_2: not a plain table of numbers and names: byte .*({reason})"):
        load_data("cifar10", tmp_path)


def test_no_damage_to_a_pickle_gets_through_as_anything_but_an_error_of_ours(tmp_path: Path) -> None:
    from reconv.data.pickled import read_pickled
    from reconv.errors import ArtifactError

    whole = python2({"labels": [1, 2], "data": np.zeros((2, 8), np.uint8), "batch_label": "x"})
    random = np.random.default_rng(0)
    path = tmp_path / "damaged"
    refused = 0
    for number in range(600):
        damaged = bytearray(whole[: random.integers(1, len(whole))] if number % 3 == 0 else whole)
        for place in random.integers(0, len(damaged), 2):
            damaged[place] = random.integers(0, 256)
        path.write_bytes(damaged)
        try:
            assert isinstance(read_pickled(path), dict)
        except ArtifactError:
            refused += 1
    assert refused > 360


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def cut_whole_images(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: 10 * 3073])


def wrong_label(path: Path) -> None:
    path.write_bytes(b"\x0b" + path.read_bytes()[1:])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut_short, r"data_batch_3.bin: 61360 bytes, which is no whole number of 3073-byte images"),
        (cut_whole_images, r"training files differ in size: .*'data_batch_3.bin': 10"),
        (wrong_label, r"data_batch_3.bin: the label 11; labels go from 0 to 9"),
        (Path.unlink, r"data_batch_3.bin: cannot be read: it does not exist"),
        (lambda path: path.write_bytes(b""), r"data_batch_3.bin: 0 bytes"),
    ],
)
def test_damaged_binary_files_are_named(tmp_path: Path, damage: Any, message: str) -> None:
    folder = cifar10(tmp_path, "bin")
    damage(folder / "data_batch_3.bin")
    with pytest.raises(DataError, match=message):
        load_data("cifar10", tmp_path)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"labels": [1]}, "no uint8 array 'data' of 3072 columns"),
        ({"labels": [1], "data": np.zeros((1, 3071), np.uint8)}, "no uint8 array 'data' of 3072 columns"),
        ({"labels": [1], "data": np.zeros((1, 3072), np.int64)}, "no uint8 array 'data' of 3072 columns"),
        ({"data": np.zeros((1, 3072), np.uint8)}, "no list of integers 'labels'"),
        ({"labels": [1, 2], "data": np.zeros((1, 3072), np.uint8)}, "1 images, 2 labels"),
        ({"labels": [10], "data": np.zeros((1, 3072), np.uint8)}, "the label 10; labels go from 0 to 9"),
    ],
)
def test_tables_that_are_no_cifar_are_named(tmp_path: Path, table: dict[str, Any], message: str) -> None:
    folder = cifar10(tmp_path, "py2")
    (folder / "test_batch").write_bytes(pickle.dumps(table))
    with pytest.raises(DataError, match=f"test_batch: {message}"):
        load_data("cifar10", tmp_path)


def test_class_names_must_be_as_many_as_classes(tmp_path: Path) -> None:
    folder = cifar10(tmp_path, "bin")
    (folder / "batches.meta.txt").write_text("cat\ndog\n")
    with pytest.raises(DataError, match=r"batches.meta.txt: 2 class names; expected 10"):
        load_data("cifar10", tmp_path)


def test_missing_data_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"cifar10: .* does not hold cifar-10-batches-bin or .*RECONV_DATA.*download=True"
    ):
        load_data("cifar10", tmp_path)


def test_a_failed_download_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*args: Any, **kwargs: Any) -> None:
        assert kwargs["md5"] == "c58f30108f718f92721af3b95e74349a"
        raise OSError("no route to host")

    monkeypatch.setattr("torchvision.datasets.utils.download_and_extract_archive", no_network)
    from reconv.data.cifar import CIFAR10

    with pytest.raises(
        DataError, match=r"not in .* and cannot be downloaded.*no route to host.*cifar-10-python.tar.gz by other"
    ):
        download_if_missing(CIFAR10, tmp_path)
    with pytest.raises(DataError, match="cannot be downloaded"):
        load_data("cifar10", tmp_path / "new", download=True)
    assert not (tmp_path / "new").exists()


@pytest.mark.real_data
def test_the_real_cifar10(data_root: Path) -> None:
    data = load_data("cifar10", data_root)
    assert (len(data.train), len(data.validation), len(data.test)) == (45_000, 5_000, 10_000)
    assert data.class_names[3] == "cat"
    assert data.test.labels[:10].tolist() == [3, 8, 8, 0, 6, 6, 1, 6, 3, 1]
    images = calibration_images(data, 2000)
    # The published deviations are means over images of each image's own, smaller than that over all pixels.
    assert float(images.mean((0, 2, 3)).abs().max()) < 0.05
    assert 1.1 < float(images.std()) < 1.4

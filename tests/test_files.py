"""Files are written whole or not at all, and everything that is wrong with one is said in one line."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reconv import files
from reconv.errors import ArtifactError

TENSORS = {
    "weight": torch.arange(12, dtype=torch.float32).reshape(3, 4).t(),
    "half": torch.ones(2, dtype=torch.bfloat16),
    "count": torch.tensor(7),
    "none": torch.empty(0, 3),
    "mask": torch.tensor([True, False]),
}


def refusal(act: Callable[[], object]) -> str:
    with pytest.raises(ArtifactError) as caught:
        act()
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_tensors_come_back_bit_equal_with_their_metadata(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "tensors.safetensors"
    files.write_tensors(path, TENSORS, {"who": "me"})
    found = files.read_tensors(path)
    assert found.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)
    assert files.read_metadata(path) == {"who": "me"}


def test_tensors_that_share_memory_are_written_each(tmp_path: Path) -> None:
    weight = torch.randn(4, 4)
    files.write_tensors(tmp_path / "t.safetensors", {"a": weight, "b": weight, "row": weight[1]})
    found = files.read_tensors(tmp_path / "t.safetensors")
    assert torch.equal(found["a"], found["b"])
    assert torch.equal(found["row"], weight[1])


def test_read_tensors_outlive_their_file(tmp_path: Path) -> None:
    path = tmp_path / "t.safetensors"
    files.write_tensors(path, {"a": torch.ones(1000)})
    found = files.read_tensors(path)
    path.write_bytes(b"")
    assert found["a"].sum() == 1000


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=8))
def test_json_comes_back(tmp_path_factory: pytest.TempPathFactory, value: Any) -> None:
    path = tmp_path_factory.mktemp("json") / "value.json"
    files.write_json(path, {"value": value})
    assert files.read_json(path) == {"value": value}


def test_json_holds_no_nan(tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        files.write_json(tmp_path / "v.json", float("nan"))
    assert list(tmp_path.iterdir()) == []


def test_toml_keeps_decimal_fractions_exact(tmp_path: Path) -> None:
    path = tmp_path / "t.toml"
    path.write_text("p = 0.6")
    assert files.read_toml(path, parse_float=Decimal) == {"p": Decimal("0.6")}


READERS: dict[str, Callable[[Path], object]] = {
    "bytes": files.read_bytes,
    "json": files.read_json,
    "toml": files.read_toml,
    "tensors": files.read_tensors,
    "metadata": files.read_metadata,
    "sha256": files.sha256_of,
}


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS.keys())
def test_a_missing_file_and_a_folder_are_named(reader: Callable[[Path], object], tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    assert refusal(lambda: reader(missing)) == f"{missing}: cannot be read: it does not exist; check the path."
    assert "it is a folder; give a file" in refusal(lambda: reader(tmp_path))


@pytest.mark.parametrize("length", [0, 5, 8, 40, -1])
def test_truncated_tensors_are_refused(length: int, tmp_path: Path) -> None:
    path = tmp_path / "t.safetensors"
    files.write_tensors(path, TENSORS)
    path.write_bytes(path.read_bytes()[:length])
    assert "not a complete safetensors file" in refusal(lambda: files.read_tensors(path))


def test_json_cut_in_half_says_where(tmp_path: Path) -> None:
    path = tmp_path / "v.json"
    text = json.dumps({"a": [1, 2, 3]}, indent=1)
    path.write_text(text[: len(text) // 2])
    assert "not complete JSON" in refusal(lambda: files.read_json(path))
    assert "line 3" in refusal(lambda: files.read_json(path))


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"\xff\xfe", "not a text file"), (b"[" * 100_000, "nested too deeply"), (b"9" * 5000, "number too long")],
)
def test_hostile_json_is_refused(content: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "v.json"
    path.write_bytes(content)
    assert said in refusal(lambda: files.read_json(path))


def test_broken_toml_says_where(tmp_path: Path) -> None:
    path = tmp_path / "t.toml"
    path.write_text("a = 1\nb = = 2\n")
    assert "line 2" in refusal(lambda: files.read_toml(path))


def nested(kind: str, depth: int) -> str:
    """A text of lists or tables within each other."""
    return {
        "json list": "[" * depth + "]" * depth,
        "json table": '{"a":' * depth + "1" + "}" * depth,
        "toml list": "a = " + "[" * depth + "]" * depth,
        "toml table": "a = " + "{a=" * depth + "1" + "}" * depth,
        "toml key": ".".join("a" * depth) + " = 1",
        "toml quoted key": ".".join(['"a b"'] * depth) + " = 1",
        "toml header": "[" + " . ".join("a" * depth) + "]",
    }[kind]


@pytest.mark.parametrize("depth", [70, 900, 90_000])
@pytest.mark.parametrize(
    "kind", ["json list", "json table", "toml list", "toml table", "toml key", "toml quoted key", "toml header"]
)
def test_depth_is_bounded(kind: str, depth: int, tmp_path: Path) -> None:
    path = tmp_path / "deep"
    path.write_text(nested(kind, depth))
    reader = files.read_json if kind.startswith("json") else files.read_toml
    assert "nested too deeply" in refusal(lambda: reader(path))
    path.write_text(nested(kind, 20))
    assert reader(path)


def test_numbers_in_a_list_are_no_long_key(tmp_path: Path) -> None:
    path = tmp_path / "t.toml"
    path.write_text(f"a = [{', '.join(['0.5'] * 500)}]")
    assert len(files.read_toml(path)["a"]) == 500


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
@pytest.mark.parametrize("reader", READERS.values(), ids=READERS.keys())
@pytest.mark.parametrize("device", [False, True])
def test_a_pipe_or_a_device_is_not_waited_for(reader: Callable[[Path], object], device: bool, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    path = Path("/dev/zero") if device else tmp_path / "pipe"
    assert "it is a pipe or a device; give a file" in refusal(lambda: reader(path))


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS.keys())
def test_more_than_the_memory_is_not_read(
    reader: Callable[[Path], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if reader is files.sha256_of:
        pytest.skip("it is read piece by piece")
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(1 << 40)  # of zeros, which take no space
    assert "bytes, more than" in refusal(lambda: reader(tmp_path / "huge"))


def test_a_zero_byte_in_a_name_is_refused() -> None:
    assert "zero byte" in refusal(lambda: files.read_bytes("a\0b"))
    assert "zero byte" in refusal(lambda: files.write_atomically("a\0b", b""))


@pytest.mark.skipif(os.name == "nt" or sys.platform == "darwin", reason="names are Unicode here")
def test_a_name_that_is_not_unicode_is_written_and_read(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9")
    files.write_json(tmp_path / name, {"name": name})
    assert files.read_json(tmp_path / name) == {"name": name}


def test_a_long_name_is_written(tmp_path: Path) -> None:
    name = "\N{SNOWMAN}" * 80  # of three bytes each
    files.write_atomically(tmp_path / name, b"1")
    assert (tmp_path / name).read_bytes() == b"1"


def test_more_bytes_than_the_limit_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "big"
    path.write_bytes(b"12345")
    assert files.read_bytes(path, limit=5) == b"12345"
    assert "more than 4 bytes" in refusal(lambda: files.read_bytes(path, limit=4))


@pytest.mark.parametrize(
    ("number", "said"),
    [(errno.ENOSPC, "no space left"), (errno.EACCES, "no rights"), (errno.EROFS, "read-only")],
)
def test_a_failed_write_leaves_the_old_file_and_nothing_beside(number: int, said: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    files.write_atomically(path, "old")

    def fail(beside: Path) -> None:
        beside.write_text("half")
        raise OSError(number, os.strerror(number))

    assert said in refusal(lambda: files.write_atomically(path, fail))
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupted_write_leaves_nothing(tmp_path: Path) -> None:
    def interrupt(beside: Path) -> None:
        beside.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        files.write_atomically(tmp_path / "file", interrupt)
    assert list(tmp_path.iterdir()) == []


def test_a_file_has_the_mode_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    files.write_tensors(tmp_path / "ours", TENSORS)
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_writing_through_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "file" in refusal(lambda: files.write_atomically(tmp_path / "file" / "inside", b""))
    assert "it is a folder" in refusal(lambda: files.write_atomically(tmp_path, b""))


def test_a_fingerprint_sees_names_shapes_dtypes_and_bits_but_not_order() -> None:
    whole = files.tensors_fingerprint(TENSORS)
    assert files.tensors_fingerprint(dict(reversed(TENSORS.items()))) == whole
    changed = TENSORS["weight"].clone()
    changed[0, 0] = -0.0
    others = [
        {**TENSORS, "weight": changed},
        {**TENSORS, "weight": TENSORS["weight"].reshape(-1)},
        {**TENSORS, "half": TENSORS["half"].view(torch.int16)},
        {("renamed" if name == "half" else name): tensor for name, tensor in TENSORS.items()},
        {name: tensor for name, tensor in TENSORS.items() if name != "none"},
    ]
    assert len({whole, *map(files.tensors_fingerprint, others)}) == len(others) + 1


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.bool])
def test_a_fingerprint_is_of_values_whatever_the_strides(dtype: torch.dtype) -> None:
    wide = torch.arange(12).reshape(3, 4).to(dtype)
    for view in (wide, wide.T, wide[:, :1], wide[:1, :1], wide[1:2, 3], wide[:0], wide[0, 0]):
        plain = torch.tensor(view.tolist(), dtype=dtype).reshape(view.shape)
        assert files.tensors_fingerprint({"a": view}) == files.tensors_fingerprint({"a": plain})

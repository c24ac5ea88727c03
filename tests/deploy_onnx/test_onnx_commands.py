"""The command line takes an ONNX file in the place of a model's name, and writes one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx_files import saved, small_network
from PIL import Image

from reconv.cli.app import main


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with an ONNX file and some pictures, which is the current one."""
    monkeypatch.chdir(tmp_path)
    saved(small_network(), tmp_path / "net.onnx")
    (tmp_path / "pictures").mkdir()
    rng = np.random.default_rng(0)
    for i in range(12):
        Image.fromarray(rng.integers(0, 255, (8, 8, 3), np.uint8)).save(tmp_path / "pictures" / f"{i}.png")
    return tmp_path


_SHAPES = ("--model-arg", "shapes=[[1,3,8,8]]")


def test_inspect(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "net.onnx", *_SHAPES]) == 0
    assert "Conv_a, Conv_d" in capsys.readouterr().out


@pytest.mark.parametrize("cifar_is_there", [False, True])
def test_prune_and_repair(
    cifar_is_there: bool, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reconv.cli.common.are_there", lambda images: cifar_is_there)  # the data set by default
    words = ["prune", "net.onnx", "--calibration", "pictures", "--budget", "params=0.7", "--save-path", "P", *_SHAPES]
    assert main(words) == 0
    said = capsys.readouterr()
    assert "assumed mean" in said.err
    assert "P/model.onnx" in said.out
    before, after = onnx.load("net.onnx"), onnx.load("P/model.onnx")
    assert after.graph.input == before.graph.input
    count = [sum(int(np.prod(t.dims)) for t in model.graph.initializer) for model in (before, after)]
    assert count[1] < 0.75 * count[0]
    assert main(["inspect", "P/model"]) == 0  # the saved folder knows its file
    assert main(["inspect", "P/model.onnx", *_SHAPES]) == 0


def test_a_damaged_file_is_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "net.onnx").write_bytes(b"nothing")
    for words in (["inspect", "net.onnx"], ["prune", "net.onnx", "--budget", "macs=0.5"], ["inspect", "no.onnx"]):
        assert main(words) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert error.count("\n") == 1

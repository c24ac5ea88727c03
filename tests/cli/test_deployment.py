"""`reconv export` and `reconv benchmark`, and latency in a runtime, from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from cli_call import Call

from reconv import Export, Finetune, Quantize, Repair
from reconv.cli.fields import Given, command
from reconv.compression import Compression

NET = ["resnet20", "--image-size", "8"]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["export", *NET, "--to", "onxx"], "did you mean onnx"),
        (["export", *NET, "--to", "torch", "--opset", "17"], "opset 17, and torch has none"),
        (["export", *NET, "--to", "torch", "--dynamic", "hight"], "did you mean height"),
        (["export", *NET, "--quantize", "int4"], "--quantize int4: only int8 is known"),
        (["export", *NET, "--quantize", "int8"], "no images to calibrate on"),
        (["benchmark", *NET, "--batch", "1,x"], "--batch '1,x'; give whole numbers"),
        (["benchmark", *NET, "--runtime", "onnxruntimes"], "did you mean onnxruntime"),
        (["benchmark", *NET, "--runtime", "command"], "give command:PROGRAM"),
        (["run", "--budget", "latency=0.5", "--runtime", "torhc", "--save-path", "P"], "did you mean torch"),
        (["run", "--latency-threads", "0", "--save-path", "P"], "latency threads: 0; give"),
        (["run", "--min-agreement", "3", "--save-path", "P"], "min_agreement: 3; give a share"),
    ],
)
def test_what_cannot_be_is_one_line(
    words: list[str], text: str, reconv: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    answer = reconv(*words)
    assert answer.code == 2
    *notes, last = answer.err.splitlines()
    assert last.startswith("error: ")
    assert text in last
    assert all(note.startswith("note: ") for note in notes)
    assert not list(tmp_path.iterdir())


def test_a_file_is_written_and_compared(reconv: Call, tmp_path: Path) -> None:
    path = tmp_path / "net.pt2"
    answer = reconv("export", *NET, "--to", "torch", "--save-path", str(path), "--data-set", "digits", "--images", "8")
    assert answer.code == 0, answer.err
    assert "100.0% of predictions identical" in answer.out
    assert "on 8 images" in answer.out
    with path.open("rb") as file:
        assert torch.export.load(file).module()(torch.zeros(3, 1, 8, 8)).shape == (3, 10)


def test_a_benchmark_has_a_row_for_each_combination(reconv: Call, tmp_path: Path) -> None:
    file = tmp_path / "rows.json"
    words = ["--runtime", "torch", "--batch", "1,2", "--threads", "1,2", "--seconds", "0", "--json", str(file)]
    answer = reconv("benchmark", *NET, *words)
    assert answer.code == 0, answer.err
    rows = json.loads(file.read_text())["rows"]
    assert [(row["batch"], row["threads"]) for row in rows] == [(1, 1), (2, 1), (1, 2), (2, 2)]
    assert all(row["latency"]["median"] > 0 for row in rows)


def test_files_are_written_after_the_training_in_whatever_order_they_are_asked_for() -> None:
    taken: list[Compression] = []

    default = Given(Compression())

    def take(compression: Given[Compression] = default) -> None:
        taken.append(compression.build({"after": ["repair", "finetune"]}))

    options = dict.fromkeys(command(take).__signature__.parameters)  # type: ignore[attr-defined]
    given = {"compression__after__quantize__to": "int8", "compression__after__export": True}
    command(take)(**(options | given))
    assert [type(step) for step in taken[0].after] == [Repair, Finetune, Export, Quantize]

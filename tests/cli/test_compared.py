"""Which networks, and whose images, the words after `reconv compare` mean."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from cli_call import Call

from reconv.artifacts import save
from reconv.machine import device_name, versions
from reconv.report import numbers
from reconv.zoo import load_model


def _saved(folder: Path) -> Path:
    torch.manual_seed(0)
    save(load_model("resnet20", in_channels=1), folder)
    return folder


def test_a_file_in_the_current_folder_makes_no_name_a_run(reconv: Call) -> None:
    Path("config.json").write_text("{}")
    answer = reconv("compare", "resnet20", "resnet56")
    assert answer.code == 2
    assert "on which images?" in answer.err
    assert "--data-set" in answer.err


@pytest.mark.parametrize("text", ["{}", "[]", '{"data_set": "digits"}', '{"model": "m", "data_set": 3}', "{", '"a"'])
def test_a_file_that_is_no_configuration_is_named(reconv: Call, text: str) -> None:
    _saved(Path("run/model"))
    Path("run/config.json").write_text(text)
    answer = reconv("compare", "run", "run/model")
    assert answer.code == 2
    assert "run/config.json" in answer.err
    assert "Traceback" not in answer.err


def test_a_path_with_an_equals_sign_is_a_path(reconv: Call) -> None:
    _saved(Path("lr=0.1/run/model"))
    _saved(Path("seed=1"))
    Path("lr=0.1/run/config.json").write_text(json.dumps({"model": "resnet20", "data_set": "digits"}))
    answer = reconv("compare", "lr=0.1/run", "seed=1", "--json", "c.json")
    assert answer.code == 0, answer.err
    found = json.loads(Path("c.json").read_text())
    assert found["p_value"] == 1  # the same weights
    assert f"time: of {found['layer_batch']} images" in answer.out
    answer = reconv("compare", "runs/lr=0.2", "seed=1", "-d", "digits")
    assert answer.code == 2
    assert "runs/lr=0.2" in answer.err


@pytest.mark.parametrize("word", ["runb", "runs/two", "runs/two=W.safetensors", "./resnet20"])
@pytest.mark.parametrize("place", [0, 1])
def test_a_mistyped_folder_is_said_to_be_missing(reconv: Call, word: str, place: int) -> None:
    words = ["resnet20", "resnet20"]
    words[place] = word
    answer = reconv("compare", *words)
    assert answer.code == 2
    assert f"no run or saved model at {word}, and no model of that name" in answer.err
    assert "reconv list models" in answer.err
    assert "timm" not in answer.err


def test_a_mistyped_name_is_offered_its_neighbors(reconv: Call) -> None:
    for word in ("resnet57", "resnet57=W.safetensors"):
        answer = reconv("compare", "resnet20", word)
        assert answer.code == 2
        assert "did you mean resnet56" in answer.err


def test_figures_are_told_with_what_they_were_measured_on(reconv: Call) -> None:
    _saved(Path("one"))
    answer = reconv("compare", "one", "one", "-d", "digits", "--json", "c.json")
    assert answer.code == 0, answer.err
    found = json.loads(Path("c.json").read_text())
    assert found["data_set"] == "digits"
    assert found["versions"] == versions()
    assert found["device"] == device_name(torch.device("cpu"))
    assert found["threads"] == torch.get_num_threads()
    line = next(line for line in answer.out.splitlines() if line.startswith("Latency"))
    assert found["device"] in line
    assert numbers.counted(found["threads"], "thread") in line
    assert found["versions"]["torch"] in line
    for side in ("a", "b"):
        for latency in found[side]["latency"]:
            for end in ("median", "low", "high"):
                assert numbers.duration(latency[end]) in answer.out
    assert "0.00 points [" in answer.out
    assert "within noise" in answer.out

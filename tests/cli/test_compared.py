"""Which networks, and whose images, the words after `reconv compare` mean."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from cli_call import Call

from reconv.artifacts import save
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

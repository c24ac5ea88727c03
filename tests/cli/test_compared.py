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


def _run_on(data_set: str, folder: str, root: str | None = None) -> None:
    _saved(Path(folder) / "model")
    text = json.dumps({"model": "resnet20", "data_set": data_set, "data_root": root})
    (Path(folder) / "config.json").write_text(text)


def test_runs_on_different_images_are_compared_on_those_that_are_given(reconv: Call) -> None:
    _run_on("digits", "one")
    _run_on("CIFAR10", "two")
    answer = reconv("compare", "one", "two")
    assert answer.code == 2
    assert "A is of a run on digits and B is of a run on CIFAR10; give --data-set" in answer.err
    answer = reconv("compare", "one", "two", "--data-set", "digits")
    assert answer.code == 0, answer.err
    assert "compared on digits, although A is of a run on digits and B is of a run on CIFAR10." in answer.err


def test_a_runs_images_are_looked_for_where_it_found_them(reconv: Call) -> None:
    _run_on("CIFAR10", "one", root="nowhere/at/all")
    answer = reconv("compare", "one", "one")
    assert answer.code == 2
    assert "nowhere/at/all" in answer.err
    answer = reconv("compare", "one", "one", "--data-root", "elsewhere")
    assert "elsewhere" in answer.err
    assert "nowhere" not in answer.err


def test_the_network_that_the_images_do_not_fit_is_named(reconv: Call) -> None:
    _run_on("digits", "one")
    save(load_model("resnet20"), Path("colored"))
    answer = reconv("compare", "one", "colored")
    assert answer.code == 2
    assert "B, colored: digits: " in answer.err


def test_it_fits_a_terminal_of_80_columns_and_says_which_is_less(reconv: Call) -> None:
    _saved(Path("a" * 60))
    save(load_model("resnet32", in_channels=1), Path("more"))
    answer = reconv("compare", "a" * 60, "more", "-d", "digits")
    assert answer.code == 0, answer.err
    for line in answer.out.splitlines():
        assert len(line.rstrip()) <= 80 or line.startswith(("A: ", "B: ", "Latency", "Accuracy")), line
    macs = next(line for line in answer.out.splitlines() if "MACs per image" in line)
    assert macs.rstrip().endswith("× more")


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

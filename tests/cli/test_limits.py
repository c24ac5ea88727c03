"""Limits, rescalings and budgets on the command line, and what `inspect` says of every group."""

from __future__ import annotations

import re
from typing import Any

import pytest
from cli_call import Call

from reconv.errors import ConfigError
from reconv.steps import Finetune, Repair


@pytest.mark.parametrize(
    ("words", "texts"),
    [
        (["--minimum", "0"], ["minimum=0", "at least 1"]),
        (["--multiple", "-8"], ["multiple=-8", "at least 1"]),
        (["--limit", "layer3.*"], ["layer3.*", "name=value"]),
        (["--limit", "layer3.*=2"], ["layer3.*=2", "between 0 and 1"]),
        (["--exclude", "layr3.*"], ["layr3.*", "not known"]),
        (["--rescale", "men", "--scheme", "global"], ["men", "mean"]),
        (["--rescale", "max"], ["rescale: max", "uniform"]),
        (["--prune-cfg", "1", "--multiple", "8"], ["limits", "budget"]),
        (["--budget", "latency=3"], ["latency=3", "unit"]),
        (["--budget", "size=1kB"], ["size", "have to stay", "ask for"]),
        (["--budget", "memory=0.01"], ["memory=0.01", "have to stay", "nothing that may go lowers it"]),
    ],
)
def test_run_refuses(words: list[str], texts: list[str], reconv: Call) -> None:
    answer = reconv("run", *words)
    assert answer.code == 2
    told = [line for line in answer.err.splitlines() if line.startswith("error: ")]
    assert len(told) == 1, answer.err
    for text in texts:
        assert text in told[0], (text, told[0])


def test_inspect_with_a_budget_says_asked_given_and_why(reconv: Call) -> None:
    answer = reconv("inspect", "resnet20", "--budget", "macs=0.6", "--exclude", "layer2.*", "--multiple", "4")
    assert answer.code == 0, answer.err
    text = answer.out
    assert re.search(r"MACs +40,\d{3},\d{3} -> +2\d,\d{3},\d{3}", text)
    assert re.search(r"memory +\d[\d,]+ -> +\d[\d,]+ bytes", text)
    assert re.search(r"layer2\.0\.conv1: 32 -> 32 \(requested \d+\)  excluded \(layer2\.\*\)", text)
    assert "network output (classifier)" in text
    assert "residual stream" in text


def test_a_model_is_given_once(reconv: Call) -> None:
    assert "no model" in reconv("inspect").err
    answer = reconv("inspect", "resnet20", "--model", "resnet56")
    assert answer.code == 2
    assert "model: resnet20 and, by --model, resnet56; give one of them" in answer.err


def _steps(reconv: Call, monkeypatch: pytest.MonkeyPatch, command: str, data_set: str) -> list[type]:
    """What a command would do after pruning."""
    kinds: list[type] = []

    def caught(request: Any, *_: Any, **__: Any) -> None:
        kinds.extend(type(step) for step in request.compression.after)
        raise ConfigError("caught")

    monkeypatch.setattr("reconv.cli.common.run", caught)
    answer = reconv(command, "resnet20", "--weights", "W.pth", "--data-set", data_set, "--budget", "macs=0.5")
    assert "caught" in answer.err
    return kinds


@pytest.mark.parametrize(
    ("data_set", "trains"), [("imagenet", False), ("ImageNet", False), ("image-net", False), ("CIFAR10", True)]
)
def test_prune_leaves_the_fine_tuning_of_imagenet_to_its_own_command(
    data_set: str, trains: bool, reconv: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (Finetune in _steps(reconv, monkeypatch, "prune", data_set)) is trains


@pytest.mark.parametrize("data_set", ["ImageNet", "CIFAR10"])
def test_a_run_repairs_whatever_the_size_of_the_images(
    data_set: str, reconv: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Repair in _steps(reconv, monkeypatch, "run", data_set)

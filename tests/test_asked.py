"""What a run was asked, as its report tells it."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
import torch

from reconv.data import load_data
from reconv.graph import trace
from reconv.pipeline import Cut, RunConfig, Schooling
from reconv.pipeline.asked import asked
from reconv.plan import Budget, Limits, Plan, choose
from reconv.saliency import score
from reconv.training import load_protocol
from reconv.zoo import load_model


@pytest.fixture(scope="module")
def plan() -> Plan:
    graph = trace(load_model("resnet20", in_channels=1), torch.zeros(1, 1, 8, 8))
    return choose(graph, score(graph, "l1"), Budget(macs=0.5))


@pytest.mark.parametrize(
    ("budget", "text"),
    [
        (Budget(macs=0.5), "at most 50 % of the MACs"),
        (Budget(macs=60e6), "at most 60,000,000 MACs"),
        (Budget(params=0.255, memory=0.7), "at most 25.5 % of the parameters and 70 % of the memory"),
        (Budget(size=45_000), "at most 45,000 bytes of file"),
        (Budget(latency=1500), "at most 1.5 ms of latency"),
    ],
)
def test_a_budget_is_told_in_words(budget: Budget, text: str, plan: Plan) -> None:
    assert asked(RunConfig(cut=Cut("l1", budget=budget)), plan)["amount"] == text


@pytest.mark.parametrize(
    ("changes", "name", "text"),
    [
        ({"rounds": 3, "between": Schooling("short", 2)}, "rounds", "3, protocol short, 2 epochs between them"),
        ({"recalibrate": 2000}, "BatchNorm", "statistics of 2,000 training images"),
        (
            {"finetune": Schooling("short", 1, teacher="base")},
            "fine-tuning",
            "protocol short, 1 epoch, taught by the network before the cut",
        ),
        (
            {"finetune": Schooling("short", 1, 32, {"ema": 0.9})},
            "fine-tuning",
            "protocol short, 1 epoch, batches of 32, ema=0.9",
        ),
        ({"base": Schooling("default", 1)}, "base training", "protocol digits, 1 epoch"),
        ({"verify": False}, "proof", "left out"),
        ({"arguments": {"shortcut": "stride"}}, "network", "resnet20, shortcut stride, trained here"),
        ({"finetune": Schooling("short", 0)}, "fine-tuning", "none"),
    ],
)
def test_what_is_not_as_by_default_is_told(changes: dict[str, Any], name: str, text: str, plan: Plan) -> None:
    config = RunConfig(cut=Cut("l1", budget=Budget(macs=0.5)))
    assert asked(config, plan).get(name) != text
    assert asked(replace(config, **changes), plan)[name] == text


@pytest.mark.parametrize("data_set", ["digits", "CIFAR10"])
def test_a_protocol_is_told_by_its_own_name(data_set: str, plan: Plan) -> None:
    config = RunConfig(cut=Cut("l1", budget=Budget(macs=0.5)), data_set=data_set)
    known = load_protocol("default-finetune", data_set)
    assert asked(config, plan)["fine-tuning"] == f"protocol {known.name}, {known.epochs} epochs"


def test_images_are_told_with_their_number_and_classes(plan: Plan) -> None:
    data = load_data("digits")
    text = asked(RunConfig(), plan, data)["images"]
    for number in (data.num_classes, len(data.train), len(data.validation), len(data.test)):
        assert re.search(rf"\b{number:,} ", text)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("l1", "l1"),
        ("l1, reversed", "l1, reversed: the lowest scores stay, a control"),
        ("l1, backward", "l1, of the kernels that read a channel (backward)"),
    ],
)
def test_a_criterion_is_told_with_what_was_turned_round(words: str, text: str, plan: Plan) -> None:
    assert asked(RunConfig(), replace(plan, criterion=words))["criterion"] == text


def test_limits_and_streams_are_told(plan: Plan) -> None:
    limits = Limits(minimum=4, multiple=8, most={"layer3.*": 0.25, "conv1": 0.0})
    told = asked(RunConfig(cut=Cut("l1", budget=Budget(macs=0.5), limits=limits, coupled=True)), plan)
    assert told["limits"] == (
        "at least 4 channels a layer, multiples of 8, at most 25 % of layer3.* may go, conv1 left whole"
    )
    assert told["scheme"] == "uniform: the same share of every layer, residual streams too"
    assert "limits" not in asked(RunConfig(cut=Cut("l1", budget=Budget(macs=0.5))), plan)


def test_a_protocol_is_of_the_images_wherever_they_lie(plan: Plan) -> None:
    told = asked(RunConfig(data_set="some/where/else"), plan, load_data("digits"))
    assert told["fine-tuning"].startswith("protocol digits-finetune")

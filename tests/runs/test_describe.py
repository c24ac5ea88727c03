"""What a compression was asked for, as its report says it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from reconv.compression import Compression
from reconv.graph import trace
from reconv.plan import Budget, Limits, Plan, choose
from reconv.results.describe import describe, describe_scores
from reconv.saliency import Criterion, score
from reconv.steps import Export, Finetune, Recalibrate, Repair
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
    assert describe(Compression(budget=budget), plan, "digits")["amount"] == text


@pytest.mark.parametrize(
    ("changes", "name", "text"),
    [
        ({"rounds": 3, "between": Finetune("short", 2)}, "rounds", "3, protocol short, 2 epochs between them"),
        ({"after": (Recalibrate(2000),)}, "BatchNorm", "statistics of 2,000 images (training)"),
        ({"after": ()}, "repair", "none"),
        ({"images": 300}, "repair", "on 300 images (training)"),
        ({"after": (Repair(50),), "calibration": "leaves"}, "repair", "on 50 images (leaves)"),
        (
            {"after": (Finetune("short", 1, teacher="base"),)},
            "fine-tuning",
            "protocol short, 1 epoch, taught by the network before pruning",
        ),
        (
            {"after": (Finetune("short", 1, 32, {"ema": 0.9}),)},
            "fine-tuning",
            "protocol short, 1 epoch, batches of 32, ema=0.9",
        ),
        ({"verify": False}, "proof", "left out"),
        ({"scheme": "global", "rescale": "rank"}, "rescale", "rank"),
        ({"after": (Export("net.pt2", to="torch"),)}, "export", "net.pt2, to=torch"),
        ({"after": (Finetune("short", 0),)}, "fine-tuning", "none"),
    ],
)
def test_what_is_not_as_by_default_is_described(changes: dict[str, Any], name: str, text: str, plan: Plan) -> None:
    assert describe(Compression(), plan, "digits").get(name) != text
    assert describe(Compression(**changes), plan, "digits")[name] == text


@pytest.mark.parametrize("data_set", ["digits", "CIFAR10"])
def test_a_protocol_has_its_own_name(data_set: str, plan: Plan) -> None:
    known = load_protocol("default-finetune", data_set)
    text = describe(Compression(after=(Finetune(),)), plan, data_set)["fine-tuning"]
    assert text == f"protocol {known.name}, {known.epochs} epochs"


def test_after_a_repair_the_network_before_pruning_teaches(plan: Plan) -> None:
    text = describe(Compression(), plan, "CIFAR10")["fine-tuning"]
    assert text == "protocol after-repair, 5 epochs, taught by the network before pruning"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("l1", "l1"),
        ("l1, reversed", "l1, reversed: the lowest scores stay, a control"),
        ("l1, backward", "l1, of the kernels that read a channel (backward)"),
    ],
)
def test_a_criterion_is_told_with_what_was_turned_round(words: str, text: str, plan: Plan) -> None:
    assert describe(Compression(), replace(plan, criterion=words), "digits")["criterion"] == text


def test_limits_and_streams_are_told(plan: Plan) -> None:
    limits = Limits(minimum=4, multiple=8, most={"layer3.*": 0.25, "conv1": 0.0})
    settings = describe(Compression(limits=limits, coupled=True), plan, "digits")
    assert settings["limits"] == (
        "at least 4 channels per layer, multiples of 8, at most 25 % of layer3.* may go, conv1 left unpruned"
    )
    assert settings["scheme"] == "uniform: the same share of every layer, residual streams too"
    assert "limits" not in describe(Compression(), plan, "digits")


@pytest.mark.parametrize("name", [row.name for row in Criterion.registry])
def test_every_criterion_says_what_it_is_and_where_from(name: str) -> None:
    text = describe_scores(name)
    assert text != name
    assert "that matrix" not in text  # it stands by itself
    assert "their squares" not in text
    images = {"reconstruction", "activation", "taylor", "obd_c"}
    source = "from images" if name in images else "drawn by the seed" if name == "random" else "from the weights"
    assert text.endswith(source)


def test_a_direction_and_a_file_are_told() -> None:
    assert "of the kernels that read the channel" in describe_scores("l1, backward")
    assert describe_scores("l1", "F.safetensors").endswith("read from F.safetensors")
    assert describe_scores("someone's own") == "someone's own; no unit, computed from the weights"

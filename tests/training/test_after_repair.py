"""Training that stays near where it begins."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from reconv.steps import Finetune
from reconv.study import Arm, Cell, Network
from reconv.training import load_protocol, train
from reconv.training.evaluation import Evaluation
from reconv.training.protocol import LATER_KEYS, Protocol


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2)
    )


def data() -> dict[str, Any]:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(160, 1, 8, 8, generator=generator)
    labels = (images.mean((1, 2, 3)) > 0).long()
    return {"train": (images[:128], labels[:128]), "validation": (images[128:], labels[128:])}


def protocol(**changes: Any) -> Protocol:
    return Protocol(epochs=2, learning_rate=0.05, batch_size=32, channels_last=False, **changes)


def distance(a: nn.Module, b: nn.Module) -> float:
    pairs = zip(a.parameters(), b.parameters(), strict=True)
    return float(sum((x - y).square().sum() for x, y in pairs).detach())


def test_decay_to_the_start_pulls_there_and_zero_decay_is_none() -> None:
    free = train(net(), data(), protocol(weight_decay=0.0)).model
    pulled = train(net(), data(), protocol(weight_decay=5.0, decay_to_start=True)).model
    assert distance(pulled, net()) < 0.2 * distance(free, net())
    unpulled = train(net(), data(), protocol(weight_decay=0.0, decay_to_start=True)).model
    assert distance(unpulled, free) == 0


def test_frozen_norms_keep_their_statistics() -> None:
    start = net()
    start[1].running_mean.fill_(0.25)
    frozen = train(start, data(), protocol(frozen_norms=True)).model
    moved = train(start, data(), protocol()).model
    assert torch.equal(frozen[1].running_mean, start[1].running_mean)
    assert not torch.equal(moved[1].running_mean, start[1].running_mean)
    assert not torch.equal(frozen[0].weight, start[0].weight)


def test_the_start_comes_back_where_training_lost() -> None:
    good = train(net(), data(), Protocol(20, 0.05, batch_size=32)).model
    ruined = train(good, data(), Protocol(1, 50.0, batch_size=32, keep_start=True, clip_norm=1.0))
    assert ruined.kept_start
    assert distance(ruined.model, good) == 0
    improved = train(net(), data(), Protocol(20, 0.05, batch_size=32, keep_start=True))
    assert not improved.kept_start
    assert distance(improved.model, good) == 0


@pytest.mark.parametrize(
    ("first", "second", "higher", "better"),
    [
        ((0.9, 1.0), (0.8, 0.5), True, True),
        ((0.9, 1.0), (0.9, 0.5), True, False),
        ((0.2, 1.0), (0.3, 1.0), False, True),
    ],
)
def test_which_figures_are_better(
    first: tuple[float, float], second: tuple[float, float], higher: bool, better: bool
) -> None:
    one, two = (Evaluation(top1, 1.0, loss, 10) for top1, loss in (first, second))
    assert one.is_better_than(two, higher=higher) is better


def test_without_accuracies_the_loss_decides() -> None:
    one, two = (Evaluation(float("nan"), float("nan"), loss, 10) for loss in (0.5, 0.6))
    assert one.is_better_than(two)
    assert not two.is_better_than(one)


def test_keys_added_later_do_not_change_what_a_cell_is() -> None:
    network = Network("net", "resnet20", None, {}, "digits", None, "f" * 64, "l" * 64)
    cell = Cell(network, "l1", "macs=0.5", "uniform", Arm("trained", (Finetune("short"),)))
    trained = cell.identity["arm"]["protocol"]
    assert not set(LATER_KEYS) & set(trained)
    after = Cell(network, "l1", "macs=0.5", "uniform", Arm("trained", (Finetune("after-repair"),)))
    assert after.identity["arm"]["protocol"]["keep_start"] is True


def test_the_protocol_after_a_repair_is_taught_by_the_network_before() -> None:
    assert load_protocol("after-repair").base_teaches
    assert "taught by the network before pruning" in Finetune("after-repair").text("cifar10")

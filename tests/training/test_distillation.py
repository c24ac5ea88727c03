"""Learning from a teacher: outputs of any form, features, and without labels."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from reconv import Budget, Compression, Finetune, Repair, compress
from reconv.compression import AFTER
from reconv.errors import ConfigError, DataError
from reconv.training import Protocol, Session, train
from reconv.training.distillation import Teacher, output_distance, shortened_layers
from reconv.training.divergence import measure_divergence
from reconv.training.evaluation import placed

QUIET = Session(progress=False)


class TwoHeads(nn.Module):
    """Boxes and a mask."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, width, 3, padding=1)
        self.second = nn.Conv2d(width, 4, 3, padding=1)
        self.boxes = nn.Conv2d(4, 2, 1)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        features = self.second(self.first(images).relu()).relu()
        return {"boxes": self.boxes(features), "mask": features.mean(1)}


def networks(width: int = 3) -> tuple[nn.Module, nn.Module]:
    """A teacher, and a network with fewer channels inside."""
    torch.manual_seed(0)
    return TwoHeads(8), TwoHeads(width)


def images(number: int = 96) -> Tensor:
    return torch.randn(number, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def protocol(**changes: Any) -> Protocol:
    return Protocol(**({"epochs": 10, "learning_rate": 0.05, "batch_size": 32, "weight_decay": 0.0} | changes))


def test_the_distance_of_scores_is_kl_and_of_other_outputs_the_relative_square() -> None:
    a, b, labels = torch.randn(6, 4), torch.randn(6, 4), torch.zeros(6, dtype=torch.long)
    p, q = (torch.softmax(x / 2, 1) for x in (b, a))
    torch.testing.assert_close(output_distance(a, b, labels, 2.0), 4 * (p * (p / q).log()).sum(1).mean())
    maps = torch.randn(2, 6, 3, 5, 5)
    expected = (maps[0] - maps[1]).square().sum() / maps[1].square().sum()
    torch.testing.assert_close(output_distance({"m": maps[0]}, {"m": maps[1]}, labels, 2.0), expected)
    assert output_distance({"m": maps[1]}, {"m": maps[1]}, labels, 2.0) == 0
    with pytest.raises(ConfigError, match=r"it gives a \(6, 4\), and the network in training b"):
        output_distance({"b": maps[1]}, {"a": a}, labels, 2.0)


def test_without_labels_every_output_comes_nearer_to_the_teachers() -> None:
    teacher, pupil = networks()
    data = {"train": images(), "validation": images(32)}
    trained = train(pupil, data, protocol(learning_rate=0.01), teacher=teacher, labels=False, session=QUIET)
    from reconv.data import as_data_set

    before, after = (
        measure_divergence(teacher, net, as_data_set(data), "validation") for net in (pupil, trained.model)
    )
    assert all(after.outputs[name] < 0.7 * before.outputs[name] for name in ("boxes", "mask"))
    last = trained.history[-1].validation
    assert last is not None
    assert last.metric_name == "agreement"
    assert last.metric == pytest.approx(after.identical)


def test_features_are_those_of_layers_that_lost_inputs() -> None:
    teacher, pupil = networks()
    assert shortened_layers(teacher, pupil) == ["second"]
    both = Teacher(teacher, pupil, torch.device("cpu"), features=True)
    batch = images(4)
    pupil(batch)
    both.outputs(batch)
    s, t = pupil.second(pupil.first(batch).relu()), teacher.second(teacher.first(batch).relu())
    expected = (s - t).square().sum() / t.square().sum()
    torch.testing.assert_close(both.feature_distance(), expected)
    with pytest.raises(ConfigError, match="feature_distillation"):
        Teacher(teacher, teacher, torch.device("cpu"), features=True)


def test_features_are_learned() -> None:
    teacher, pupil = networks()

    def distance(features: float) -> float:
        keys = protocol(feature_distillation=features, learning_rate=0.02)
        trained = train(pupil, images(), keys, teacher=teacher, labels=False, session=QUIET).model
        both = Teacher(teacher, trained, torch.device("cpu"), features=True)
        trained(images())
        both.outputs(images())
        return float(both.feature_distance().detach())

    assert distance(5.0) < 0.9 * distance(0.0)


def test_labels_are_not_read() -> None:
    teacher, pupil = networks()
    results = [
        train(pupil, (images(), targets), protocol(epochs=1), teacher=teacher, labels=False, session=QUIET).model
        for targets in (torch.zeros(96, dtype=torch.long), torch.arange(96))
    ]
    assert all(torch.equal(a, b) for a, b in zip(*(net.parameters() for net in results), strict=True))


def test_what_is_missing_without_labels_is_said() -> None:
    teacher, pupil = networks()
    with pytest.raises(DataError, match="labels=False"):
        train(pupil, images(), protocol(), teacher=teacher, session=QUIET)
    with pytest.raises(ConfigError, match="there is no teacher"):
        train(pupil, images(), protocol(), labels=False, session=QUIET)
    with pytest.raises(ConfigError, match="a loss compares"):
        train(pupil, images(), protocol(), teacher=teacher, labels=False, loss=lambda o, t: o.sum(), session=QUIET)


def test_a_compression_trains_on_images_alone_if_asked_to() -> None:
    teacher, _ = networks()
    steps = (Repair(), Finetune("after-repair", epochs=1, labels=False))
    result = compress(teacher, images(), Compression(budget=Budget(macs=0.5), images=32, after=steps))
    assert result.model.first.out_channels < 8
    trained, repaired = (
        compress(teacher, images(), Compression(budget=Budget(macs=0.5), images=32, after=after)).model
        for after in (steps, steps[:1])
    )
    assert not torch.equal(trained.first.weight, repaired.first.weight)


def test_the_default_protocol_follows_a_repair() -> None:
    assert Compression().after == AFTER
    assert Compression(after=(Finetune(),)).after == (Finetune("default-finetune"),)
    assert Compression(after=(Finetune(), Repair())).after[0] == Finetune("default-finetune")
    assert Compression(after=(Repair(), Finetune(epochs=3))).after[1] == Finetune("default-after-repair", epochs=3)
    assert Compression(after=(Repair(), Finetune("short"))).after[1] == Finetune("short")


def test_a_network_for_another_device_is_a_copy() -> None:
    network = networks()[0]
    there = placed(network, torch.device("meta"))
    assert all(parameter.is_meta for parameter in there.parameters())
    assert not any(parameter.is_meta for parameter in network.parameters())
    assert placed(network, torch.device("cpu")) is network

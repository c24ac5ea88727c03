"""A net, a data set and a protocol so small that a training takes a blink."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from reconv.data import DataSet, TensorSplit
from reconv.provenance import Normalization
from reconv.training import Protocol, Session

QUIET = Session(device="cpu", progress=False)


class Tiny(nn.Module):
    """Two convolutions, BatchNorm, dropout, a linear layer."""

    def __init__(self, classes: int = 3, channels: int = 1, dropout: float = 0.1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 4, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(4)
        self.conv2 = nn.Conv2d(4, 8, 3, stride=2, padding=1)
        self.bn2 = nn.BatchNorm2d(8)
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(8, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.bn1(self.conv1(x)))
        x = torch.relu(self.bn2(self.conv2(x)))
        return self.linear(self.dropout(x.mean((2, 3))))


def tiny_net(**arguments: Any) -> Tiny:
    torch.manual_seed(7)
    return Tiny(**arguments)


def split(n: int, seed: int) -> TensorSplit:
    """Noise, brighter in the row that is the label's."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 3
    images = torch.randint(0, 120, (n, 1, 6, 6), generator=random)
    images[torch.arange(n), 0, labels * 2] += 130
    return TensorSplit(images.to(torch.uint8), labels)


def tiny_data(train: int = 48, validation: int = 12) -> DataSet:
    return DataSet(
        name="rows",
        class_names=("top", "middle", "bottom"),
        input_size=(1, 6, 6),
        normalization=Normalization((0.3,), (0.25,)),
        train=split(train, 1),
        validation=split(validation, 2),
        test=split(30, 3),
    )


def protocol(**keys: Any) -> Protocol:
    values: dict[str, Any] = {"epochs": 2, "learning_rate": 0.05, "batch_size": 16, "padding": 1}
    return Protocol(**(values | keys))


def assert_same_weights(one: nn.Module, other: nn.Module) -> None:
    """Bit by bit."""
    a, b = one.state_dict(), other.state_dict()
    assert a.keys() == b.keys()
    different = [name for name in a if not torch.equal(a[name], b[name])]
    assert not different

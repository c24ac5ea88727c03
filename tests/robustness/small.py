"""A network and images so small that a whole run takes a second, by name, for attacks on whole commands."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from reconv.artifacts import save
from reconv.data import DataSet, TensorSplit
from reconv.data.sources import DataSource, LoadOptions
from reconv.provenance import ModelSpec, Normalization, Provenance, attach
from reconv.registry import register
from reconv.zoo import ModelSource

NET, IMAGES = "small:net", "stripes"
SIDE = 8


class SmallNet(nn.Module):
    """Three convolutions with BatchNorm, and a linear layer."""

    def __init__(self, num_classes: int = 3, in_channels: int = 1, width: int = 6) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(2 * width)
        self.conv3 = nn.Conv2d(2 * width, 2 * width, 3, padding=1)
        self.linear = nn.Linear(2 * width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.bn1(self.conv1(x)))
        x = torch.relu(self.bn2(self.conv2(x)))
        return self.linear(torch.relu(self.conv3(x)).mean((2, 3)))


def _split(n: int, seed: int) -> TensorSplit:
    """Noise, brighter in the rows that are the label's."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 3
    images = torch.randint(0, 120, (n, 1, SIDE, SIDE), generator=random)
    images[torch.arange(n), 0, labels * 2] += 130
    return TensorSplit(images.to(torch.uint8), labels)


def _load(options: LoadOptions) -> DataSet:
    normalization = Normalization((0.3,), (0.25,))
    splits = _split(96, 1), _split(24, 2), _split(30, 3)
    return DataSet(IMAGES, ("top", "middle", "bottom"), (1, SIDE, SIDE), normalization, *splits)


def _build(name: str, arguments: Mapping[str, Any]) -> nn.Module:
    return SmallNet(**arguments)


def register_small() -> None:
    """Let commands know network and images by their names."""
    register(ModelSource("small", "a small network", _build, lambda: ["net"], channels="in_channels"))
    register(DataSource(IMAGES, "stripes", _load, input_size=(1, SIDE, SIDE), num_classes=3))


def network(seed: int, **arguments: Any) -> nn.Module:
    """The network, whose batch statistics differ from those of a fresh one."""
    torch.manual_seed(seed)
    net = SmallNet(**arguments)
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean += torch.randn_like(module.running_mean) / 10  # type: ignore[arg-type, operator]
                module.weight += torch.rand_like(module.weight)
    return attach(net.eval(), Provenance(spec=ModelSpec(NET, arguments), normalization=Normalization((0.3,), (0.25,))))


def saved(folder: Path, seed: int) -> Path:
    """The network as a saved model."""
    save(network(seed), folder, overwrite=True)
    return folder

"""Networks whose costs close circles, for tests of the solver."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Circle(nn.Module):
    """Three groups, each joined to both others by a layer: products that close a circle.

    Args:
        a, b, c: how many channels each group has.
    """

    def __init__(self, a: int, b: int, c: int) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(2, a, 1), nn.Conv2d(a, b, 1)
        self.c, self.end = nn.Conv2d(a + b, c, 1), nn.Conv2d(c, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = F.relu(self.a(x))
        return self.end(F.relu(self.c(torch.cat([a, F.relu(self.b(a))], 1))))


class Dense(nn.Module):
    """Every layer reads all those before it: each two groups are joined.

    Args:
        widths: how many channels each group has.
    """

    def __init__(self, *widths: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(2 + sum(widths[:i]), n, 1) for i, n in enumerate(widths))
        self.end = nn.Conv2d(2 + sum(widths), 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.cat([x, F.relu(layer(x))], 1)
        return self.end(x)

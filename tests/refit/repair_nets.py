"""Small networks, one for each way in which layers meet."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def settled(model: nn.Module) -> nn.Module:
    """In float64 and evaluation mode, with every BatchNorm away from its start."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
            if module.affine:
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, 0, 0.3)
    return model.double().eval()


class Plain(nn.Module):
    """Convolutions with BatchNorm, with a bias, with neither, then a flattened map into linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.b = nn.Conv2d(8, 8, 3, stride=2, dilation=2, padding=2)
        self.c = nn.Conv2d(8, 6, 1, bias=False)
        self.d = nn.Linear(6 * 16, 12)
        self.e = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.b(F.relu(self.norm(self.a(x)))), inplace=True)
        return self.e(F.relu6(self.d(self.c(x).flatten(1))))


class Residual(nn.Module):
    """A block with an identity and one with a projection that runs after the branch."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.a = nn.Conv2d(8, 10, 3, padding=1, bias=False)
        self.na = nn.BatchNorm2d(10)
        self.b = nn.Conv2d(10, 8, 3, padding=1, bias=False)
        self.nb = nn.BatchNorm2d(8)
        self.c = nn.Conv2d(8, 10, 3, stride=2, padding=1, bias=False)
        self.nc = nn.BatchNorm2d(10)
        self.d = nn.Conv2d(10, 12, 3, padding=1, bias=False)
        self.nd = nn.BatchNorm2d(12)
        self.project = nn.Sequential(nn.Conv2d(8, 12, 1, stride=2, bias=False), nn.BatchNorm2d(12))
        self.head = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        y = self.nb(self.b(F.relu(self.na(self.a(x)))))
        y += x
        x = F.relu(y, inplace=True)
        y = self.nd(self.d(F.relu(self.nc(self.c(x)))))
        return self.head(F.relu(y + self.project(x)).mean((2, 3)))


class Preactivated(nn.Module):
    """A residual stream without activations of its own: its sums are read by a BatchNorm and by the next sum."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.na, self.nb, self.n = nn.BatchNorm2d(8), nn.BatchNorm2d(8), nn.BatchNorm2d(8)
        self.a, self.b = nn.Conv2d(8, 10, 3, padding=1), nn.Conv2d(10, 8, 3, padding=1)
        self.c, self.d = nn.Conv2d(8, 10, 3, padding=1), nn.Conv2d(10, 8, 3, padding=1)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + self.b(F.relu(self.a(F.relu(self.na(x)))))
        x = x + self.d(F.relu(self.c(F.relu(self.nb(x)))))
        return self.head(F.relu(self.n(x)).mean((2, 3)))


class Dense(nn.Module):
    """Concatenations, and a layer that reads two others."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(3, 7, 3, padding=1)
        self.c = nn.Conv2d(13, 8, 3, padding=1)
        self.d = nn.Conv2d(21, 8, 1)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(torch.cat([self.a(x), self.b(x)], 1))
        x = torch.cat([x, F.relu(self.c(x))], 1)
        return self.head(F.relu(self.d(x)).mean((2, 3)))


class Grouped(nn.Module):
    """A grouped convolution and a depthwise one between pointwise ones."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.na = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.g, self.ng = nn.Conv2d(8, 12, 3, padding=1, groups=2, bias=False), nn.BatchNorm2d(12)
        self.p = nn.Conv2d(12, 10, 1)
        self.dw, self.nd = nn.Conv2d(10, 10, 3, padding=1, groups=10, bias=False), nn.BatchNorm2d(10)
        self.q = nn.Conv2d(10, 6, 1)
        self.head = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.ng(self.g(F.relu(self.na(self.a(x))))))
        x = F.relu6(self.nd(self.dw(F.relu(self.p(x)))))
        return self.head(F.relu(self.q(x)).mean((2, 3)))


class Bottlenecks(nn.Module):
    """Linear bottlenecks: a sum that a single layer reads, and layers without an activation between them."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.a, self.b, self.nb = nn.Conv2d(6, 10, 1), nn.Conv2d(10, 6, 1, bias=False), nn.BatchNorm2d(6)
        self.c, self.d = nn.Conv2d(6, 10, 1), nn.Conv2d(10, 5, 1)
        self.e = nn.Conv2d(5, 7, 3)
        self.head = nn.Linear(7, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + self.nb(self.b(F.relu6(self.a(x))))
        return self.head(F.silu(self.e(self.d(F.relu6(self.c(x))))).mean((2, 3)))


class Upsampling(nn.Module):
    """A transposed convolution, and convolutions along one axis."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.t = nn.ConvTranspose2d(8, 6, 3, stride=2, padding=1, output_padding=1)
        self.b = nn.Conv2d(6, 6, (1, 3), padding="same")
        self.line = nn.Conv1d(6, 7, 5, padding=2)
        self.head = nn.Linear(7, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.b(F.relu(self.t(F.relu(self.a(x))))))
        return self.head(F.relu(self.line(x.flatten(2))).mean(2))


class Shared(nn.Module):
    """A convolution that is used twice, and one whose BatchNorm is."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 1)
        self.norm = nn.BatchNorm2d(8)
        self.d = nn.Conv2d(8, 10, 1)
        self.head = nn.Linear(10, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.a(x)))
        x = F.relu(self.b(F.relu(self.b(x))))
        x = F.relu(self.norm(self.c(x)))
        return self.head(F.relu(self.d(x)).mean((2, 3)))


EXAMPLE = torch.zeros(1, 3, 8, 8, dtype=torch.float64)
NETS: dict[str, Callable[[], nn.Module]] = {
    kind.__name__: kind for kind in (Plain, Residual, Preactivated, Dense, Grouped, Bottlenecks, Upsampling, Shared)
}


def images(n: int = 48, size: int = 8, seed: int = 0) -> Tensor:
    """Smooth random images, so that neighbors are alike as in photographs."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(n, 3, size, size, generator=generator, dtype=torch.float64)
    return noise + F.avg_pool2d(F.pad(noise, (2, 2, 2, 2), mode="circular"), 5, 1) * 5

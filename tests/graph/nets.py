"""Tiny networks, each with one thing that is hard to follow."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Net(nn.Module):
    """Layers by name, and a function of them and the input as the forward pass."""

    def __init__(self, forward: Callable[..., object], **layers: nn.Module) -> None:
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)
        self._forward = forward

    def forward(self, *args: Tensor, **kwargs: Tensor) -> object:
        return self._forward(self, *args, **kwargs)


def conv(a: int, b: int, k: int = 3, **options: object) -> nn.Conv2d:
    return nn.Conv2d(a, b, k, padding=k // 2, **options)  # type: ignore[arg-type]


def head(x: Tensor) -> Tensor:
    return x.mean((2, 3))


def cat() -> Net:
    return Net(
        lambda m, x: head(m.end(F.relu(m.norm(torch.cat([m.a(x), m.b(x), m.a(x)], 1))))),
        a=conv(3, 6), b=conv(3, 10), norm=nn.BatchNorm2d(22), end=conv(22, 4),
    )  # fmt: skip


def concatenated_slices_of_sums() -> Net:
    def forward(m: Net, x: Tensor) -> Tensor:
        y = m.a(x) + m.b(x)
        return head(m.end(torch.cat([y[:, :6], m.c(x)], 1)) * y[:, 6:].mean())

    return Net(forward, a=conv(3, 12), b=conv(3, 12), c=conv(3, 6), end=conv(12, 4))


def spatial_slices() -> Net:
    return Net(lambda m, x: head(m.b(F.pad(m.a(x), (1, 2, 0, 1))[:, :, ::2, 1:])), a=conv(3, 8), b=conv(8, 4))


def grouped() -> Net:
    return Net(
        lambda m, x: head(m.c(F.relu(m.norm(m.b(m.a(x)))))),
        a=conv(3, 16), b=conv(16, 24, groups=4), norm=nn.BatchNorm2d(24), c=conv(24, 4),
    )  # fmt: skip


def depthwise_multiplier() -> Net:
    return Net(
        lambda m, x: head(m.c(F.relu(m.norm(m.b(m.a(x)))))),
        a=conv(3, 8), b=conv(8, 24, groups=8), norm=nn.BatchNorm2d(24), c=conv(24, 4),
    )  # fmt: skip


def residual_around_a_depthwise_pair() -> Net:
    return Net(
        lambda m, x: head(m.d((y := m.a(x)) + m.c(F.relu(m.b(y))))),
        a=conv(3, 12), b=conv(12, 12, groups=12), c=conv(12, 12, 5, groups=12), d=conv(12, 4),
    )  # fmt: skip


def transposed() -> Net:
    return Net(
        lambda m, x: head(m.c(F.relu(m.norm(m.b(m.a(x)))))),
        a=conv(3, 8), b=nn.ConvTranspose2d(8, 12, 2, 2), norm=nn.BatchNorm2d(12), c=conv(12, 4),
    )  # fmt: skip


def transposed_depthwise() -> Net:
    return Net(
        lambda m, x: head(m.c(m.b(m.a(x)))),
        a=conv(3, 8), b=nn.ConvTranspose2d(8, 8, 3, 2, groups=8), c=conv(8, 4),
    )  # fmt: skip


def transposed_grouped() -> Net:
    return Net(
        lambda m, x: head(m.d(m.c(m.b(m.a(x))))),
        a=conv(3, 8), b=conv(8, 8), c=nn.ConvTranspose2d(8, 12, 3, groups=2), d=conv(12, 4),
    )  # fmt: skip


def squeeze_excite() -> Net:
    def forward(m: Net, x: Tensor) -> Tensor:
        y = m.a(x)
        gate = torch.sigmoid(m.up(F.relu(m.down(F.adaptive_avg_pool2d(y, 1)))))
        return head(m.end(y * gate))

    return Net(forward, a=conv(3, 16), down=conv(16, 4, 1), up=conv(4, 16, 1), end=conv(16, 4))


def squeeze_excite_linear() -> Net:
    def forward(m: Net, x: Tensor) -> Tensor:
        y = m.a(x)
        b, c = y.shape[:2]
        gate = torch.sigmoid(m.up(F.relu(m.down(y.mean((2, 3)).view(b, c))))).view(b, c, 1, 1)
        return head(m.end(y * gate.expand_as(y)))

    return Net(forward, a=conv(3, 16), down=nn.Linear(16, 4), up=nn.Linear(4, 16), end=conv(16, 4))


def flattened_into_linear() -> Net:
    return Net(
        lambda m, x: m.end(F.relu(m.fc(m.norm(torch.flatten(F.max_pool2d(F.relu(m.a(x)), 2), 1))))),
        a=conv(3, 6), norm=nn.BatchNorm1d(96), fc=nn.Linear(96, 20), end=nn.Linear(20, 4),
    )  # fmt: skip


def group_norm() -> Net:
    return Net(lambda m, x: head(m.b(F.relu(m.norm(m.a(x))))), a=conv(3, 16), norm=nn.GroupNorm(4, 16), b=conv(16, 4))


def layer_norms() -> Net:
    def forward(m: Net, x: Tensor) -> Tensor:
        y = m.a(x).permute(0, 2, 3, 1)
        y = y + m.down(F.gelu(m.up(m.norm(y))))
        return m.end(m.last(y).mean((1, 2)))

    return Net(
        forward, a=conv(3, 12), norm=nn.LayerNorm(12), up=nn.Linear(12, 24), down=nn.Linear(24, 12),
        last=nn.LayerNorm(12, elementwise_affine=True, bias=False), end=nn.Linear(12, 4),
    )  # fmt: skip


def norms_without_affine() -> Net:
    return Net(
        lambda m, x: head(m.c(m.two(m.b(m.one(m.a(x)))))),
        a=conv(3, 8), one=nn.BatchNorm2d(8, affine=False), b=conv(8, 8), two=nn.InstanceNorm2d(8), c=conv(8, 4),
    )  # fmt: skip


def prelu() -> Net:
    return Net(
        lambda m, x: head(m.c(m.many(m.b(m.one(m.a(x)))))),
        a=conv(3, 8), one=nn.PReLU(), b=conv(8, 10), many=nn.PReLU(10), c=conv(10, 4),
    )  # fmt: skip


class TiedWeights(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.end = conv(3, 8), conv(8, 8), conv(8, 8), conv(8, 4)
        self.c.weight = self.b.weight

    def forward(self, x: Tensor) -> Tensor:
        return head(self.end(F.relu(self.c(F.relu(self.b(self.a(x)))))))


def used_twice() -> Net:
    return Net(
        lambda m, x: head(m.end(m.norm(F.relu(m.b(m.norm(F.relu(m.b(m.a(x))))))))),
        a=conv(3, 8), b=conv(8, 8, groups=2), norm=nn.BatchNorm2d(8), end=conv(8, 4),
    )  # fmt: skip


def one_and_three_dimensions() -> Net:
    def forward(m: Net, x: Tensor) -> Tensor:
        y = m.volume(m.a(x)[:, :, None]).squeeze(2)
        return m.end(F.relu(m.line(y.flatten(2)))).mean(2)

    return Net(
        forward, a=conv(3, 8), volume=nn.Conv3d(8, 10, (1, 3, 3), padding=(0, 1, 1)), line=nn.Conv1d(10, 12, 5, 2),
        end=nn.Conv1d(12, 4, 1),
    )  # fmt: skip


def several_outputs() -> Net:
    def forward(m: Net, x: Tensor) -> dict[str, object]:
        y = m.a(x)
        return {"classes": head(m.b(F.relu(y))), "maps": (m.c(y), y.shape[0])}

    return Net(forward, a=conv(3, 8), b=conv(8, 4), c=conv(8, 2))


def output_is_a_layer() -> Net:
    return Net(lambda m, x: (y := m.b(m.a(x)), head(m.c(y))), a=conv(3, 8), b=conv(8, 6), c=conv(6, 4))


class Masked(nn.Module):
    """A buffer along the channels."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = conv(3, 8), conv(8, 4)
        self.register_buffer("scale", torch.rand(8, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return head(self.b(self.a(x) * self.get_buffer("scale")))


class LayerScale(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.end = conv(3, 8), conv(8, 8), conv(8, 4)
        self.gamma = nn.Parameter(torch.full((8, 1, 1), 1e-6))

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x)
        return head(self.end(y + self.gamma * self.b(y)))


def data_dependent() -> Net:
    def forward(m: Net, x: Tensor) -> Tensor:
        y = m.a(x)
        return head(m.b(F.relu(y) if y.abs().sum().item() >= 0 else y))

    return Net(forward, a=conv(3, 8), b=conv(8, 4))


def fixed_tensor_meets_channels() -> Net:
    return Net(lambda m, x: head(m.b(m.a(x) + torch.linspace(0, 1, 8)[:, None, None])), a=conv(3, 8), b=conv(8, 4))


def unfollowed_operator() -> Net:
    return Net(lambda m, x: head(m.b(torch.renorm(m.a(x), 2, 0, 1.0))), a=conv(3, 8), b=conv(8, 4))


def bilinear_upsampling() -> Net:
    def forward(m: Net, x: Tensor) -> Tensor:
        y = m.a(x)
        return head(m.b(F.interpolate(y, scale_factor=2, mode="bilinear") + F.interpolate(y, (16, 16))))

    return Net(forward, a=conv(3, 8), b=conv(8, 4))


def repeated_channels() -> Net:
    return Net(lambda m, x: head(m.b(m.a(x).repeat(1, 3, 1, 1))), a=conv(3, 8), b=conv(24, 4))


# name -> network, and the shape of its input
NETS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    build.__name__: (build, (1, 3, 8, 8))
    for build in (
        cat, concatenated_slices_of_sums, spatial_slices, grouped, depthwise_multiplier, transposed,
        residual_around_a_depthwise_pair, transposed_depthwise, transposed_grouped, squeeze_excite,
        squeeze_excite_linear, flattened_into_linear, group_norm, layer_norms, norms_without_affine, prelu,
        TiedWeights, used_twice, one_and_three_dimensions, several_outputs, output_is_a_layer, Masked, LayerScale,
        data_dependent, fixed_tensor_meets_channels, unfollowed_operator, bilinear_upsampling, repeated_channels,
    )
}  # fmt: skip

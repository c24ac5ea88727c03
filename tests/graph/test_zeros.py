"""Sums over channels lose nothing only where what goes is zero; elsewhere the channels stay, for this reason."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from laws import CUTS, check_cut, planned, randomized
from nets import Net, conv, head
from torch import Tensor, nn
from torch.nn import functional as F

from reconv.graph import ChannelGraph, trace

EXAMPLE = torch.randn(1, 3, 8, 8)
REASON = "summed over, though what goes is not zero there"

KEEPS: dict[str, Callable[[Tensor], Tensor]] = {
    "itself": lambda y: y,
    "relu": torch.relu,
    "tanh": torch.tanh,
    "sin": torch.sin,
    "silu": F.silu,
    "square": lambda y: y.square(),
    "power": lambda y: y.abs() ** 1.5,
    "product": lambda y: y * (y + 1).sigmoid(),
    "difference of exp and one": torch.expm1,
    "pooled": lambda y: F.interpolate(F.max_pool2d(y, 2), scale_factor=2),
    "masked": lambda y: y.masked_fill(y > 1, 0.0),
    "chosen": lambda y: torch.where(y > 0.05, y, torch.tensor(0.0, dtype=y.dtype)),
    "in place": lambda y: y.clone().mul_(3),
    "rounded": torch.round,
}
BREAKS: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": torch.sigmoid,
    "softplus": F.softplus,
    "exp": torch.exp,
    "cos": torch.cos,
    "added": lambda y: y + 1.5,
    "added to": lambda y: 1 - y,
    "added in place": lambda y: y.clone().add_(0.1),
    "added tensor": lambda y: y + torch.full((), 0.5),
    "added position": lambda y: y + torch.arange(8.0),
    "clamped": lambda y: y.clamp(min=0.2),
    "hardsigmoid": F.hardsigmoid,
    "moved later": lambda y: F.max_pool2d(y.sigmoid(), 2).relu(),
    "chosen": lambda y: torch.where(y > 0.05, y, torch.tensor(0.3, dtype=y.dtype)),
    "masked": lambda y: y.masked_fill(y < 0.05, 1.0),
    "logarithm": lambda y: (y.square() + 1e-3).log(),
    "padded": lambda y: F.pad(y, (1, 1, 1, 1), value=0.5),
    "soft": lambda y: y.flatten(2).softmax(-1),
    "written": lambda y: torch.zeros_like(y).fill_(0.5) * 2 + y,
    "like ones": lambda y: torch.ones_like(y) + y,
}


def summed(function: Callable[[Tensor], Tensor]) -> ChannelGraph:
    def forward(m: Net, x: Tensor) -> Tensor:
        return function(m.b(m.a(x).relu())).sum(1)

    return trace(randomized(Net(forward, a=conv(3, 8), b=conv(8, 6))).eval(), EXAMPLE)


@pytest.mark.parametrize("name", KEEPS)
def test_zeros_add_nothing(name: str) -> None:
    graph = summed(KEEPS[name])
    assert [group.reason for group in graph.groups] == [None, None]
    check_cut(planned(graph, CUTS[-1]), EXAMPLE)


@pytest.mark.parametrize("name", BREAKS)
def test_what_is_not_zero_is_not_left_out(name: str) -> None:
    graph = summed(BREAKS[name])
    assert graph.groups[0].reason is None
    assert REASON in str(graph.groups[1].reason)
    check_cut(planned(graph, CUTS[-1]), EXAMPLE, train=False)


def test_the_reason_names_the_operator() -> None:
    assert "behind sigmoid at test_zeros.py:" in str(summed(BREAKS["moved later"]).groups[1].reason)


class BufferNorm(nn.Module):
    """A batch norm whose scale and shift do not train."""

    def __init__(self, width: int) -> None:
        super().__init__()
        for name in ("weight", "bias", "running_mean", "running_var"):
            self.register_buffer(name, torch.rand(width) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias)


@pytest.mark.parametrize(
    ("norm", "keeps"),
    [
        (nn.BatchNorm2d(6), True),
        (nn.BatchNorm2d(6, affine=False), False),
        (BufferNorm(6), False),
        (nn.GroupNorm(1, 6), True),
        (nn.InstanceNorm2d(6, affine=True), True),
    ],
)
def test_norms_give_zeros_where_scale_and_shift_are_parameters(norm: nn.Module, keeps: bool) -> None:
    model = Net(lambda m, x: m.norm(m.b(m.a(x).relu())).relu().sum(1), a=conv(3, 8), b=conv(8, 6), norm=norm)
    graph = trace(randomized(model).eval(), EXAMPLE)
    assert (graph.groups[1].reason is None) == keeps
    check_cut(planned(graph, CUTS[-1]), EXAMPLE, train=False)


def products(left: Callable[[Tensor], Tensor], right: Callable[[Tensor], Tensor]) -> ChannelGraph:
    def forward(m: Net, x: Tensor) -> Tensor:
        y = m.a(x).relu()
        return left(m.q(y)).flatten(2).transpose(1, 2) @ right(m.k(y)).flatten(2)

    return trace(randomized(Net(forward, a=conv(3, 8), q=conv(8, 6), k=conv(8, 6))).eval(), EXAMPLE)


@pytest.mark.parametrize(
    ("left", "right", "keeps"),
    [
        (torch.relu, torch.relu, True),
        (torch.sigmoid, torch.relu, True),
        (torch.relu, torch.exp, True),
        (torch.sigmoid, torch.exp, False),
        (lambda y: F.elu(y) + 1, lambda y: F.elu(y) + 1, False),
    ],
)
def test_one_factor_of_a_product_has_to_be_zero(
    left: Callable[[Tensor], Tensor], right: Callable[[Tensor], Tensor], keeps: bool
) -> None:
    graph = products(left, right)
    assert graph.groups[0].reason is None
    assert (graph.groups[1].reason is None) == keeps
    check_cut(planned(graph, CUTS[-1]), EXAMPLE, train=False)


class PositiveWeights(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 8, 3, 3))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, F.softplus(self.weight), padding=1)


@pytest.mark.parametrize(("activation", "keeps"), [(torch.relu, True), (torch.sigmoid, False)])
def test_weights_that_are_computed_meet_zeros(activation: Callable[[Tensor], Tensor], keeps: bool) -> None:
    model = Net(lambda m, x: head(m.b(activation(m.a(x)))), a=conv(3, 8), b=PositiveWeights())
    graph = trace(randomized(model).eval(), EXAMPLE)
    assert (graph.groups[0].reason is None) == keeps
    check_cut(planned(graph, CUTS[-1]), EXAMPLE, train=False)


@pytest.mark.parametrize("bias", [True, False])
def test_a_shift_along_the_places_of_a_map_reaches_channels_of_zeros(bias: bool) -> None:
    def forward(m: Net, x: Tensor) -> Tensor:
        return m.places(m.b(m.a(x).relu()).flatten(2)).sum(1)

    model = Net(forward, a=conv(3, 8), b=conv(8, 6), places=nn.Linear(64, 5, bias=bias))
    graph = trace(randomized(model).eval(), EXAMPLE)
    assert (graph.groups[1].reason is None) != bias
    check_cut(planned(graph, CUTS[-1]), EXAMPLE)

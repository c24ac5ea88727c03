"""Numbers that a forward puts into tensors: seen where they count channels, and computed where they do not."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import pytest
import torch
from laws import CUTS, check_cut, planned, randomized
from nets import Net, conv, head
from torch import Tensor, nn

from reconv.graph import trace

EXAMPLE = torch.randn(1, 3, 8, 8)

# How a forward may hold the width of a tensor.
WIDTHS: dict[str, Callable[[Tensor], Tensor | float]] = {
    "number": lambda q: q.shape[1] ** 0.5,
    "tensor": lambda q: torch.sqrt(torch.tensor(q.shape[1])),
    "tensor of a float": lambda q: torch.tensor(q.shape[1] ** 0.5),
    "tensor of several": lambda q: torch.tensor([1.0, q.shape[1]])[1:],
    "full": lambda q: torch.full((), q.shape[1]).sqrt(),
    "sum of ones": lambda q: torch.ones(q.shape[1]).sum(),
    "largest of a range": lambda q: torch.arange(q.shape[1]).max(),
    "numel": lambda q: torch.tensor(q[0, :, 0].numel() / 2),
    "value of a tensor": lambda q: torch.tensor(q.shape[1]).item(),
    "like the signal": lambda q: q.new_tensor(q.shape[1]),
}


def correlation(width: Callable[[Tensor], Tensor | float]) -> Net:
    def forward(m: Net, x: Tensor) -> Tensor:
        q, k = m.q(m.stem(x)).flatten(2), m.k(m.stem(x)).flatten(2)
        return head(m.end((q.transpose(1, 2) @ k / width(q)).unflatten(1, (8, 8)).permute(0, 3, 1, 2)))

    return Net(forward, stem=conv(3, 6), q=conv(6, 12), k=conv(6, 12), end=conv(64, 5))


@pytest.mark.parametrize("how", WIDTHS)
def test_channels_that_a_number_counts_stay_and_no_others(how: str) -> None:
    graph = trace(randomized(correlation(WIDTHS[how])).eval(), EXAMPLE)
    reasons = {group.name: group.reason for group in graph.groups}
    assert reasons["stem"] is None
    assert "counts channels (div at test_constants.py:" in str(reasons["q"])
    check_cut(planned(graph, CUTS[-1]), EXAMPLE, train=False)


@pytest.mark.parametrize("hold", ["attribute", "buffer", "tensor"])
def test_a_number_from_the_constructor_counts_nothing(hold: str) -> None:
    model = correlation(lambda _: model.scale)
    if hold == "buffer":
        model.register_buffer("scale", torch.tensor(math.sqrt(12)))
    else:
        model.scale = math.sqrt(12) if hold == "attribute" else torch.tensor(math.sqrt(12))
    graph = trace(randomized(model).eval(), EXAMPLE)
    assert graph.groups[1].reason is None
    check_cut(planned(graph, CUTS[-1]), EXAMPLE, train=False)


@functools.lru_cache(maxsize=8)
def table(n: int) -> Tensor:
    return torch.arange(n, dtype=torch.float32).sin()[None, :, None]


TABLES: dict[int, Tensor] = {}


def table_of_a_dict(n: int) -> Tensor:
    if n not in TABLES:
        TABLES[n] = torch.linspace(0, 1, n)[None, :, None]
    return TABLES[n]


@pytest.mark.parametrize("cached", [table, table_of_a_dict])
@pytest.mark.parametrize("warm", [False, True])
def test_a_cache_in_the_forward_holds_numbers_after_a_trace(cached: Callable[[int], Tensor], warm: bool) -> None:
    def forward(m: Net, x: Tensor) -> Tensor:
        y = m.c(m.b(m.a(x).relu()).relu()).flatten(2).transpose(1, 2)
        return y + cached(y.shape[1])

    table.cache_clear()
    TABLES.clear()
    model = Net(forward, a=conv(3, 8), b=conv(8, 8), c=conv(8, 4)).eval()
    if warm:
        model(EXAMPLE)
    graph = trace(model, EXAMPLE)
    assert [group.reason is None for group in graph.groups] == [True, True, False]
    assert type(model(EXAMPLE)) is Tensor
    assert type(cached(64)) is Tensor


class Anchors(nn.Module):
    """Strides whose values the code reads, and a map of anchors, as the heads of YOLO have them."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = conv(3, 16), conv(8, 8), conv(24, 5)
        self.width, self.stride = 8, torch.tensor([8.0, 16.0])

    def forward(self, x: Tensor) -> Tensor:
        y = list(self.a(x).split((self.width, self.width), 1))
        out = self.c(torch.cat([*y, self.b(y[-1])], 1))
        if self.stride.max() > 10 and int(self.stride[0]) == 8:
            out = out * torch.full((1, 1, 1, 1), self.stride[0].item())
        return out


def test_values_of_constants_may_be_read() -> None:
    graph = trace(randomized(Anchors()).eval(), EXAMPLE)
    assert [group.reason is None for group in graph.groups] == [True, True, False]
    check_cut(planned(graph, CUTS[0]), EXAMPLE)


def test_a_constant_may_be_filled_with_a_signal() -> None:
    def forward(m: Net, x: Tensor) -> Tensor:
        y = m.a(x)
        out = torch.zeros(y.shape[0], y.shape[1], 10, 10, dtype=y.dtype)
        out[:, :, 1:-1, 1:-1] = y
        return head(m.b(out * torch.arange(10.0)))

    model = randomized(Net(forward, a=conv(3, 8), b=conv(8, 4))).eval()
    graph = trace(model, EXAMPLE)
    check_cut(planned(graph, CUTS[0]), EXAMPLE)


SHARED = torch.zeros(4)


def test_the_callers_own_tensors_are_not_written() -> None:
    def forward(m: Net, x: Tensor) -> Tensor:
        SHARED.add_(1)
        return head(m.b(m.a(x)))

    trace(Net(forward, a=conv(3, 8), b=conv(8, 4)), EXAMPLE)
    assert SHARED.tolist() == [0, 0, 0, 0]


def test_a_constant_that_is_returned_may_not_count_channels() -> None:
    def forward(m: Net, x: Tensor) -> tuple[Tensor, Tensor]:
        y = m.a(x)
        return head(m.b(y)), torch.tensor(y.shape[1])

    graph = trace(Net(forward, a=conv(3, 8), b=conv(8, 4)), EXAMPLE)
    assert "it gives 6 in place of 8, a number that counts channels" in str(graph.groups[0].reason)

"""Operators and layers that real networks use: they neither stop a trace nor keep channels without need."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from laws import CUTS, check_cut, planned, randomized
from nets import Net, conv, head
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

import reconv
from reconv.graph import ChannelGraph, register_rule, trace
from reconv.graph.rules import OPERATORS

EXAMPLE = torch.randn(1, 3, 8, 8)


def cut_all(model: nn.Module, example: Tensor = EXAMPLE, *, train: bool = True) -> ChannelGraph:
    """Every layer but the last may lose channels, and does so rightly."""
    graph = trace(randomized(model).eval(), example)
    assert [group.reason is None for group in graph.groups] == [True] * (len(graph.groups) - 1) + [False], graph
    check_cut(planned(graph, CUTS[-1]), example, train=train)
    return graph


@pytest.mark.parametrize("largest", [lambda x: torch.max(x, 1, keepdim=True)[0], lambda x: x.amax(1, keepdim=True)])
def test_the_largest_of_all_channels_is_a_statistic(largest: Callable[[Tensor], Tensor]) -> None:
    def forward(m: Net, x: Tensor) -> Tensor:
        y = m.a(x).relu()
        return head(m.b(y * m.gate(torch.cat([y.mean(1, keepdim=True), largest(y)], 1)).sigmoid()))

    graph = trace(randomized(Net(forward, a=conv(3, 8), gate=conv(2, 1), b=conv(8, 4))).eval(), EXAMPLE)
    assert graph.groups[0].reason is None
    check_cut(planned(graph, CUTS[0]), EXAMPLE)


def test_channels_stay_where_their_positions_are_used() -> None:
    def forward(m: Net, x: Tensor) -> Tensor:
        y = m.a(x).relu()
        return head(m.b(y)) + torch.max(y, 1, keepdim=True)[1].float().mean()

    graph = trace(Net(forward, a=conv(3, 8), b=conv(8, 4)), EXAMPLE)
    assert "its position among the channels is used" in str(graph.groups[0].reason)


def test_an_index_that_is_returned_keeps_its_channels() -> None:
    def forward(m: Net, x: Tensor) -> tuple[Tensor, Tensor]:
        y = m.a(x).relu()
        return head(m.b(y)), torch.max(y, 1, keepdim=True)[1]

    assert trace(Net(forward, a=conv(3, 8), b=conv(8, 4)), EXAMPLE).groups[0].reason


@pytest.mark.parametrize("track", [False, True])
@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.filterwarnings("error")
def test_instance_norms_follow(affine: bool, track: bool) -> None:
    def norm(width: int) -> nn.Module:
        return nn.InstanceNorm2d(width, affine=affine, track_running_stats=track)

    model = nn.Sequential(conv(3, 8), norm(8), nn.LeakyReLU(), conv(8, 12), norm(12), nn.LeakyReLU(), conv(12, 4))
    small = reconv.prune(model, planned(cut_all(model), CUTS[0]))
    assert small[1].num_features == small[0].out_channels == 6


def test_instance_norms_of_other_dimensions_follow() -> None:
    model = nn.Sequential(nn.Conv1d(3, 8, 3), nn.InstanceNorm1d(8, affine=True), nn.ReLU(), nn.Conv1d(8, 4, 3))
    cut_all(model, torch.randn(1, 3, 16))


@pytest.mark.parametrize("convolution", [nn.Conv1d, nn.Conv2d, nn.Conv3d])
def test_padding_by_name(convolution: type[nn.Conv2d]) -> None:
    dimensions = int(convolution.__name__[-2])
    for padding in ("valid", "same"):
        model = nn.Sequential(convolution(3, 8, 3, padding=padding), nn.ReLU(), convolution(8, 4, 2, padding=padding))
        cut_all(model, torch.randn(1, 3, *[8] * dimensions))


@pytest.mark.parametrize("wrap", [parametrizations.spectral_norm, parametrizations.weight_norm])
def test_parametrized_layers_are_cut_and_saved(wrap: Callable[[nn.Module], nn.Module], tmp_path: Path) -> None:
    def build() -> nn.Module:
        return nn.Sequential(wrap(conv(3, 8)), nn.ReLU(), wrap(conv(8, 6)), nn.ReLU(), conv(6, 4)).eval()

    model = build()
    plan = planned(cut_all(model), CUTS[0])
    small = reconv.prune(model, plan)
    reconv.save(small, tmp_path / "model", plan=plan)
    assert (tmp_path / "model" / "weights.safetensors").stat().st_size == plan.size[1]
    again = reconv.load(tmp_path / "model", model=build()).eval()
    torch.testing.assert_close(again(EXAMPLE), small.eval()(EXAMPLE))
    assert "file" in str(plan)


def test_spectral_norm_of_old_is_cut() -> None:
    norm = nn.utils.spectral_norm
    model = nn.Sequential(norm(conv(3, 8)), nn.ReLU(), norm(conv(8, 6)), nn.ReLU(), conv(6, 4)).eval()
    with torch.no_grad():
        model(EXAMPLE)
    cut_all(model)


def test_nothing_found_is_no_fault() -> None:
    def forward(m: Net, x: Tensor) -> Tensor:
        scores = m.b(m.a(x).relu()).flatten()
        return torch.cat([scores[scores > 1e6], scores[scores > 2e6]], dim=0)

    graph = trace(Net(forward, a=conv(3, 8), b=conv(8, 4)), EXAMPLE)
    assert graph.groups[0].reason is None


def test_a_rule_that_fails_is_named_and_blames_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OPERATORS, "aten.silu", OPERATORS["aten.silu"])

    def broken(_: object) -> object:
        return [][0]

    register_rule("aten.silu", broken)
    graph = trace(Net(lambda m, x: head(m.b(F.silu(m.a(x)))), a=conv(3, 8), b=conv(8, 4)), EXAMPLE)
    assert "the rule for aten.silu fails here, IndexError" in str(graph.groups[0].reason)


def test_a_signal_added_to_itself_is_no_stream() -> None:
    def forward(m: Net, x: Tensor) -> Tensor:
        y = m.b(m.a(x).relu())
        return head(m.c(m.gamma * y + y + m.beta))

    model = Net(forward, a=conv(3, 8), b=conv(8, 12), c=conv(12, 4))
    model.gamma, model.beta = nn.Parameter(torch.ones(1, 12, 1, 1)), nn.Parameter(torch.ones(12, 1, 1))
    assert not any(group.stream for group in cut_all(model).groups)


def test_a_sum_of_two_layers_is_a_stream_still() -> None:
    def forward(m: Net, x: Tensor) -> Tensor:
        y = m.a(x)
        return head(m.c(m.gamma * m.b(y) + y))

    model = Net(forward, a=conv(3, 8), b=conv(8, 8), c=conv(8, 4))
    model.gamma = nn.Parameter(torch.ones(1, 8, 1, 1))
    assert trace(model, EXAMPLE).groups[0].stream


def test_a_group_that_is_one_unit_is_not_called_free() -> None:
    def forward(m: Net, x: Tensor) -> Tensor:
        return head(m.c(torch.stack([m.a(x), m.b(x)], 2).flatten(1, 2)))

    graph = trace(Net(forward, a=conv(3, 8), b=conv(3, 8), c=conv(16, 4)), EXAMPLE)
    assert [group.reason for group in graph.groups[:2]] == ["its 8 channels go together or not at all"] * 2


@pytest.mark.parametrize("mode", ["circular", "reflect", "replicate"])
def test_padding_modes(mode: str) -> None:
    cut_all(nn.Sequential(conv(3, 8), nn.ReLU(), conv(8, 6, padding_mode=mode), nn.ReLU(), conv(6, 4)))


def test_a_part_of_fresh_memory_is_written() -> None:
    def forward(m: Net, x: Tensor) -> Tensor:
        y = m.a(x)
        out = y.new_zeros(y.shape[0], y.shape[1], 10, 10)
        out[:, :, 1:-1, 1:-1] = y
        out[:, :, :1] = y[:, :, :1].mean(3, keepdim=True)
        return head(m.b(out))

    cut_all(Net(forward, a=conv(3, 8), b=conv(8, 4)))


def test_memory_of_fixed_size_keeps_what_is_written_into_it() -> None:
    def forward(m: Net, x: Tensor) -> Tensor:
        out = x.new_zeros(1, 8, 10, 10)
        out[:, :, 1:-1, 1:-1] = m.a(x)
        return head(m.b(out))

    assert trace(Net(forward, a=conv(3, 8), b=conv(8, 4)), EXAMPLE).groups[0].reason is not None

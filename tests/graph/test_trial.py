"""A forward that looks at values is tried on real tensors: what fails stays, with its reason, and all else may go."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from laws import CUTS, planned, randomized
from nets import Net, conv, head
from torch import Tensor, nn
from torch.nn import functional as F

from reconv.graph import ChannelGraph, build, trace
from reconv.graph.trial import Trial
from reconv.surgery import prune, verify

EXAMPLE = torch.randn(1, 3, 8, 8)
FAILS = "a pruned copy fails on real tensors: "

LOOKS: dict[str, Callable[[Tensor], bool]] = {
    "item": lambda x: x.abs().max().item() > 100,
    "truth": lambda x: bool((x > 100).any()),
    "nonzero": lambda x: len(x[x > 100]) > 3,
    "numpy": lambda x: float(x.mean().cpu().numpy()) > 100,
}


def looking(looks: Callable[[Tensor], bool], end: Callable[[Net, Tensor], Tensor], **layers: nn.Module) -> Net:
    def forward(m: Net, x: Tensor) -> Tensor:
        x = x / 255 if looks(x) else x
        return end(m, m.b(m.a(x).relu()).relu())

    return randomized(Net(forward, a=conv(3, 8), b=conv(8, 6), **layers)).eval()  # type: ignore[return-value]


def check_small(graph: ChannelGraph, example: Tensor = EXAMPLE) -> None:
    plan = planned(graph, CUTS[-1])
    small = prune(graph.model, plan)
    with torch.no_grad():
        for images in (1, 3):
            x = example.expand(images, -1, -1, -1)
            assert small(x).shape == graph.model(x).shape
    assert not verify(graph.model, small, plan) > 1e-10


@pytest.mark.parametrize("how", LOOKS)
def test_a_size_in_a_view_keeps_its_channels_and_no_others(how: str) -> None:
    model = looking(LOOKS[how], lambda m, y: m.f(F.max_pool2d(y, 2).view(-1, 96)), f=nn.Linear(96, 4))
    graph = trace(model, EXAMPLE)
    assert graph.groups[0].reason is None
    assert f"{FAILS}RuntimeError: shape '[-1, 96]' is invalid" in str(graph.groups[1].reason)
    check_small(graph)


@pytest.mark.parametrize("how", LOOKS)
def test_what_runs_may_go(how: str) -> None:
    graph = trace(looking(LOOKS[how], lambda m, y: m.f(y.mean((2, 3))), f=nn.Linear(6, 4)), EXAMPLE)
    assert [group.reason is None for group in graph.groups] == [True, True, False]
    assert any("tried on real tensors (8 forward passes)" in note for note in graph.notes)
    check_small(graph)


def test_a_number_that_counts_channels_shows_in_the_outputs() -> None:
    model = looking(LOOKS["item"], lambda m, y: (y.flatten(1) @ y.flatten(1).T) / y.shape[1])
    graph = trace(model, EXAMPLE)
    assert graph.groups[0].reason is None
    assert "apart from those of the network in which what goes is zero" in str(graph.groups[1].reason)


def test_what_only_several_images_show() -> None:
    """With one image, any number of channels fits into what is left open."""

    def end(m: Net, y: Tensor) -> Tensor:
        y = y.mean((2, 3))
        return m.f(F.pad(y, (0, 6 - y.shape[1]))) if len(y) == 1 else m.f(y.reshape(-1, 6))

    graph = trace(looking(LOOKS["item"], end, f=nn.Linear(6, 4)), EXAMPLE)
    check_small(graph)


def test_training_mode_counts() -> None:
    def end(m: Net, y: Tensor) -> Tensor:
        return m.f((y + torch.zeros(6, 1, 1) if m.training else y).mean((2, 3)))

    graph = trace(looking(LOOKS["item"], end, f=nn.Linear(6, 4)), EXAMPLE)
    assert graph.groups[1].reason is not None


def test_outputs_that_jump_are_not_compared() -> None:
    calls = itertools.count()

    def end(m: Net, y: Tensor) -> Tensor:
        return m.f(y.mean((2, 3))) + next(calls)

    graph = trace(looking(LOOKS["item"], end, f=nn.Linear(6, 4)), EXAMPLE)
    assert graph.groups[0].reason is None
    assert any("jump with the smallest change of a weight" in note for note in graph.notes)


def test_a_model_of_which_no_copy_runs_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "MOST_FAILURES", 2)
    monkeypatch.setattr(Trial, "failure", lambda *_: "never right")
    graph = trace(looking(LOOKS["item"], lambda m, y: m.f(y.mean((2, 3))), f=nn.Linear(6, 4)), EXAMPLE)
    assert all(group.reason for group in graph.groups)


def test_the_users_model_is_left_alone() -> None:
    model = Net(
        lambda m, x: head(m.b(m.n(m.a(x)))) * (x.max().item() > -1e9), a=conv(3, 8), n=nn.BatchNorm2d(8), b=conv(8, 4)
    )
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.get_rng_state()
    trace(model, EXAMPLE)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert torch.equal(state, torch.get_rng_state())
    assert all(module.training for module in model.modules())

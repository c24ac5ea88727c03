"""What a cut does to modules, provenance and files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from reconv.artifacts import load, save
from reconv.graph import trace
from reconv.plan import Budget, Plan, choose
from reconv.provenance import provenance_of
from reconv.saliency import score
from reconv.surgery import SIZES, prune, verify
from reconv.zoo import load_model

EXAMPLE = torch.randn(1, 3, 32, 32)


def planned(model: nn.Module, coupled: bool = True, channels: float = 0.6) -> Plan:
    graph = trace(model, EXAMPLE)
    return choose(graph, score(graph, "l2"), Budget(channels=channels), coupled=coupled)


@pytest.mark.parametrize("shortcut", ["stride", "average"])
def test_padded_shortcuts_follow_a_coupled_cut(shortcut: str) -> None:
    model = load_model("resnet20", shortcut=shortcut)
    plan = planned(model)
    small = prune(model, plan)
    for stage, full in (("layer2", 16), ("layer3", 32)):
        pad, before = small.get_submodule(f"{stage}.0.shortcut"), model.get_submodule(f"{stage}.0.shortcut")
        conv = small.get_submodule(f"{stage}.0.conv1")
        out = small.get_submodule(f"{stage}.0.conv2").out_channels
        assert pad.before + conv.in_channels + pad.after == out
        assert pad.before + pad.after < before.before + before.after == full
        edits = provenance_of(small).edits[f"{stage}.0.shortcut"]
        assert all(getattr(pad, name) == value for name, value in edits.items())
    assert verify(model, small, plan) < 1e-10


@pytest.mark.parametrize("shortcut", ["stride", "average", "conv"])
def test_a_cut_model_is_saved_and_rebuilt_bit_by_bit(shortcut: str, tmp_path: Path) -> None:
    model = load_model("resnet20", shortcut=shortcut)
    small = prune(model, plan := planned(model)).eval()
    save(small, tmp_path / "small", plan=plan)
    again = load(tmp_path / "small")
    with torch.no_grad():
        assert torch.equal(small(EXAMPLE), again(EXAMPLE))
    assert provenance_of(again) == provenance_of(small)
    assert str(again) == str(small)


def test_a_cut_model_is_cut_again() -> None:
    model = load_model("resnet20", shortcut="stride")
    once = prune(model, first := planned(model, channels=0.8))
    twice = prune(once, second := planned(once, channels=0.8))
    assert second.params[0] == first.params[1]
    assert verify(once, twice, second) < 1e-10
    assert (
        provenance_of(twice).edits["layer1.0.conv1"]["out_channels"]
        == twice.get_submodule("layer1.0.conv1").out_channels
    )


def test_every_size_that_a_module_repeats_follows() -> None:
    model = load_model("mobilenet_v3_small")
    graph = trace(model, torch.randn(1, 3, 64, 64))
    small = prune(model, choose(graph, score(graph, "l2"), Budget(channels=0.5), coupled=True))
    changed = 0
    for path, module in small.named_modules():
        for kind, sizes_of in SIZES:
            if isinstance(module, kind):
                for name, size in sizes_of(module).items():
                    assert getattr(module, name) == size
                    changed += size != getattr(model.get_submodule(path), name)
                break
    assert changed > 50


def test_a_plan_fits_another_checkpoint_of_the_architecture() -> None:
    plan = planned(load_model("resnet20"))
    other = load_model("resnet20")
    assert verify(other, prune(other, plan), plan) < 1e-10


def test_no_removal_is_a_copy() -> None:
    model = load_model("resnet20")
    whole = sum(p.numel() for p in model.parameters())
    graph = trace(model, EXAMPLE)
    small = prune(model, choose(graph, score(graph, "l1"), Budget(params=whole)))
    assert small is not model
    for (name, a), (_, b) in zip(model.state_dict().items(), small.state_dict().items(), strict=True):
        assert torch.equal(a, b), name
        assert a.data_ptr() != b.data_ptr()


def test_buffers_keep_their_kind() -> None:
    model = load_model("resnet20")
    small = prune(model, planned(model))
    assert small.get_buffer("bn1.num_batches_tracked").dtype == torch.int64
    assert not isinstance(small.get_buffer("bn1.running_var"), nn.Parameter)
    assert small.get_buffer("bn1.running_var").shape == (small.get_submodule("conv1").out_channels,)


class Blurred(nn.Module):
    """A fixed filter for every channel, in a buffer that the state does not hold."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.end = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 1)
        self.register_buffer("filter", torch.rand(8, 1, 3, 3, generator=torch.Generator().manual_seed(3)), False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.nn.functional.conv2d(self.a(x), self.get_buffer("filter"), groups=self.a.out_channels)
        return self.end(y).mean((2, 3))


def test_buffers_that_the_state_did_not_hold_are_saved_once_they_are_cut(tmp_path: Path) -> None:
    small = prune(model := Blurred(), planned(model)).eval()
    assert len(small.get_buffer("filter")) < 8
    save(small, tmp_path / "small")
    again = load(tmp_path / "small", model=Blurred())
    with torch.no_grad():
        assert torch.equal(small(EXAMPLE), again(EXAMPLE))
    assert "filter" not in Blurred().state_dict()

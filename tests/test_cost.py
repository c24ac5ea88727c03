"""Costs against PyTorch's own counter and against what is measured on the cut network."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torchvision.models import VisionTransformer

from reconv.artifacts import save
from reconv.budget import Cost, Scheme
from reconv.cost import (
    Latency,
    file_size,
    measure_latency,
    measure_memory,
    peak_memory,
    predicted_memory,
    profile,
    timing,
    total_macs,
    total_parameters,
)
from reconv.cost.terms import CostModel, macs_products
from reconv.graph import trace
from reconv.graph.dry_run import generic_cut
from reconv.plan import Budget, choose
from reconv.saliency import score
from reconv.surgery import prune
from reconv.zoo import load_model

sys.path.append(str(Path(__file__).parent / "graph"))
from laws import measured_macs

NETS = [("resnet20", 32), ("mobilenet_v3_small", 48), ("resnext50_32x4d", 48), ("densenet121", 48)]


@pytest.mark.parametrize(("name", "size"), NETS[:2])
def test_counts_are_pytorchs(name: str, size: int) -> None:
    model, example = load_model(name), torch.randn(1, 3, size, size)
    found = profile(trace(model, example))
    assert found.macs == measured_macs(model, example) == sum(layer.macs for layer in found.layers)
    assert found.parameters == sum(p.numel() for p in model.parameters())


def test_counts_are_for_one_image() -> None:
    model = load_model("resnet20")
    one, four = (profile(trace(model, torch.randn(n, 3, 32, 32))) for n in (1, 4))
    assert one == four


def test_known_numbers() -> None:
    found = profile(trace(load_model("resnet56"), torch.zeros(1, 3, 32, 32)))
    assert found.macs == 125_485_696  # "125.5M"
    assert found.parameters == 853_018
    stem = found.layers[0]
    assert (stem.name, stem.macs, stem.parameters) == ("conv1", 32 * 32 * 16 * 27, 16 * 27)
    assert (stem.in_channels, stem.out_channels) == (3, 16)


def test_a_transposed_convolution_multiplies_once_an_input_position() -> None:
    model, example = nn.Sequential(nn.ConvTranspose2d(3, 8, 4, 2), nn.Conv2d(8, 4, 1)), torch.randn(1, 3, 5, 5)
    found = profile(trace(model, example))
    assert found.macs == measured_macs(model, example)
    assert found.layers[0].macs == 25 * 3 * 8 * 16


def test_a_layer_used_twice_counts_twice_and_its_parameters_once() -> None:
    model = nn.Sequential(layer := nn.Conv2d(4, 4, 3, padding=1), nn.ReLU(), layer)
    found = profile(trace(model, torch.randn(1, 4, 8, 8)))
    assert found.macs == 2 * 64 * 4 * 36
    assert found.parameters == 4 * 36 + 4


class Attention(nn.Module):
    """Of 4 heads of 8 channels; written out, or fused, where heads go as a whole."""

    def __init__(self, fused: bool) -> None:
        super().__init__()
        self.q, self.k, self.v, self.end = nn.Linear(8, 32), nn.Linear(8, 32), nn.Linear(8, 32), nn.Linear(32, 2)
        self.fused = fused

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = (part(x).unflatten(-1, (-1, 8)).transpose(1, 2) for part in (self.q, self.k, self.v))
        if self.fused:
            y = torch.nn.functional.scaled_dot_product_attention(q, k, v)
        else:
            y = (q @ k.transpose(-1, -2) / 8**0.5).softmax(-1) @ v
        return self.end(y.transpose(1, 2).flatten(2))


@pytest.mark.parametrize("fused", [False, True])
def test_products_of_two_signals_are_counted_and_shrink_with_their_channels(fused: bool) -> None:
    network, example = Attention(fused), torch.randn(2, 5, 8)
    graph = trace(network, example)
    assert profile(graph).macs == 5 * (3 * 8 * 32 + 32 * 2) + 2 * 5 * 5 * 32
    plan = choose(graph, score(graph, "l2"), Budget(macs=0.6))
    small = prune(network, plan)
    heads = small.q.out_features // 8
    assert heads < 4
    assert plan.macs[1] == profile(small, example).macs == 5 * heads * (3 * 8 * 8 + 8 * 2) + 2 * 5 * 5 * 8 * heads
    model = CostModel(graph)
    assert model.terms(macs_products(graph)).total(model.counts(plan.keep)) == plan.macs[1]


def test_what_is_predicted_of_a_cut_is_measured_after_it() -> None:
    example = torch.randn(1, 3, 32, 32)
    model = load_model("resnet20")
    graph = trace(model, example)
    plan = choose(graph, score(graph, "l2"), Budget(macs=0.5), coupled=True)
    predicted, measured = profile(graph, keep=plan.keep), profile(trace(prune(model, plan), example))
    assert predicted == measured
    assert (predicted.macs, predicted.parameters) == (plan.macs[1], plan.params[1])
    assert total_macs(graph, plan.keep) == predicted.macs
    assert total_parameters(graph, plan.keep) == predicted.parameters


FAST = ["resnet20", "resnet18", "mobilenet_v3_small"]
SLOW = ["squeezenet1_1", "shufflenet_v2_x1_0", "regnet_y_400mf", "densenet121", "efficientnet_b0", "resnext50_32x4d"]


@pytest.mark.parametrize("name", [*FAST, *(pytest.param(n, marks=pytest.mark.slow) for n in SLOW)])
def test_memory_and_file_are_predicted_to_the_byte(name: str, tmp_path: Path) -> None:
    example = torch.randn(1, 3, *((32, 32) if name == "resnet20" else (64, 64)))
    network = load_model(name)
    graph = trace(network, example)
    plan = choose(graph, score(graph, "l1"), Budget(channels=0.6), coupled=True)
    small = prune(network, plan)
    assert plan.memory == (measure_memory(network, example), measure_memory(small, example))
    for saved, predicted in zip((network, small), plan.size, strict=True):
        save(saved, tmp_path / "saved", overwrite=True)
        assert (tmp_path / "saved" / "weights.safetensors").stat().st_size == predicted
    model = CostModel(graph)
    products = {name: Cost.registry[name].products for name in ("macs", "params", "memory", "size")}
    terms = {name: model.terms(function(graph)) for name, function in products.items() if function}
    for seed in range(3):
        keep = generic_cut(graph, seed)
        left = {name: found.total(model.counts(keep)) for name, found in terms.items()}
        assert left["macs"] == total_macs(graph, keep)
        assert left["params"] == total_parameters(graph, keep)
        assert left["memory"] == peak_memory(graph, keep)
        assert 0 < file_size(graph, keep) - left["size"] < 200_000  # the header


@pytest.mark.parametrize("mlp", [256, 16])
def test_fused_attention_is_predicted_to_the_byte(mlp: int) -> None:
    """With few channels in the MLP, the widest moment lies inside an attention, whose parts hold more than it does."""
    model = VisionTransformer(
        image_size=32, patch_size=4, num_layers=2, num_heads=4, hidden_dim=64, mlp_dim=mlp, num_classes=10
    )
    example = torch.randn(1, 3, 32, 32)
    graph = trace(model, example)
    plan = choose(graph, score(graph, "l1"), Budget(channels=0.5), coupled=True)
    assert plan.memory == (measure_memory(model, example), measure_memory(prune(model, plan), example))
    assert (peak_memory(graph) == plan.memory[0]) == (mlp == 256)
    before, after = choose(graph, score(graph, "l1"), Budget(memory=0.7), coupled=True).memory or (0, 1)
    assert after <= 0.7 * before


class OneHeadLeft(nn.Module):
    """Where one head is left, a transposition copies nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out, self.heads = nn.Linear(6, 24), nn.Linear(8, 2), 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.qkv(x).reshape(len(x), -1, 3, self.heads, 4).permute(2, 0, 3, 1, 4)
        found = (q @ k.transpose(-2, -1)).softmax(-1) @ v
        return self.out(found.transpose(1, 2).reshape(len(x), -1, self.heads * 4))


def test_a_cut_to_one_head_is_predicted_to_the_byte() -> None:
    model, example = OneHeadLeft(), torch.randn(3, 7, 6)
    graph = trace(model, example)
    plan = choose(graph, score(graph, "l1"), Budget(channels=0.5))
    small = prune(model, plan)
    assert small.heads == 1
    assert plan.memory == (measure_memory(model, example), measure_memory(small, example))
    assert peak_memory(graph, plan.keep) > plan.memory[1]


class Views(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.first(x).relu_().flatten(2).unflatten(2, (4, 4)))


class MakesItsOwn(nn.Module):
    """Positions from a table that its forward makes, as in EdgeNeXt."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(1, 8, 1), nn.Conv2d(8, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        table = torch.zeros(x.shape[2:]).to(device=x.device, dtype=torch.bool)
        return self.last(self.first(x + (~table).cumsum(0, dtype=torch.float32)))


def test_measured_memory_is_what_is_alive() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Sequential(nn.Conv2d(8, 2, 1), nn.Conv2d(2, 2, 1)))
    model.train()[1].eval()
    # The outer Sequential holds what it has given to the inner one.
    assert measure_memory(model, torch.randn(1, 3, 4, 4)) == 4 * 16 * (3 + 8 + 2 + 2)
    assert [module.training for module in model.modules()] == [True, True, False, False, False]


def test_tensors_that_the_forward_makes_are_followed() -> None:
    model, example = MakesItsOwn(), torch.randn(1, 1, 4, 4)
    assert peak_memory(trace(model, example)) == measure_memory(model, example)


def test_of_an_example_that_is_a_slice_its_own_bytes_count() -> None:
    model, images = nn.Conv2d(3, 8, 1), torch.randn(50, 3, 4, 4)
    assert measure_memory(model, images[:1]) == 4 * 16 * (3 + 8)
    assert peak_memory(trace(model, images[:1])) == 4 * 16 * (3 + 8)
    assert predicted_memory(trace(model, images[:1])) == 4 * 16 * (3 + 8)
    assert measure_memory(model, torch.randn(1, 3, 4, 4).expand(5, 3, 4, 4)) == 4 * 16 * (3 + 5 * 8)


def test_parts_of_one_memory_count_once_each() -> None:
    class Sum(nn.Module):
        def forward(self, a, b):
            return a + b

    images = torch.randn(50, 3, 4, 4)
    assert measure_memory(Sum(), (images[:1], images[1:2])) == 4 * 16 * 3 * 3
    assert measure_memory(Sum(), (images[:1], images[:1])) == 4 * 16 * 3 * 2


def test_views_and_results_in_place_take_no_memory_of_their_own() -> None:
    graph = trace(Views(), torch.randn(1, 3, 4, 4))
    assert peak_memory(graph) == 4 * 16 * (3 + 8 + 2)
    assert peak_memory(graph) == measure_memory(graph.model, torch.randn(1, 3, 4, 4))
    assert peak_memory(trace(Views(), torch.randn(4, 3, 4, 4))) == 4 * peak_memory(graph)


@pytest.mark.parametrize(
    ("each", "first", "timed", "warmed"),
    [
        (1.0, 1.0, 51, 3),  # there is time for all
        (1.0, 90.0, 27, 3),  # a hiccup costs its own time and no more
        (300.0, 300.0, 7, 1),  # slow: no fewer than seven, after one of warm-up
    ],
)
def test_as_many_passes_are_timed_as_there_is_time_for(
    each: float, first: float, timed: int, warmed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    passes: list[float] = []

    class Slow(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            passes.append(each if passes else first)
            clock[0] += passes[-1]
            return x

    monkeypatch.setattr(timing, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    (found,) = measure_latency([Slow()], torch.zeros(1, 1), runs=51, warmup=3, seconds=118.5)
    assert found.runs == timed
    assert len(passes) == timed + warmed
    assert found.median == each


def test_quartiles_that_lie_on_each_other_overlap() -> None:
    one = Latency(1, 2.0, 1.0, 3.0, 7)
    for low, high, overlaps in ((2.5, 4.0, True), (3.0, 4.0, True), (3.1, 4.0, False), (0.1, 0.9, False), (0, 9, True)):
        other = Latency(1, (low + high) / 2, low, high, 7)
        assert one.overlaps(other) is other.overlaps(one) is overlaps


def test_latency_takes_turns_and_restores_modes() -> None:
    calls: list[str] = []

    class Noted(nn.Module):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            assert not self.training
            calls.append(self.name)
            return x

    models = [Noted("a").train(), Noted("b").eval()]
    found = measure_latency(models, torch.randn(4, 3, 8, 8), runs=5, warmup=2)
    assert calls == ["a", "b"] * 7
    assert [m.training for m in models] == [True, False]
    for latency in found:
        assert 0 < latency.low <= latency.median <= latency.high
        assert (latency.batch, latency.runs) == (4, 5)


class Aliased(nn.Module):
    """A layer that two attributes name, a weight that two layers share, and a layer used three times."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.h = nn.Conv2d(3, 16, 3), *(nn.Conv2d(16, 16, 3) for _ in "bc"), nn.Linear(16, 4)
        self.c.weight = self.b.weight
        self.last, self.kernel = self.h, self.a.weight
        self.stages = nn.ModuleList([nn.Conv2d(16, 16, 1)] * 3)
        self.register_buffer("shift", torch.zeros(16, 1, 1), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.c(self.b(self.a(x).relu()).relu() + self.get_buffer("shift"))
        for stage in self.stages:
            y = stage(y).relu()
        return self.h(y.mean((2, 3)))


@pytest.mark.parametrize("scheme", ["uniform", "knapsack"])
@pytest.mark.parametrize("share", [0.4, 0.7])
def test_a_budget_of_size_holds_for_what_has_several_names(scheme: Scheme, share: float, tmp_path: Path) -> None:
    model = Aliased().eval()
    graph = trace(model, torch.zeros(1, 3, 12, 12))
    save(model, tmp_path / "whole")
    whole = (tmp_path / "whole" / "weights.safetensors").stat().st_size
    assert whole == file_size(graph)
    plan = choose(graph, score(graph, "l2"), Budget(size=share), scheme=scheme, coupled=True)
    save(prune(model, plan), tmp_path / "small")
    small = (tmp_path / "small" / "weights.safetensors").stat().st_size
    assert small == file_size(graph, plan.keep)
    assert 0.7 * share * whole < small <= share * whole


class Scales(nn.Module):
    """Channels of several layers in one tensor, or in several places of one: outputs of two scales, shuffles, parts."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = (nn.Conv2d(c, n, 3, s, 1) for c, n, s in ((3, 32, 1), (32, 48, 2), (12, 32, 1)))
        self.box, self.score = (nn.ModuleList(nn.Conv2d(c, n, 1) for c in (32, 48)) for n in (8, 4))

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        p = self.a(x).relu()
        q = self.b(p).relu()
        left, right = self.c(nn.functional.pixel_shuffle(q, 2)).chunk(2, 1)
        heads = zip((p + torch.cat([right, left], 1), q), self.box, self.score, strict=True)
        return [torch.cat([box(f), score(f)], 1) for f, box, score in heads]


@pytest.mark.parametrize("scheme", ["uniform", "global", "knapsack"])
@pytest.mark.parametrize("limits", [{"memory": 0.8}, {"memory": 0.7, "macs": 0.6}, {"size": 0.8, "memory": 0.9}])
def test_a_budget_of_memory_holds_where_channels_are_those_of_several_layers(
    scheme: Scheme, limits: dict[str, float]
) -> None:
    model, example = Scales().eval(), torch.zeros(1, 3, 16, 16)
    graph = trace(model, example)
    plan = choose(graph, score(graph, "l2"), Budget(**limits), scheme=scheme, coupled=True)
    small, whole = measure_memory(prune(model, plan), example), measure_memory(model, example)
    assert plan.memory == (whole, small)
    assert small <= limits["memory"] * whole


def test_what_fold_takes_is_what_it_reads() -> None:
    class Folded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 2, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.a(x)
            return self.b(nn.functional.fold(nn.functional.unfold(y, 3, padding=1), y.shape[2:], 3, padding=1))

    model, example = Folded(), torch.zeros(2, 3, 8, 8)
    graph = trace(model, example)
    plan = choose(graph, score(graph, "l1"), Budget(channels=0.5))
    assert plan.memory == (measure_memory(model, example), measure_memory(prune(model, plan), example))
    assert peak_memory(graph, plan.keep) == plan.memory[1]

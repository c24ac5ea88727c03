"""Costs against PyTorch's own counter and against what is measured on the cut network."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from reconv.cost import measure_latency, profile, total_macs, total_parameters
from reconv.graph import trace
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


def test_products_of_two_signals_are_named_not_counted() -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.q, self.k, self.end = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(5, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.end(self.q(x) @ self.k(x).transpose(1, 2))

    found = profile(trace(Attention(), torch.randn(1, 5, 8)))
    assert dict(found.uncounted) == {"aten.bmm": 1}
    assert found.macs == 2 * 5 * 64 + 5 * 5 * 2


def test_what_is_predicted_of_a_cut_is_measured_after_it() -> None:
    example = torch.randn(1, 3, 32, 32)
    model = load_model("resnet20")
    graph = trace(model, example)
    plan = choose(graph, score(graph, "l2"), Budget(macs=0.5), coupled=True)
    predicted, measured = profile(graph, plan.keep), profile(trace(prune(model, plan), example))
    assert predicted == measured
    assert (predicted.macs, predicted.parameters) == (plan.macs[1], plan.params[1])
    assert total_macs(graph.layers, plan.keep) == predicted.macs
    assert total_parameters(graph, plan.keep) == predicted.parameters


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

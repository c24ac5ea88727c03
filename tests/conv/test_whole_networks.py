"""Every channel of whole networks against dense float64: values, and order."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from reconv import load_model, trace
from reconv.conv import ConvMatrix, ConvProblem, channel_norms_of_layers
from reconv.conv.taps import Direction

TOLERANCE = {"spectral": 1e-6, "nuclear": 1e-5, "frobenius": 1e-12}


def dense_norms(problem: ConvProblem, direction: Direction) -> dict[str, Tensor]:
    """All norms from the eigenvalues of G, a few channels at a time. For layers without groups."""
    weight = problem.weight.double()
    stacked = weight if direction == "forward" else weight.transpose(0, 1)
    grams = (ConvMatrix(few, problem.geometry, direction).gram() for few in stacked.split(16))
    found = torch.cat([torch.linalg.eigvalsh(gram) for gram in grams]).clamp_min(0).sqrt()
    return {"spectral": found[:, -1], "nuclear": found.sum(1), "frobenius": found.norm(dim=1)}


def check(model: nn.Module, direction: Direction) -> None:
    """All layers in one call, as `score` does it."""
    problems = list(convolutions(model))
    for problem, found in zip(problems, channel_norms_of_layers(problems, direction=direction)):
        for norm, truth in dense_norms(problem, direction).items():
            error = (found[norm] - truth).abs() / truth
            where = f"{problem.name}, {norm}"
            assert float(error.max()) <= TOLERANCE[norm], where
            order = truth.argsort()
            falls = -found[norm][order].diff() / truth[order][1:]  # a pair that swapped places, by how much
            assert float(falls.max()) <= TOLERANCE[norm], where


def convolutions(model: nn.Module) -> Iterator[ConvProblem]:
    graph = trace(model, torch.zeros(1, 3, 32, 32))
    for layer in graph.layers:
        if layer.geometry is not None and layer.kind == "conv":
            yield ConvProblem(graph.weight(layer), layer.geometry, name=layer.name)


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.parametrize("direction", ["forward", "backward"])
@pytest.mark.parametrize("name", ["resnet20", "resnet56"])
def test_trained_networks(weights_root: Path, name: str, direction: Direction) -> None:
    check(load_model(name, weights=weights_root / f"cifar10-{name}.safetensors"), direction)


@pytest.mark.slow
@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_a_random_network(direction: Direction) -> None:
    check(load_model("vgg16_bn"), direction)

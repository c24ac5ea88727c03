"""Repair and error curves of networks of any task: several inputs, sequences, maps up and down, several heads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from task_nets import Chosen, Listed, Pyramid, Sound, Text, TwoInputs, Unet, Volume
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

import reconv
from reconv.inputs import as_example, call, first_images
from reconv.refit import repair_with_report
from reconv.refit.report import RepairReport

N = 24


def images(*shape: int) -> Tensor:
    """Neighbours are alike, as in pictures and sounds."""
    noise = torch.randn(N, *shape, generator=torch.Generator().manual_seed(1))
    return noise + noise.roll(1, -1) + noise.roll(2, -1) + noise.mean(tuple(range(2, noise.dim())), keepdim=True)


CASES: dict[str, tuple[Callable[[], nn.Module], Callable[[], Any]]] = {
    "positional": (TwoInputs, lambda: (images(3, 8, 8), images(6))),
    "keywords": (TwoInputs, lambda: {"numbers": images(6), "image": images(3, 8, 8)}),
    "list": (Listed, lambda: list(images(3, 8, 8))),
    "skips": (Unet, lambda: images(3, 8, 8)),
    "pyramid": (Pyramid, lambda: images(3, 8, 8)),
    "one axis": (Sound, lambda: images(1, 64)),
    "three axes": (Volume, lambda: images(1, 6, 6, 6)),
    "LSTM": (Text, lambda: images(1, 8, 10)),
    "LSTM, steps first": (lambda: Text(batch_first=False), lambda: images(1, 8, 10)),
    "GRU": (lambda: Text(nn.GRU), lambda: images(1, 8, 10)),
    "RNN, steps first": (lambda: Text(nn.RNN, batch_first=False), lambda: images(1, 8, 10)),
    "boxes": (Chosen, lambda: images(3, 8, 8)),
}


def given(case: str) -> tuple[Callable[[], nn.Module], Any]:
    build, inputs = CASES[case]
    return build, inputs()


@torch.no_grad()
def redundant(model: nn.Module) -> nn.Module:
    """The second half of a layer's channels are the first half, scaled: what goes first, the others make up for."""
    for module in model.modules():
        if not isinstance(module, nn.modules.conv._ConvNd | nn.Linear):
            continue
        transposed = isinstance(module, nn.modules.conv._ConvTransposeNd)
        weight = module.weight.transpose(0, 1) if transposed else module.weight
        half = len(weight) // 2
        if half >= 4:
            for tensor in (weight, module.bias):
                tensor[half : 2 * half] = 0.5 * tensor[:half]
    return model


def repaired(build: Callable[[], nn.Module], inputs: Any) -> tuple[float, float, RepairReport, reconv.Plan]:
    """Relative error of the outputs pruned only and repaired, and what repair says."""
    torch.manual_seed(0)
    model = redundant(build()).eval()
    graph = reconv.trace(model, as_example(first_images(inputs, 2)))
    plan = reconv.choose(graph, reconv.score(graph, "l2"), reconv.Budget(macs=0.6))
    small = reconv.prune(model, plan)
    assert reconv.verify(model, small, plan).holds
    better, report = repair_with_report(small, plan=plan, reference=model, images=inputs)
    return error(small, model, inputs), error(better, model, inputs), report, plan


@torch.no_grad()
def error(small: nn.Module, model: nn.Module, inputs: Any) -> float:
    pairs = zip(tree_leaves(call(small, inputs)), tree_leaves(call(model, inputs)), strict=True)
    return max(float((a - b).norm() / b.norm()) for a, b in pairs)


@pytest.mark.parametrize("case", [case for case in CASES if case != "boxes"])
def test_repair_restores_every_output(case: str) -> None:
    before, after, report, plan = repaired(*given(case))
    assert after < 0.02 * before
    solved = {row.layer for row in report.layers}
    reading = {layer.name for layer in plan.graph.layers if not plan.keep[layer.inputs].all()}
    assert reading == solved & reading
    assert not solved & set(report.unrepaired)


def test_what_a_recurrent_layer_reads_is_solved_and_its_state_is_named() -> None:
    report = repaired(*given("LSTM"))[2]
    assert {"rnn.weight_ih_l0", "rnn.weight_ih_l0_reverse"} <= {row.layer for row in report.layers}
    assert report.unrepaired["rnn.weight_hh_l0"] == "it reads the state of a recurrent layer"


def test_layers_behind_places_that_values_choose_are_named() -> None:
    report = repaired(*given("boxes"))[2]
    assert report.unrepaired["c"].startswith("values decide")
    assert "scores" in {row.layer for row in report.layers}


def test_layers_that_several_levels_share_are_named() -> None:
    report = repaired(lambda: Pyramid(shared=True), images(3, 8, 8))[2]
    assert set(report.unrepaired) == {"heads.0.0", "heads.0.2"}
    assert "2 times" in report.unrepaired["heads.0.0"]


def test_a_weight_without_a_module_is_named() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.w = nn.Linear(6, 12), nn.Parameter(torch.randn(4, 12))

        def forward(self, x: Tensor) -> Tensor:
            return torch.nn.functional.linear(self.a(x).relu(), self.w)

    assert repaired(Own, images(6))[2].unrepaired == {"w": "its weight is no module's own"}


@pytest.mark.parametrize("case", ["keywords", "list", "pyramid", "GRU", "boxes"])
def test_error_curves_of_any_inputs(case: str) -> None:
    build, inputs = given(case)
    model = build().eval()
    graph = reconv.trace(model, as_example(first_images(inputs, 2)))
    curves = reconv.error_curves(graph, reconv.gather_moments(graph, inputs), held_out=inputs)
    plan = reconv.choose(graph, curves, reconv.Budget(macs=0.7), scheme="knapsack")
    assert plan.macs[1] <= 0.7 * plan.macs[0]

"""Weights of any format and size give the plan of a float64 copy of them, and its proof; or a reason."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import reconv
from reconv.errors import WeightsError

FORMATS = (torch.float16, torch.bfloat16, torch.float32)
FACTORS = {
    "ordinary": 1.0,
    "tiny": 1e-30,
    "denormal": 1e-39,
    "half a denormal": 1e-6,
    "huge": 1e30,
    "near the end": 1e38,
}
SPECIAL = ("constant", "all constant", "duplicate", "zero", "far apart", "zero variance")


def net(kind: str) -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 12, 3, padding=1)]
    model = nn.Sequential(*layers, nn.BatchNorm2d(12), nn.ReLU(), nn.Conv2d(12, 8, 1), nn.ReLU(), nn.Conv2d(8, 4, 1))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d) and kind == "zero variance":
            torch.nn.init.zeros_(module.get_buffer("running_var"))
        if isinstance(module, nn.Conv2d):
            _change(module.weight.data, kind)
    return model.eval()


def _change(weight: torch.Tensor, kind: str) -> None:
    if kind in FACTORS:
        weight.mul_(FACTORS[kind])
    elif kind == "constant":
        weight[:3] = 0.25
    elif kind == "all constant":
        weight.fill_(0.1)
    elif kind == "duplicate":
        weight[1], weight[3] = weight[0], weight[2]
    elif kind == "zero":
        weight[:2] = 0
    elif kind == "far apart":
        weight[0].mul_(1e4)
        weight[1].mul_(1e-6)


def kept(model: nn.Module, criterion: str, scheme: str) -> tuple[reconv.Plan, list[tuple[int, ...]]]:
    example = torch.zeros(1, 3, 6, 6, dtype=next(model.parameters()).dtype)
    graph = reconv.trace(model, example)
    plan = reconv.choose(graph, reconv.score(graph, criterion), reconv.Budget(macs=0.5), scheme=scheme)  # type: ignore[arg-type]
    return plan, [tuple(row.kept) for row in plan.groups]


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("kind", [*FACTORS, *SPECIAL])
def test_a_plan_is_that_of_a_float64_copy(kind: str, dtype: torch.dtype) -> None:
    model = net(kind).to(dtype)
    double = copy.deepcopy(model).double()
    if not all(torch.isfinite(p).all() for p in model.parameters()):
        for network in (model, double):
            with pytest.raises(WeightsError, match="hold NaN or infinity"):
                kept(network, "l2", "global")
        return
    for criterion, scheme in (("l2", "knapsack"), ("nuclear", "global"), ("fpgm", "knapsack"), ("spectral", "uniform")):
        plan, channels = kept(model, criterion, scheme)
        assert channels == kept(double, criterion, scheme)[1], criterion
    proof = reconv.verify(model, reconv.prune(model, plan), plan)
    assert proof.holds, proof
    assert proof.dtype == "float64"

"""Layers without weight, of tiny weights, or of equal ones do not make a plan take more than the budget asks for."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import nn

from reconv.graph import trace
from reconv.plan import Budget, choose
from reconv.saliency import score
from reconv.surgery import prune, verify

EXAMPLE = torch.zeros(1, 3, 8, 8)


def net(dead: tuple[int, ...], value: float) -> nn.Module:
    torch.manual_seed(0)
    widths = (3, 16, 32, 32, 16)
    layers = [nn.Conv2d(a, b, 3, padding=1) for a, b in pairwise(widths)]
    with torch.no_grad():
        for layer in dead:
            layers[layer].weight.fill_(value)
    return nn.Sequential(*[m for layer in layers for m in (layer, nn.ReLU())], nn.Conv2d(16, 4, 1)).eval()


@pytest.mark.parametrize("value", [0.0, 1e-40, 0.5, 1e30])
@pytest.mark.parametrize("dead", [(1,), (2,), (1, 2), (0, 1, 2, 3)])
@pytest.mark.parametrize("limits", [{"macs": 0.5}, {"params": 0.5, "macs": 0.6}, {"size": 0.5}])
def test_what_the_budget_allows_stays(dead: tuple[int, ...], value: float, limits: dict[str, float]) -> None:
    model = net(dead, value)
    graph = trace(model, EXAMPLE)
    for scheme in ("global", "knapsack"):
        plan = choose(graph, score(graph, "l2"), Budget(**limits), scheme=scheme)  # type: ignore[arg-type]
        assert plan.size is not None
        left = {"macs": plan.macs, "params": plan.params, "size": plan.size}
        tightest = max(left[name][1] / left[name][0] / share for name, share in limits.items())
        assert 0.9 < tightest <= 1, plan
    assert verify(model, prune(model, plan), plan).holds

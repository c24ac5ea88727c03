"""Means and the like over channels: of those that stay, in the cut network as in the proof."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from laws import CUTS, planned, randomized
from nets import Net, conv, head
from odd_nets import ODD, GlobalResponseNorm
from torch import Tensor

import reconv.artifacts
from reconv.graph import trace
from reconv.plan import Plan
from reconv.surgery import prune, verify

EXAMPLE = torch.randn(1, 3, 8, 8)


def plan_of(name: str) -> Plan:
    model = randomized(ODD[name][0]()).eval()
    return planned(trace(model, EXAMPLE), CUTS[-1])


def test_what_goes_is_no_part_of_the_mean() -> None:
    plan = plan_of("GlobalResponseNorm")
    small = prune(plan.graph.model, plan)
    assert isinstance(small, GlobalResponseNorm)
    seen = small.a(EXAMPLE)
    assert 1 < seen.shape[1] < 8
    sizes = seen.square().sum((2, 3), keepdim=True).sqrt()
    norm = small.weight * seen * sizes / (sum(sizes.unbind(1))[:, None] / seen.shape[1] + 1e-6)
    torch.testing.assert_close(small(EXAMPLE), head(small.end(seen + norm + small.bias)))


@pytest.mark.parametrize("name", ["GlobalResponseNorm", "root_mean_square_norms", "layer_norm_written_out"])
def test_the_proof_needs_to_know_which_channels_a_statistic_runs_over(name: str) -> None:
    plan = plan_of(name)
    small = prune(plan.graph.model, plan)
    assert verify(plan.graph.model, small, plan) < 1e-12
    ignorant = replace(plan, graph=replace(plan.graph, statistics=()))
    assert verify(plan.graph.model, small, ignorant) > 1e-3


def test_a_proof_of_another_pass_is_undecided() -> None:
    plan = plan_of("layer_norm_written_out")
    other = replace(plan, graph=replace(plan.graph, statistics=((plan.graph.layers[0].outputs[None, :, None, None],),)))
    proof = verify(plan.graph.model, prune(plan.graph.model, plan), other)
    assert not proof.holds
    assert "var_mean: the forward pass runs other operators than the traced one" in proof.undecided


def test_a_mean_that_is_a_result_keeps_its_channels() -> None:
    def forward(m: Net, x: Tensor) -> Tensor:
        return m.b(m.a(x)).mean(1)

    graph = trace(Net(forward, a=conv(3, 8), b=conv(8, 6)), EXAMPLE)
    assert [group.reason is None for group in graph.groups] == [True, False]
    assert "a statistic over its channels (mean at test_statistics.py:" in str(graph)


def test_a_bound_may_be_infinite(tmp_path: Path) -> None:
    """A clamp that clamps nothing is saved, loaded and proven as any other."""
    plan = plan_of("root_mean_square_norms")
    small = prune(plan.graph.model, plan)
    reconv.artifacts.save(small, tmp_path / "model")
    again = reconv.artifacts.load(tmp_path / "model", model=plan.graph.model)
    assert torch.equal(small(EXAMPLE), again(EXAMPLE))

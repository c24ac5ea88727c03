"""The networks that must come out right: every cut, proven in float64, with costs predicted exactly."""

from __future__ import annotations

import pytest
import torch
from laws import CUTS, Cut, check_cut, check_network, planned, randomized

from reconv.errors import GraphError
from reconv.graph import trace
from reconv.surgery import prune, verify
from reconv.zoo import load_model

QUICK = (
    ("resnet20", {"shortcut": "average"}, 32),
    ("resnet20", {"shortcut": "stride"}, 32),
    ("resnet20", {"shortcut": "conv"}, 32),
    ("resnet18", {}, 64),
    ("squeezenet1_1", {}, 64),
)
# One of each family; the deeper ones are proved by benchmarks/coverage/sweep.py.
LONG = (
    ("resnet56", {"shortcut": "average"}, 32),
    ("vgg16_bn", {}, 32),
    ("torchvision:resnet34", {}, 64),
    ("torchvision:resnet50", {}, 64),
    ("torchvision:vgg11_bn", {}, 64),
    ("torchvision:densenet121", {}, 64),
    ("torchvision:mobilenet_v2", {}, 64),
    ("torchvision:mobilenet_v3_small", {}, 64),
    ("torchvision:mobilenet_v3_large", {}, 64),
    ("torchvision:efficientnet_b0", {}, 64),
    ("torchvision:regnet_y_400mf", {}, 64),
    ("torchvision:resnext50_32x4d", {}, 64),
    ("torchvision:googlenet", {}, 96),
    ("torchvision:inception_v3", {}, 299),
    ("torchvision:convnext_tiny", {}, 64),
    ("torchvision:vit_b_16", {"image_size": 64}, 64),
)


def _named(rows: tuple[tuple[str, dict[str, object], int], ...]) -> list[object]:
    return [pytest.param(*row, id="-".join([row[0].split(":")[-1], *map(str, row[1].values())])) for row in rows]


@pytest.mark.parametrize(("name", "arguments", "size"), _named(QUICK))
def test_every_cut_of_a_small_network_is_right(name: str, arguments: dict[str, object], size: int) -> None:
    check_network(lambda: load_model(name, **arguments), torch.randn(1, 3, size, size))


@pytest.mark.parametrize(("name", "arguments", "size"), _named((("mobilenet_v3_small", {}, 64),)))
def test_a_coupled_cut_of_a_mobile_network_is_right(name: str, arguments: dict[str, object], size: int) -> None:
    check_network(lambda: load_model(name, **arguments), torch.randn(1, 3, size, size), CUTS[-1:])


@pytest.mark.slow
@pytest.mark.parametrize(("name", "arguments", "size"), _named(LONG))
def test_every_cut_of_every_accepted_network_is_right(name: str, arguments: dict[str, object], size: int) -> None:
    check_network(lambda: load_model(name, **arguments), torch.randn(1, 3, size, size))


def test_a_coupled_cut_reaches_the_residual_streams() -> None:
    graph = trace(load_model("resnet20", shortcut="conv"), torch.randn(1, 3, 32, 32))
    streams = {g.name for g in graph.groups if g.stream}
    assert streams == {"conv1", "layer2.0.conv2", "layer3.0.conv2"}
    whole, coupled = (planned(graph, Cut("uniform", 0.5, c)) for c in (False, True))
    cut = {row.name for row in coupled.groups if len(row.kept) < row.size}
    assert streams <= cut
    assert not streams & {row.name for row in whole.groups if len(row.kept) < row.size}
    assert coupled.params[1] < whole.params[1]


def test_one_wrong_index_breaks_the_proof() -> None:
    model = randomized(load_model("resnet20")).eval()
    example = torch.randn(1, 3, 32, 32)
    plan = planned(trace(model, example), CUTS[0])
    small = check_cut(plan, example)
    kept = set(next(row for row in plan.groups if row.name == "layer2.1.conv1").kept)
    wrong = min(set(range(32)) - kept)
    with torch.no_grad():
        small.get_parameter("layer2.1.conv1.weight")[0] = model.get_parameter("layer2.1.conv1.weight")[wrong]
    assert verify(model, small, plan) > 1e-4


def test_a_head_of_zeros_does_not_void_the_proof() -> None:
    model = load_model("resnet20")
    with torch.no_grad():
        model.get_parameter("fc.weight").zero_()
        model.get_parameter("fc.bias").zero_()
    plan = planned(trace(model, torch.randn(1, 3, 32, 32)), CUTS[0])
    small = prune(model, plan)
    assert verify(model, small, plan) < 1e-10
    with torch.no_grad():  # an error that the zero head alone would hide
        small.get_parameter("layer1.0.conv1.weight").mul_(1.01)
    assert verify(model, small, plan) > 1e-6


def test_a_proof_that_would_be_void_is_undecided() -> None:
    class Constant(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 8, 3)
            self.head = torch.nn.Linear(8, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(0.0 * self.conv(x).mean((2, 3)))

    model = Constant()
    plan = planned(trace(model, torch.randn(1, 3, 8, 8)), CUTS[0])
    proof = verify(model, prune(model, plan), plan)
    assert not proof.holds
    assert "do not depend on its input" in proof.undecided
    model = load_model("resnet20")
    plan = planned(trace(model, torch.randn(1, 3, 32, 32)), CUTS[0])
    with pytest.raises(GraphError, match="give what `prune` made by this plan"):
        verify(model, model, plan)

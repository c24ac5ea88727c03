"""Residual branches: which ones are found, and that a network without them is what the masks say."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

import reconv
from reconv.cost import file_size, measure_memory, profile
from reconv.graph.branch_flow import CHANGED, OVERWRITTEN, READ_ELSEWHERE, SHARED
from reconv.graph.branches import with_branches
from reconv.graph.bypass import NOTHING, Guard, Nothing, Removed
from reconv.plan import plan_from_json
from reconv.plan.plans import plan_keeping


def conv(a: int, b: int, kernel: int = 3, **options: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(a, b, kernel, padding=kernel // 2, **options), nn.BatchNorm2d(b))


class Block(nn.Module):
    """A basic block as torchvision writes it: in place, one ReLU for two places."""

    def __init__(self, width: int = 6, inner: int = 5):
        super().__init__()
        self.one, self.two, self.relu = conv(width, inner), conv(inner, width), nn.ReLU(inplace=True)

    def forward(self, x):
        out = self.two(self.relu(self.one(x)))
        out += x
        return self.relu(out)


class Bottleneck(Block):
    def __init__(self, width: int = 6):
        super().__init__(width)
        self.one, self.mid, self.two = conv(width, 4, 1), conv(4, 3), conv(3, width, 1)

    def forward(self, x):
        return F.relu(x + self.two(F.relu(self.mid(F.relu(self.one(x))))))


class PreActivation(nn.Module):
    def __init__(self, width: int = 6):
        super().__init__()
        self.norm, self.body = nn.BatchNorm2d(width), nn.Sequential(conv(width, 5), nn.GELU(), conv(5, width))

    def forward(self, x):
        return x + self.body(F.gelu(self.norm(x)))


class Excited(nn.Module):
    """An inverted residual with squeeze and excitation, and a layer scale."""

    def __init__(self, width: int = 6):
        super().__init__()
        self.up, self.deep, self.down = conv(width, 8, 1), conv(8, 8, groups=8), conv(8, width, 1)
        self.squeeze, self.excite = nn.Conv2d(8, 3, 1), nn.Conv2d(3, 8, 1)
        self.scale = nn.Parameter(torch.full((width, 1, 1), 0.5))
        self.dropped = nn.Dropout(0.1)

    def forward(self, x):
        y = F.silu(self.deep(F.silu(self.up(x))))
        y = y * self.excite(F.silu(self.squeeze(y.mean((2, 3), keepdim=True)))).sigmoid()
        return x + self.dropped(self.scale * self.down(y))


class StochasticDepth(nn.Module):
    def forward(self, x):
        if not self.training:
            return x
        return x * torch.ones(x.shape[0], *[1] * (x.ndim - 1))


class Transformer(nn.Module):
    """Two branches in one module; they share a stochastic depth that asks for shapes."""

    def __init__(self, width: int = 6):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 2, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(width, 7), nn.GELU(), nn.Linear(7, width))
        self.drop = StochasticDepth()

    def forward(self, x):
        y = self.norm1(x)
        y, _ = self.attention(y, y, y, need_weights=False)
        x = x + self.drop(y)
        return x + self.drop(self.mlp(self.norm2(x)))


class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.Sequential(Transformer(), Transformer())

    def forward(self, x):
        return self.blocks(x.flatten(2).transpose(1, 2)).transpose(1, 2)[..., None]


def net(*blocks: nn.Module, first: nn.Module | None = None) -> nn.Module:
    torch.manual_seed(0)
    stem = nn.Sequential(conv(3, 6), first or nn.ReLU())
    model = nn.Sequential(stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
    return model.eval()


X = torch.zeros(1, 3, 8, 8)
NETS = {
    "basic": (lambda: net(Block(), Block()), {"1": {"1": 0}, "2": {"2": 0}}),
    "bottleneck": (lambda: net(Bottleneck(), Block()), {"1": {"1": 0}, "2": {"2": 0}}),
    "not idempotent": (lambda: net(Block(), first=nn.GELU()), {"1": {"1.one": 1, "1.two": 1}}),
    "preactivation": (lambda: net(PreActivation(), PreActivation(), first=nn.GELU()), None),
    "excited": (lambda: net(Excited(), Excited(), first=nn.GELU()), {"1": {"1": 0}, "2": {"2": 0}}),
    "transformer": (
        lambda: net(Tokens(), first=nn.GELU()),
        {
            "1.blocks.0.attention": {"1.blocks.0.norm1": 1, "1.blocks.0.attention": 2, "1.blocks.0.drop": -1},
            "1.blocks.0.mlp": {"1.blocks.0.norm2": 1, "1.blocks.0.mlp": 1, "1.blocks.0.drop": -1},
        },
    ),
}


def traced(name: str):
    return with_branches(reconv.trace(NETS[name][0](), X))


@pytest.mark.parametrize("name", NETS)
def test_branches_are_found_and_named(name):
    found = {b.name: dict(b.replacements) for b in traced(name).branches if not b.reason}
    for branch, replacements in (NETS[name][1] or {}).items():
        assert found[branch] == replacements
    assert len(found) == {"not idempotent": 1, "transformer": 4}.get(name, 2)


def cuts(graph):
    """All branches gone; one gone and the rest narrower."""
    able = [b for b in graph.branches if not b.reason]
    for gone, share in ((able, 0.0), (able[:1], 0.4), (able[1:], 0.4)):
        keep = np.ones(graph.classes, dtype=bool)
        for group in graph.groups:
            steps = group.steps(np.arange(group.size))
            keep[group.units[steps[: round(share * (len(steps) - 1))]]] = False
        for branch in gone:
            keep[branch.classes] = False
        yield plan_keeping(graph, keep)


class Counted(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(func._opname)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", NETS)
def test_a_removed_branch_is_one_that_adds_nothing_and_all_costs_follow(name, tmp_path):
    graph = traced(name)
    for number, plan in enumerate(cuts(graph)):
        small = reconv.prune(graph.model, plan)
        proof = reconv.verify(graph.model, small, plan)
        assert proof < 1e-12 or (name == "transformer" and math.isnan(proof)), plan.removed
        assert profile(small, X).macs == plan.macs[1]
        assert sum(p.numel() for p in small.parameters()) == plan.params[1]
        assert measure_memory(small, X) == plan.memory[1]
        folder = tmp_path / str(number)
        reconv.save(small, folder, plan=plan)
        assert (folder / "weights.safetensors").stat().st_size == plan.size[1] == file_size(graph, plan.keep)
        again = reconv.load(folder, model=graph.model)
        images = torch.randn(3, 3, 8, 8)
        assert torch.equal(again(images), small(images))
        read = plan_from_json(reconv.trace(graph.model, X), json.loads(json.dumps(plan.to_json())))
        assert read.removed == plan.removed
        assert [row.kept for row in read.groups] == [row.kept for row in plan.groups]
        small.train()(images).sum().backward()


@pytest.mark.parametrize("name", NETS)
def test_no_operator_runs_for_a_removed_branch(name):
    graph = traced(name)
    plan = next(cuts(graph))
    gone = frozenset().union(*(branch.operations for branch in plan.branches))
    expected = [row.operator.split(".")[1] for i, row in enumerate(graph.forward) if i not in gone]
    small = reconv.prune(graph.model, plan)
    with torch.no_grad(), Counted() as counted:
        small(X)
    idle = ("detach", "empty")
    assert [n for n in counted.names if n not in idle] == [n for n in expected if n not in idle]


class Two(nn.Module):
    """A block and what is odd about it."""

    def __init__(self, forward, **modules):
        super().__init__()
        self.block, self.own = Block(), forward
        for name, module in modules.items():
            setattr(self, name, module)

    def forward(self, x):
        return self.own(self, x)


def shortcut(net, x):
    return net.block.two(F.relu(net.block.one(x))) + net.other(x)


def read_twice(net, x):
    y = net.block.two(F.relu(net.block.one(x)))
    return (x + y) * y.mean()


def overwritten(net, x):
    y = (x + net.block.two(F.relu(net.block.one(x)))).sigmoid_()
    return torch.cat([x, y], 1)[:, :6]


def asks_for_sizes(net, x):
    y = net.block.one(x)
    return F.gelu(x + net.block.two(F.relu(y.view(y.shape[0], -1, 8, 8))))


def shares(net, x):
    y = net.block.two(F.relu(net.block.one(x)))
    return (x + y) + net.block.two[0].bias.sum()


REASONS = {
    "shortcut": (shortcut, CHANGED, {"other": conv(6, 6, 1)}),
    "read twice": (read_twice, READ_ELSEWHERE, {}),
    "overwritten": (overwritten, OVERWRITTEN, {}),
    "asks for sizes": (asks_for_sizes, "the code around it cannot go on without it", {}),
    "shares": (shares, SHARED, {}),
}


@pytest.mark.parametrize("name", REASONS)
def test_a_branch_that_has_to_stay_says_why(name):
    forward, reason, modules = REASONS[name]
    graph = with_branches(reconv.trace(net(Two(forward, **modules), first=nn.GELU()), X))
    assert [b.reason.startswith(reason) for b in graph.branches] == [True]


def test_a_sum_leaves_nothing_out_and_all_else_of_nothing_is_nothing():
    x = torch.randn(2, 3)
    total = NOTHING
    total += x
    for result in (x + NOTHING, NOTHING + x, total, torch.add(x, NOTHING)):
        assert result is x
    assert torch.equal(torch.cat([x, NOTHING, x]), torch.cat([x, x]))
    for value in (F.relu(NOTHING), NOTHING * x, x * NOTHING, NOTHING.flatten(1), NOTHING[0], F.linear(NOTHING, x)):
        assert isinstance(value, Nothing)
    with pytest.raises(AttributeError, match="shape"):
        NOTHING.shape  # noqa: B018
    assert Guard(nn.Softmax(-1))(NOTHING) is NOTHING
    assert Removed(2)(x) == (NOTHING, NOTHING)


def test_a_pruned_network_is_traced_exported_and_pruned_again():
    graph = traced("transformer")
    plan = list(cuts(graph))[1]
    small = reconv.prune(graph.model, plan)
    again = with_branches(reconv.trace(small, X))
    assert len([b for b in again.branches if not b.reason]) == 3
    program = torch.export.export(small, (torch.randn(1, 3, 8, 8),)).module()
    images = torch.randn(1, 3, 8, 8)
    assert torch.allclose(program(images), small(images), atol=1e-6)
    smaller = reconv.prune(small, next(cuts(again)))
    assert smaller(images).shape == (1, 4)

"""Two layers refined together lose less than one after the other."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from repair_nets import EXAMPLE, NETS, Bottlenecks, Plain, Residual, images, settled
from torch import nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from reconv.graph import trace
from reconv.plan import Budget, choose
from reconv.refit import Settings, error_curves, gather_moments, repair, repair_with_report
from reconv.refit.chains import find_chains
from reconv.refit.joint import Member, Pair, refine
from reconv.refit.layer_use import LayerUse
from reconv.refit.rows import to_matrix
from reconv.saliency import score
from reconv.surgery import prune


class Catch(TorchFunctionMode):
    use: LayerUse | None = None

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.use = LayerUse.of(func, args, kwargs or {}) or self.use
        return func(*args, **(kwargs or {}))


def member(layer: nn.Module, x: torch.Tensor) -> Member:
    with Catch() as catch, torch.no_grad():
        layer(x)
    use = catch.use
    assert use is not None
    matrix = to_matrix(use.weight.detach(), use.kind, use.groups)
    if layer.bias is not None:
        matrix = torch.cat([matrix, layer.bias.detach().reshape(use.groups, 1, -1)], 1)
    return Member(use, matrix, layer.bias is not None)


LAYERS = {
    "plain": (nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 4, 3, padding=1)),
    "strided, no bias": (nn.Conv2d(3, 6, 3, padding=1, stride=2, bias=False), nn.Conv2d(6, 4, 1, bias=False)),
    "grouped": (nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 4, 3, padding=1, groups=2)),
    "depthwise": (nn.Conv2d(3, 3, 3, padding=1, groups=3), nn.Conv2d(3, 4, 1)),
    "transposed": (nn.Conv2d(3, 6, 3, padding=1), nn.ConvTranspose2d(6, 4, 2, stride=2)),
}


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("gate", [None, (0.0, float("inf"))])
def test_it_finds_its_way_back(kind: str, gate: tuple[float, float] | None) -> None:
    first, second = (layer.double() for layer in LAYERS[kind])
    x = images(64)
    with torch.no_grad():
        target = second(F.relu(first(x)))
        start = [member(first, x), member(second, F.relu(first(x)))]
    generator = torch.Generator().manual_seed(0)
    away = [
        replace(m, matrix=m.matrix * (1 + 0.3 * torch.randn(m.matrix.shape, generator=generator, dtype=torch.float64)))
        for m in start
    ]
    pair = Pair(away[0], away[1], F.relu, x, target, gate)

    def error(matrices) -> float:
        h = F.relu(pair.first(x, pair.first.weights(matrices[0])))
        value = pair.second(h, pair.second.weights(matrices[1]))
        if gate is not None:
            value, wanted = value.clamp(*gate), target.clamp(*gate)
        else:
            wanted = target
        return float((value - wanted).square().sum() / wanted.square().sum())

    before = error((away[0].matrix, away[1].matrix))
    found = [error(refine(pair, n, 1e-6)) for n in (0, 3, 30)]
    assert found[0] == before
    assert found[1] < 0.8 * before
    assert found[2] < 0.15 * before


def test_the_gradient_mode_and_the_layers_stay_as_they_are() -> None:
    first, second = (layer.double() for layer in LAYERS["plain"])
    x = images(8)
    with torch.no_grad():
        pair = Pair(member(first, x), member(second, F.relu(first(x))), F.relu, x, torch.zeros(8, 4, 8, 8).double())
        before = first.weight.clone()
        refine(pair, 2, 1e-4)
        assert not torch.is_grad_enabled()
    assert torch.equal(before, first.weight)
    assert first.weight.grad is None


def test_who_follows_whom() -> None:
    residual, plain = settled(Residual()), settled(Plain())
    chains = find_chains(trace(residual, EXAMPLE), residual)[0]
    assert {name: c.follows for name, c in chains.items() if c.follows} == {"b": "a", "d": "c"}
    chains = find_chains(trace(plain, EXAMPLE), plain)[0]
    # A flattened map is no longer a signal of channels.
    assert {name: c.follows for name, c in chains.items() if c.follows} == {"b": "a", "c": "b", "e": "d"}
    bottlenecks = settled(Bottlenecks())
    chains = find_chains(trace(bottlenecks, EXAMPLE), bottlenecks)[0]
    assert {name: c.follows for name, c in chains.items() if c.follows} == {"b": "a", "d": "c", "e": "d"}
    chains = find_chains(trace(plain, EXAMPLE), plain)[0]
    x = torch.randn(2, 8, 4, 4)
    assert torch.equal(chains["b"].through(x.clone()), F.relu(x))


@pytest.mark.parametrize("name", ["Residual", "Plain", "Preactivated", "Upsampling"])
def test_jointly_is_closer(name: str) -> None:
    model = settled(NETS[name]())
    graph = trace(model, EXAMPLE)
    plan = choose(graph, score(graph, "l2"), Budget(macs=0.4))
    reports = []
    for joint in (0, 8):
        settings = Settings(points=64, joint=joint)
        made = repair_with_report(prune(model, plan), plan=plan, reference=model, images=images(256), settings=settings)
        reports.append(made[1])
    apart, together = ({row.layer: row for row in report.layers} for report in reports)
    followers = [name for name, row in together.items() if row.jointly]
    assert followers
    assert not any(row.jointly for row in apart.values())
    assert all(together[name].after < 1.01 * apart[name].after for name in followers)
    assert any(together[name].after < 0.97 * apart[name].after for name in followers)


@pytest.mark.parametrize("memory", [1, 2 << 30])
def test_the_number_of_threads_changes_nothing(memory: int) -> None:
    model = settled(Residual()).float()
    graph = trace(model, EXAMPLE.float())
    x, settings = images(300).float(), Settings(points=64, batch=70, memory=memory)
    threads, found = torch.get_num_threads(), []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            plan = choose(graph, error_curves(graph, gather_moments(graph, x, settings)), Budget(macs=0.4))
            made = repair(prune(model, plan), plan=plan, reference=model, images=x, settings=settings)
            assert torch.get_num_threads() == count
            found.append((plan.groups, made.state_dict()))
    finally:
        torch.set_num_threads(threads)
    for groups, tensors in found[1:]:
        assert groups == found[0][0]
        assert all(torch.equal(tensors[name], tensor) for name, tensor in found[0][1].items())

"""Passes that wait for each other, how many images they are of, and errors on images that are left out."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
import torch
from repair_nets import EXAMPLE, NETS, Residual, images, settled
from torch import nn
from torch.nn import functional as F

from reconv.graph import trace
from reconv.plan import Budget, choose
from reconv.refit import Settings, error_curves, gather_moments, repair_with_report
from reconv.refit.chains import find_chains
from reconv.refit.layer_use import laid_out
from reconv.refit.left_out import left_out
from reconv.refit.lockstep import Walk, close_all
from reconv.refit.phases import images_at_a_time, phases, signal_bytes
from reconv.refit.sensitivity import Trial, divergence, measure_sensitivities
from reconv.refit.solve import RIDGES, Problem, best_ridge, by_group, damped, solve, solve_with_factor
from reconv.saliency import score
from reconv.surgery import prune


def test_a_walk_stops_goes_on_and_ends() -> None:
    said = []

    def run(pause) -> None:
        for i in range(3):
            pause(i)
            said.append(i)

    walk = Walk(run)
    assert [walk.advance() for _ in range(5)] == [0, 1, 2, None, None]
    assert said == [0, 1, 2]


def test_walks_that_are_given_up_leave_no_thread_and_errors_reach_the_caller() -> None:
    before = threading.active_count()

    def run(pause) -> None:
        try:
            pause("here")
        except Exception:
            raise AssertionError("a network's own code must not keep a closed pass") from None
        raise ValueError("beyond")

    walks = [Walk(run) for _ in range(4)]
    assert [walk.advance() for walk in walks[:3]] == ["here"] * 3
    with pytest.raises(ValueError, match="beyond"):
        walks[0].advance()
    close_all(walks)
    assert threading.active_count() == before


def test_fewer_images_wait_where_maps_are_large() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 8, 3, stride=4), nn.ReLU(), nn.Conv2d(8, 8, 3)
    ).eval()
    example = torch.zeros(200, 3, 64, 64)[:1]  # whose memory is that of all
    graph = trace(net, example)
    chains, _ = find_chains(graph, net)
    held = signal_bytes(graph, chains)
    assert held["0"] == pytest.approx(4 * 64 * 64 * 35, rel=0.3)
    memory = 60 * 2 * held["0"]
    found = phases(graph, chains, list(chains), 200, memory)
    assert [name for phase in found for name in phase.layers] == list(chains)
    assert 32 <= found[0].images <= 60
    assert found[-1].images >= 1.5 * found[0].images
    assert phases(graph, chains, list(chains), 200, 1 << 40) == [replace(found[0], layers=tuple(chains), images=200)]
    assert phases(graph, chains, list(chains), 200, 1)[0].images == 32
    assert images_at_a_time(graph, chains, 100) == 100
    assert 100 < images_at_a_time(graph, chains, 10_000) < 250


@pytest.mark.parametrize("name", NETS)
def test_little_memory_means_more_passes_and_no_other_law(name: str) -> None:
    model = settled(NETS[name]())
    graph = trace(model, EXAMPLE)
    plan = choose(graph, score(graph, "l2"), Budget(macs=0.6))
    small, x, fresh = prune(model, plan), images(96), images(64, seed=1)
    made, report = repair_with_report(
        small, plan=plan, reference=model, images=x, settings=Settings(points=64, memory=1)
    )
    assert report.layers

    def error(network: nn.Module) -> float:
        return float((network(fresh) - model(fresh)).norm())

    assert error(made) < 0.8 * error(small)


def test_errors_without_an_image_are_those_of_a_fit_without_it() -> None:
    n, inputs, each = 12, 6, 5
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(n, each, 2, inputs, generator=generator).double() + torch.randn(n, 1, 2, inputs).double()
    target = torch.randn(n, each, 2, 3).double()
    flat, wanted = rows.flatten(0, 1), target.flatten(0, 1)
    gram = torch.einsum("ngi,ngj->gij", flat, flat) / len(flat) + 0.1 * torch.eye(inputs).double()
    right = torch.einsum("ngi,ngo->gio", flat, wanted) / len(flat)
    errors = target - torch.einsum("begi,gio->bego", rows, torch.linalg.solve(gram, right))
    found = left_out(rows, errors, torch.linalg.cholesky(gram), len(flat))
    for b in (0, 7):
        others = torch.arange(n) != b
        less = gram - torch.einsum("egi,egj->gij", rows[b], rows[b]) / len(flat)
        own = torch.einsum("begi,bego->gio", rows[others], target[others]) / len(flat)
        expected = target[b] - torch.einsum("egi,gio->ego", rows[b], torch.linalg.solve(less, own))
        torch.testing.assert_close(found[b], expected, rtol=2e-3, atol=2e-3)


def test_positions_of_one_image_count_as_one() -> None:
    """Where all positions of an image say the same, more of them are no more to learn from."""
    generator = torch.Generator().manual_seed(0)
    once = torch.randn(30, 1, 20, generator=generator)
    target = once[..., :1] + 3 * torch.randn(30, 1, 1, generator=generator)
    rows, targets = once.repeat_interleave(40, 0), target.repeat_interleave(40, 0)
    start = torch.zeros(1, 20, 1, dtype=torch.float64)
    positions = Problem(rows, targets, start, False)
    assert torch.equal(solve(positions, 1e-4), solve(positions, 1e-4))
    assert best_ridge(positions, 1e-4) == 1e-4
    assert best_ridge(replace(positions, images=30), 1e-4) > 0.05
    assert best_ridge(replace(positions, images=30), 1e-4) in [1e-4 * factor for factor in RIDGES]


def test_with_plenty_of_rows_the_ridge_is_the_least() -> None:
    torch.manual_seed(0)
    rows, truth = torch.randn(4000, 1, 20), torch.randn(20, 3)
    target = rows[:, 0] @ truth + 0.5 * torch.randn(4000, 3)
    start = truth[None].double() + 0.05 * torch.randn(1, 20, 3)
    problem = Problem(rows, target[:, None], start, False, images=250)
    assert best_ridge(problem, 1e-4) == 1e-4


def test_the_metric_is_that_of_the_ridge_that_was_taken() -> None:
    torch.manual_seed(0)
    rows, start = torch.randn(60, 1, 20), torch.zeros(1, 20, 1, dtype=torch.float64)
    problem = Problem(rows, torch.randn(60, 1, 1), start, False, images=30)
    ridge = best_ridge(problem, 1e-4)
    assert ridge > 1e-3
    _, factor = solve_with_factor(problem, 1e-4, None, 0)
    assert factor is not None
    gram = damped(by_group(rows, rows), ridge, False)[0]
    torch.testing.assert_close(factor @ factor.mT, gram)


def test_a_sensitivity_is_what_the_changed_network_loses() -> None:
    model = settled(Residual())
    graph, x = trace(model, EXAMPLE), images(40)
    change = 0.1 * torch.randn(1, 73, 8, dtype=torch.float64)  # of layer `a` with its BatchNorm
    change = torch.cat([change, change[..., :2]], 2)
    found = measure_sensitivities(graph, {"a": Trial(3, 0.5, {"a": change})}, x)

    class Changed(Residual):
        def forward(self, x):
            x = F.relu(self.stem(x))
            weight = change[0, :-1].T.reshape(10, 8, 3, 3)
            y = self.nb(self.b(F.relu(self.na(self.a(x)) + F.conv2d(x, weight, change[0, -1], padding=1)))) + x
            x = F.relu(y)
            y = self.nd(self.d(F.relu(self.nc(self.c(x)))))
            return self.head(F.relu(y + self.project(x)).mean((2, 3)))

    other = Changed().double().eval()
    other.load_state_dict(model.state_dict())
    with torch.no_grad():
        expected = divergence(other(x), model(x))
    assert found["a"] == pytest.approx(expected / 0.5, rel=1e-6)


@pytest.mark.parametrize("joined", [True, False])
def test_small_outputs_beside_large_ones_count(joined: bool) -> None:
    """Boxes in pixels beside probabilities of classes: what the classes lose is not lost among the boxes."""

    class Detector(nn.Module):
        def __init__(self):
            super().__init__()
            self.boxes, self.classes = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 5, 1)

        def forward(self, x):
            outputs = 100 * self.boxes(x), self.classes(x)
            return torch.cat(outputs, 1) if joined else outputs

    model = Detector().double().eval()
    x = images(20)
    change = torch.cat([model.classes.weight.flatten(1).T, torch.zeros(1, 5)])[None].detach()  # twice the weights
    graph = trace(model, x[:1])
    found = measure_sensitivities(graph, {"x": Trial(1, 0.5, {"classes": change})}, x)
    with torch.no_grad():
        classes = model.classes(x)
        lost = divergence(classes + model.classes(x) - model.classes.bias[:, None, None], classes)
    assert found["x"] == pytest.approx(lost / 2 / 0.5)


def test_curves_with_sensitivities_keep_their_order() -> None:
    model = settled(Residual())
    graph, x = trace(model, EXAMPLE), images(80)
    moments = gather_moments(graph, x[:60])
    plain, scaled = error_curves(graph, moments), error_curves(graph, moments, held_out=x[60:])
    assert set(plain) == set(scaled)
    factors = set()
    for name, curve in plain.items():
        assert curve.order.tolist() == scaled[name].order.tolist()
        ratio = scaled[name].errors[1:] / curve.errors[1:]
        assert ratio.max() == pytest.approx(ratio.min())
        factors.add(round(float(ratio[0]), 9))
    assert len(factors) == len(plain)


def test_elements_are_counted_for_one_image_whatever_is_given_first() -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 4, 1)

        def forward(self, mask, x):
            return self.b(F.relu(self.a(x))) * mask

    model = Masked().eval()
    chains, _ = find_chains(trace(model, (torch.zeros(5, 5), torch.zeros(2, 3, 5, 5))), model)
    assert {name: chain.numel for name, chain in chains.items()} == {"a": 25 * (3 + 8), "b": 25 * (8 + 4)}


def test_large_images_run_with_their_channels_last() -> None:
    for side, format in ((65, torch.channels_last), (64, torch.contiguous_format)):
        x = torch.randn(2, 3, side, side)
        same = laid_out(x, x.device)
        assert torch.equal(same, x)
        assert same.is_contiguous(memory_format=format)
        graph = trace(net := nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 2, 1)).eval(), x[:1])
        found = []
        net[0].register_forward_hook(lambda _, inputs, __, found=found: found.append(inputs[0]))
        gather_moments(graph, x)
        assert all(signal.is_contiguous(memory_format=format) for signal in found)


def test_curves_are_of_all_images_where_those_are_plenty() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Conv2d(8, 4, 1)).eval()
    graph = trace(model, torch.zeros(1, 3, 8, 8))

    def same(images: int) -> bool:
        moments = gather_moments(graph, torch.randn(images, 3, 8, 8))
        of_all = error_curves(graph, {name: replace(own, rows=None) for name, own in moments.items()})
        return bool((error_curves(graph, moments)["0"].errors == of_all["0"].errors).all())

    assert same(20)
    assert not same(6)  # of nine inputs

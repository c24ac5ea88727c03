"""What weights and BatchNorm say about signals is what signals are, where the field is what it is taken for."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from tests.refit.repair_nets import NETS, settled
from torch import Tensor, nn
from torch.nn import functional as F

from reconv import channel_norms
from reconv.conv.geometry import ConvGeometry
from reconv.errors import ConfigError, GraphError
from reconv.graph import ChannelGraph, trace
from reconv.plan import Budget, Plan, choose
from reconv.refit import error_curves, gather_moments, image_saliency, moments_from_weights, repair_from_weights
from reconv.refit.chains import LayerUse
from reconv.refit.fields import HINGES, Field, kernel_by_frequency
from reconv.refit.signals import given_norm, tap_places
from reconv.saliency import score
from reconv.surgery import prune

SIZE = (12, 12)


def white(n: int, channels: int = 3, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, channels, *SIZE, generator=generator, dtype=torch.float64)


def white_field(channels: int = 3) -> Field:
    covariance = torch.zeros(*SIZE, channels, channels, dtype=torch.float64)
    covariance[0, 0] = torch.eye(channels)
    return Field(torch.zeros(channels, dtype=torch.float64), covariance)


def convolved(field: Field, conv: nn.Conv2d, mean: Tensor) -> Field:
    use = LayerUse("conv", F.conv2d, {"weight": conv.weight, "padding": conv.padding, "dilation": conv.dilation})
    return field.mapped(kernel_by_frequency(conv.weight.flatten(2), tap_places(use), SIZE), mean)


class Net(nn.Module):
    """Convolution, BatchNorm, ReLU, convolution, BatchNorm, a sum, and a classifier."""

    def __init__(self, seed: int = 0):
        super().__init__()
        torch.manual_seed(seed)
        self.a, self.na = nn.Conv2d(3, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.b, self.nb = nn.Conv2d(6, 10, 3, padding=1, bias=False), nn.BatchNorm2d(10)
        self.c, self.nc = nn.Conv2d(10, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.na(self.a(x)))
        x = F.relu(x + self.nc(self.c(F.relu(self.nb(self.b(x))))))
        return self.head(x.mean((2, 3)))


def calibrated(model: nn.Module, images: Tensor) -> nn.Module:
    """With scales and shifts away from their start, and the running statistics of these images."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.5)
            module.momentum = None
    model.double().train()
    with torch.no_grad():
        model(images)
    return model.eval()


@pytest.fixture(scope="module")
def graph() -> ChannelGraph:
    return trace(calibrated(Net(), white(300)), torch.zeros(1, 3, *SIZE, dtype=torch.float64))


@pytest.mark.parametrize("name", ["relu", "relu6"])
@pytest.mark.parametrize("r", [-0.95, -0.3, 0.0, 0.4, 0.9, 0.99, 1.0])
def test_activations_are_what_quadrature_finds(name: str, r: float) -> None:
    """By a fine sum over the plane; ReLU6's upper bound is reached by the last channel."""
    mean, deviation = torch.tensor([0.3, -0.8, 1.5, 5.0]).double(), torch.tensor([1.0, 0.7, 2.0, 1.5]).double()
    between = torch.full((4, 4), r).double().fill_diagonal_(1.0)
    covariance = torch.stack([torch.eye(4).double() * deviation.square(), between * deviation * deviation[:, None]])
    field = Field(mean, covariance[:, None]).activated(HINGES[name])
    axis = torch.linspace(-9, 9, 1801, dtype=torch.float64)
    density = (-axis.square() / 2).exp() / math.sqrt(2 * math.pi) * (axis[1] - axis[0])

    def value(z: Tensor) -> Tensor:
        return z.clamp(0, 6 if name == "relu6" else None)

    first = value(mean[:, None] + deviation[:, None] * axis)
    torch.testing.assert_close(field.mean, first @ density, rtol=0, atol=2e-5)
    for i in range(4):
        for j in range(4):
            if i == j and r != 1.0:
                continue
            second = mean[j] + deviation[j] * (r * axis[:, None] + math.sqrt(1 - r * r) * axis)
            found = density @ (first[i][:, None] * value(second)) @ density - field.mean[i] * field.mean[j]
            assert abs(float(field.covariance[1, 0, i, j] - found)) < 3e-4


def test_at_zero_means_it_is_the_arc_cosine_kernel() -> None:
    r = torch.linspace(-1, 1, 41, dtype=torch.float64)
    covariance = torch.eye(2).double() + torch.tensor([[0.0, 1.0], [1.0, 0.0]]) * r[:, None, None, None]
    covariance[0, 0] = torch.eye(2)
    found = Field(torch.zeros(2).double(), covariance).activated().covariance[1:, 0, 0, 1]
    angle = r[1:].acos()
    expected = (angle.sin() + (math.pi - angle) * r[1:]) / (2 * math.pi) - 1 / (2 * math.pi)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-7)


def test_the_diagonal_of_the_linear_gram_is_the_frobenius_score() -> None:
    conv = nn.Conv2d(3, 5, 3, padding=1, bias=False).double()
    geometry = ConvGeometry(SIZE, (3, 3), padding=((1, 1), (1, 1)))
    scores = channel_norms(conv.weight, geometry, norms=("frobenius",))["frobenius"]
    use = LayerUse("conv", F.conv2d, {"weight": conv.weight, "padding": (1, 1)})
    inside = torch.ones(SIZE).double()
    held = F.unfold(inside[None, None], 3, padding=1)[0].T
    gram = white_field().gram(tap_places(use), held.T @ held / len(held), torch.arange(3))[:-1, :-1]
    rows = conv.weight.detach().flatten(1)
    outputs = rows @ gram @ rows.T
    torch.testing.assert_close(outputs.diagonal() * SIZE[0] * SIZE[1], scores.square(), rtol=1e-12, atol=0)


def test_fields_are_what_samples_show() -> None:
    """Convolution, ReLU, strided convolution of white noise on a torus: real moments, within their sampling error."""
    torch.manual_seed(1)
    first, second = nn.Conv2d(3, 4, 3, bias=False).double(), nn.Conv2d(4, 4, (3, 2), bias=False, dilation=2).double()
    shift = torch.tensor([0.3, -0.2, 0.0, 0.8]).double()
    with torch.no_grad():
        z = F.conv2d(F.pad(white(4000), (0, 2, 0, 2), mode="circular"), first.weight) + shift[:, None, None]
        h = z.relu()
        y = F.conv2d(F.pad(h, (0, 2, 0, 4), mode="circular"), second.weight, dilation=2)[:, :, ::2, ::3]
        one = convolved(white_field(), first, shift)
        two = one.activated()
        three = convolved(two, second, second.weight.sum((2, 3)) @ two.mean).strided((2, 3))
    assert three.size == tuple(y.shape[2:])
    for field, signal, most in ((one, z, 0.01), (two, h, 0.01), (three, y, 0.06)):
        torch.testing.assert_close(signal.mean((0, 2, 3)), field.mean, rtol=0, atol=most)
        off = signal - signal.mean((0, 2, 3), keepdim=True)
        for dy, dx in ((0, 0), (0, 1), (2, 1), (-1, 0)):
            moved = off.roll((-dy, -dx), (2, 3))
            sampled = torch.einsum("nchw,ndhw->cd", off, moved) / off[:, 0].numel()
            error = (sampled - field.covariance[dy, dx]).abs().max() / field.variance.max()
            assert error < most, (dy, dx)


def test_what_comes_from_one_signal_is_added_as_such() -> None:
    field = convolved(white_field(), nn.Conv2d(3, 3, 3, bias=False).double(), torch.zeros(3).double())
    twice = field.plus(field.mapped(torch.eye(3, dtype=torch.complex128)[None, None], field.mean))
    torch.testing.assert_close(twice.covariance, 4 * field.covariance)
    conv = nn.Conv2d(3, 3, (1, 3), bias=False).double()
    whole = conv.weight.detach().clone()
    whole[range(3), range(3), 0, 0] += 1
    both = nn.Conv2d(3, 3, (1, 3), bias=False).double()
    both.weight.data = whole
    with torch.no_grad():
        expected = convolved(field, both, field.mean).strided((2, 1)).covariance
        found = field.strided((2, 1)).plus(convolved(field, conv, field.mean).strided((2, 1))).covariance
    torch.testing.assert_close(found, expected)
    apart = field.plus(Field(field.mean, field.covariance))
    torch.testing.assert_close(apart.covariance, 2 * field.covariance)


def test_moments_are_those_of_white_images(graph: ChannelGraph) -> None:
    """The real network on the images that it takes the unknown for; its borders of zeros are no torus."""
    found, real = moments_from_weights(graph), gather_moments(graph, white(1500, seed=3))
    assert set(found) == {"b", "c", "head"}, "nothing is known of the images themselves"
    for name, most in (("b", 0.04), ("c", 0.1), ("head", 0.1)):
        gram, expected = found[name].gram, real[name].gram
        assert float((gram - expected).norm() / expected.norm()) < most
        torch.testing.assert_close(found[name].matrix, real[name].matrix)
        assert found[name].energy == pytest.approx(real[name].energy, rel=0.05)
        assert (found[name].taps, found[name].constant) == (real[name].taps, real[name].constant)


def test_signals_have_the_variance_that_batch_norm_says() -> None:
    torch.manual_seed(0)
    model = settled(NETS["Plain"]())
    norm, found = model.norm, moments_from_weights(trace(model, torch.zeros(1, 3, 8, 8, dtype=torch.float64)))["b"]
    signal = norm.bias + norm.weight.abs() * torch.randn(400_000, 8, generator=torch.Generator().manual_seed(0))
    middle = torch.arange(8) * 9 + 4  # the one tap that always reads inside the map
    expected = signal.relu().square().mean(0).detach().double()
    torch.testing.assert_close(found.gram[0].diagonal()[middle], expected, rtol=0.02, atol=0)


def test_what_is_read_is_given_what_was_made_of_it() -> None:
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(500, 8, generator=generator, dtype=torch.float64)
    weight = torch.randn(8, 3, generator=generator, dtype=torch.float64)
    rows = torch.cat([rows, torch.ones(500, 1)], 1)
    mean, variance = torch.tensor([0.5, -1.0, 2.0]).double(), torch.tensor([1.0, 30.0, 4.0]).double()
    gram = given_norm(rows.T @ rows / 500, weight, mean, variance)
    middle = gram[:-1, -1] @ weight
    made = (weight * (gram[:-1, :-1] @ weight)).sum(0) - middle.square()
    torch.testing.assert_close(middle, mean, rtol=5e-3, atol=5e-3)
    torch.testing.assert_close(made, variance, rtol=2e-2, atol=0)
    assert torch.linalg.eigvalsh(gram).min() > 0


def cut(graph: ChannelGraph, share: float = 0.6) -> Plan:
    return choose(graph, score(graph, "l2"), Budget(macs=share))


def test_a_repair_brings_the_signal_back(graph: ChannelGraph) -> None:
    plan = cut(graph)
    small = prune(graph.model, plan)
    before = copy.deepcopy(small.state_dict()), copy.deepcopy(graph.model.state_dict())
    repaired, report = repair_from_weights(small, plan=plan, reference=graph.model)
    x = white(100, seed=9)
    with torch.no_grad():
        wanted = graph.model(x)
        errors = [float((net(x) - wanted).square().sum() / wanted.var(0).sum()) for net in (small, repaired)]
    assert errors[1] < 0.5 * errors[0]
    assert report.left == {}
    row = next(row for row in report.layers if row.layer == "c")
    assert row.after < 0.8 * row.before
    assert all(torch.equal(a, b) for a, b in zip(before[0].values(), small.state_dict().values(), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(before[1].values(), graph.model.state_dict().values(), strict=True))
    again, _ = repair_from_weights(small, plan=plan, reference=graph.model)
    assert all(
        torch.equal(a, b) for a, b in zip(again.state_dict().values(), repaired.state_dict().values(), strict=True)
    )


def test_the_predicted_error_is_the_real_one(graph: ChannelGraph) -> None:
    plan = cut(graph)
    _, report = repair_from_weights(prune(graph.model, plan), plan=plan, reference=graph.model, ridge=1e-6)
    real = gather_moments(graph, white(1500, seed=5))["c"]
    keep = np.append(np.repeat(plan.keep[graph.layer("c").inputs[0]], 9), True)
    rows = torch.from_numpy(keep)
    gram, target = real.gram[0], real.matrix[0]
    solved = torch.linalg.solve(gram[rows][:, rows], gram[rows] @ target)
    missing = (target * (gram @ target)).sum() - (solved * (gram[rows] @ target)).sum()
    share = float(missing / (target * (gram @ target)).sum())
    assert next(row.after for row in report.layers if row.layer == "c") == pytest.approx(share, rel=0.1)


def test_nothing_cut_is_nothing_changed(graph: ChannelGraph) -> None:
    plan = choose(graph, score(graph, "l2"), Budget(macs=cut(graph).macs[0]))
    small = prune(graph.model, plan)
    repaired, report = repair_from_weights(small, plan=plan, reference=graph.model)
    assert report.layers == ()
    assert all(
        torch.equal(a, b) for a, b in zip(small.state_dict().values(), repaired.state_dict().values(), strict=True)
    )


def test_curves_and_scores_come_from_them(graph: ChannelGraph) -> None:
    found = moments_from_weights(graph)
    plan = choose(graph, error_curves(graph, found), Budget(macs=0.6))
    assert plan.macs[1] <= 0.6 * plan.macs[0]
    assert image_saliency(graph, "activation", found).values["b"].shape == (10,)


@pytest.mark.parametrize("name", sorted(set(NETS) - {"Shared", "Upsampling"}))
def test_every_network_is_followed_or_said_to_be_left(name: str) -> None:
    torch.manual_seed(0)
    model = settled(NETS[name]())
    traced = trace(model, torch.zeros(1, 3, 8, 8, dtype=torch.float64))
    plan = cut(traced)
    repaired, report = repair_from_weights(prune(model, plan), plan=plan, reference=model)
    assert repaired(torch.zeros(2, 3, 8, 8).double()).isfinite().all()
    short = {layer.name for layer in traced.layers if not plan.keep[layer.inputs].all()}
    assert short <= {row.layer for row in report.layers} | set(report.left)


def test_networks_without_batch_norm_say_nothing() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.Flatten(), nn.LazyLinear(5))
    model(torch.zeros(1, 3, 8, 8))
    graph = trace(model.eval(), torch.zeros(1, 3, 8, 8))
    with pytest.raises(GraphError, match="calibrate on images, or leaves"):
        moments_from_weights(graph)
    plan = cut(graph, 0.5)
    _, report = repair_from_weights(prune(model, plan), plan=plan, reference=model)
    assert report.layers == ()
    assert "weights and BatchNorm say nothing" in report.left["2"]


def test_what_does_not_fit_is_refused(graph: ChannelGraph) -> None:
    plan = cut(graph)
    small = prune(graph.model, plan)
    for ridge in (0.0, -1.0, float("nan")):
        with pytest.raises(ConfigError, match="small positive number"):
            repair_from_weights(small, plan=plan, reference=graph.model, ridge=ridge)
    with pytest.raises(GraphError, match="give the network that was traced"):
        repair_from_weights(graph.model, plan=plan, reference=graph.model)

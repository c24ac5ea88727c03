"""Every criterion against an obvious reference: the explicit matrix of each channel, or a loop over its weights."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import reconv
from reconv.errors import ConfigError, GeometryError, UnknownNameError, WeightsError
from reconv.graph import ChannelGraph, trace
from reconv.saliency import Criterion, Direction, LayerContext, Saliency, score, score_all
from reconv.zoo import load_model

EXAMPLE = torch.randn(1, 3, 7, 6, dtype=torch.float64)


class Small(nn.Module):
    """A strided, a grouped, a transposed and a linear layer; norms behind some of them."""

    def __init__(self) -> None:
        super().__init__()
        self.strided = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.grouped = nn.Conv2d(4, 6, (1, 3), groups=2, padding=(0, 1), dilation=(1, 1))
        self.up = nn.ConvTranspose2d(6, 5, 2, stride=2)
        self.up_norm = nn.BatchNorm2d(5)
        self.head = nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.grouped(F.relu(self.norm(self.strided(x))))
        return self.head(F.relu(self.up_norm(self.up(y))).mean((2, 3)))


@pytest.fixture
def model() -> nn.Module:
    small = Small().double().eval()
    with torch.no_grad():
        for norm in (small.norm, small.up_norm):
            norm.weight.copy_(torch.randn(len(norm.weight)))
    return small


@pytest.fixture
def graph(model: nn.Module) -> ChannelGraph:
    return trace(model, EXAMPLE)


def seen(model: nn.Module, layer: str) -> Tensor:
    """The input that a layer sees."""
    inputs: list[Tensor] = []
    handle = model.get_submodule(layer).register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    model(EXAMPLE)
    handle.remove()
    return inputs[0].detach()


def matrix(model: nn.Module, layer: str) -> Tensor:
    """The layer without its bias as a matrix [C_in, positions in, C_out, positions out], from basis vectors."""
    module, x = model.get_submodule(layer), seen(model, layer)
    basis = torch.eye(x[0].numel(), dtype=x.dtype).reshape(-1, *x.shape[1:])
    rows = (module(basis) - module(torch.zeros_like(basis[:1]))).detach()
    return rows.reshape(x.shape[1], -1, rows.shape[1], rows[0, 0].numel() if rows.dim() > 2 else 1)


NORMS: dict[str, Callable[[Tensor], Tensor]] = {
    "spectral": lambda s: s.max(),
    "nuclear": lambda s: s.sum(),
    "frobenius": lambda s: s.square().sum().sqrt(),
}


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_norms_are_those_of_the_layers_own_matrix(
    model: nn.Module, graph: ChannelGraph, norm: str, direction: str
) -> None:
    found = score(graph, norm, direction=direction, exact=True)
    assert found.direction == direction
    assert set(found.values) == {"strided", "grouped", "up", "head"}
    for layer, values in found.values.items():
        whole = matrix(model, layer)
        # Forward [C_out, C_in * positions, positions out]; backward [C_in, positions, C_out * positions out].
        parts = whole.permute(2, 0, 1, 3).flatten(1, 2) if direction == "forward" else whole.flatten(2)
        expected = torch.stack([NORMS[norm](torch.linalg.svdvals(part)) for part in parts])
        torch.testing.assert_close(values, expected, rtol=1e-8, atol=1e-10)


def channels(model: nn.Module, layer: str, direction: str) -> list[Tensor]:
    """All weights of every channel, picked one by one."""
    module = model.get_submodule(layer)
    weight = module.weight.detach()
    if isinstance(module, nn.ConvTranspose2d):
        return [weight[:, i].flatten() for i in range(weight.shape[1])] if direction == "forward" else list(weight)
    if direction == "forward":
        return [w.flatten() for w in weight]
    groups = getattr(module, "groups", 1)
    each = len(weight) // groups
    return [weight[g * each : (g + 1) * each, i].flatten() for g in range(groups) for i in range(weight.shape[1])]


PLAIN: dict[str, Callable[[list[Tensor]], list[float]]] = {
    "l1": lambda ws: [float(w.abs().sum()) for w in ws],
    "l2": lambda ws: [float(w.norm()) for w in ws],
    "fpgm": lambda ws: [sum(float((w - v).norm()) for v in ws) for w in ws],
}


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_weight_criteria(model: nn.Module, graph: ChannelGraph, name: str, direction: str) -> None:
    for layer, values in score(graph, name, direction=direction).values.items():
        assert values.dtype == torch.float64
        expected = PLAIN[name]([w.flatten() for w in channels(model, layer, direction)])
        torch.testing.assert_close(values, torch.tensor(expected, dtype=torch.float64))


def test_the_scale_is_that_of_the_norm_that_follows(model: nn.Module, graph: ChannelGraph) -> None:
    found = score(graph, "bn_scale").values
    assert set(found) == {"strided", "up"}
    torch.testing.assert_close(found["strided"], model.get_parameter("norm.weight").detach().abs())
    torch.testing.assert_close(found["up"], model.get_parameter("up_norm.weight").detach().abs())


def test_random_scores_depend_on_the_seed_and_the_layer_alone(graph: ChannelGraph) -> None:
    state = torch.get_rng_state()
    a, b, c = score(graph, "random", seed=3), score(graph, "random", seed=3), score(graph, "random", seed=4)
    assert torch.equal(torch.get_rng_state(), state)
    for layer in a.values:
        assert torch.equal(a.values[layer], b.values[layer])
        assert not torch.equal(a.values[layer], c.values[layer])
    assert not torch.equal(a.values["strided"][:2], a.values["head"])


def test_names_whatever_their_case_and_the_papers_short_ones(graph: ChannelGraph) -> None:
    for written, name in (
        ("nuc", "nuclear"),
        ("SPEC", "spectral"),
        ("Fro", "frobenius"),
        ("L1", "l1"),
        ("FPGM", "fpgm"),
    ):
        assert score(graph, written).criterion == name


def test_several_criteria_at_once_are_each_as_alone(graph: ChannelGraph) -> None:
    together = score_all(graph, ("nuc", "l2", "spec"))
    for found, name in zip(together, ("nuclear", "l2", "spectral"), strict=True):
        alone = score(graph, name)
        assert found.criterion == alone.criterion == name
        for layer in alone.values:
            torch.testing.assert_close(found.values[layer], alone.values[layer])


def test_the_fingerprint_is_that_of_the_weights(model: nn.Module, graph: ChannelGraph) -> None:
    before = score(graph, "l1").weights
    assert before == score(graph, "fro").weights
    with torch.no_grad():
        model.get_parameter("head.bias")[0] += 1
    assert score(graph, "l1").weights not in (before, "")


def test_the_fingerprint_of_weights_that_are_no_longer_there_is_not_made_up(
    model: nn.Module, graph: ChannelGraph
) -> None:
    late = score(graph, "l1")
    with torch.no_grad():
        model.get_parameter("head.bias")[0] += 1
    assert late.weights == ""


def test_a_criterion_of_ones_own_is_scored_by_name_and_as_it_is(graph: ChannelGraph, own_registries: None) -> None:
    def largest(layer: LayerContext) -> Tensor:
        assert layer.module is graph.model.get_submodule(layer.name)
        return layer.filters.abs().amax(1)

    linf = reconv.register(Criterion("linf", "largest absolute weight", of_layer=largest))
    expected = graph.weight(graph.layer("head")).abs().amax(1)
    for criterion in ("LINF", linf):
        torch.testing.assert_close(score(graph, criterion).values["head"], expected)


def test_a_criterion_that_gives_too_few_numbers_is_told_how_many(graph: ChannelGraph) -> None:
    lazy = Criterion("lazy", "one number", of_layer=lambda layer: layer.filters.sum())
    with pytest.raises(ConfigError, match=r"lazy: strided: the criterion gives \(\); return one .* a tensor \[4\]"):
        score(graph, lazy)


def test_a_criterion_says_what_it_scores_by_in_one_way() -> None:
    with pytest.raises(ConfigError, match="criterion both: give exactly one of of_layer=, of_group= and norm="):
        Criterion("both", "two ways", norm="nuclear", of_layer=lambda layer: layer.filters.sum(1))
    with pytest.raises(UnknownNameError, match="criterion odd: need: 'gradient' is not known; did you mean gradients"):
        Criterion("odd", "", needs={"gradient"}, norm="nuclear")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("criterion", "how"),
    [
        ("reconstruction", r"it needs moments; give moments=reconv.gather_moments\(graph, images\)"),
        ("taylor", r"it needs gradients; give gradients=reconv.gather_gradients\(graph, batches\)"),
    ],
)
def test_what_a_criterion_needs_and_is_not_given_is_named(graph: ChannelGraph, criterion: str, how: str) -> None:
    with pytest.raises(ConfigError, match=f"{criterion}: {how}"):
        score(graph, criterion)


def test_a_criterion_of_groups_has_one_direction(graph: ChannelGraph) -> None:
    with pytest.raises(ConfigError, match="activation: it scores channels by all that make and read them; leave"):
        score(graph, "activation", direction="backward", moments={})


def test_arguments_of_the_wrong_kind(model: nn.Module, graph: ChannelGraph) -> None:
    with pytest.raises(ConfigError, match=r"score: got a Small; give the graph of it: reconv.trace\(model, example\)"):
        score(model, "l1")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"criterion: got 3; give a name such as 'nuclear', or a reconv.Criterion"):
        score(graph, 3)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="score_all: got 'l1'; give a list of criteria, or use score"):
        score_all(graph, "l1")


def test_what_is_printed_fits_a_screen() -> None:
    printed = repr(score(trace(load_model("resnet56"), torch.zeros(1, 3, 32, 32)), "l1"))
    assert printed.startswith("Saliency by l1, forward: 2,042 channels of 56 layers\n  conv1: 16 channels, ")
    assert printed.endswith("\n  and 40 more layers")
    assert len(printed.splitlines()) <= 20


def lamp(filters: list[Tensor]) -> list[float]:
    energies = [float(w.square().sum()) for w in filters]
    return [e / sum(other for other in energies if other >= e) for e in energies]


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_lamp_is_the_share_of_all_that_are_at_least_as_large(
    model: nn.Module, graph: ChannelGraph, direction: Direction
) -> None:
    for layer, values in score(graph, "lamp", direction=direction).values.items():
        expected = torch.tensor(lamp(channels(model, layer, direction)), dtype=torch.float64)
        torch.testing.assert_close(values, expected)
        assert float(values.max()) == 1


@pytest.mark.parametrize(("name", "offered"), [("nuclar", "nuclear"), ("tailor", "taylor"), ("l3", "l1")])
def test_an_unknown_criterion_offers_the_nearest(graph: ChannelGraph, name: str, offered: str) -> None:
    with pytest.raises(UnknownNameError, match=f"criterion: '{name}' is not known.*({offered})"):
        score(graph, name)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["nuclear", "l1", "random"])
def test_weights_that_are_not_finite_are_refused_by_layer(
    model: nn.Module, graph: ChannelGraph, bad: float, name: str
) -> None:
    with torch.no_grad():
        model.get_parameter("grouped.weight")[1, 0, 0, 2] = bad
    with pytest.raises(WeightsError, match=r"^grouped: its weights hold NaN or infinity; load a valid checkpoint"):
        score(graph, name)


def test_an_unknown_direction(graph: ChannelGraph) -> None:
    with pytest.raises(ConfigError, match="direction: 'sideways'; give 'forward' or 'backward'"):
        score(graph, "l1", direction="sideways")


def test_a_convolution_in_three_dimensions_has_weights_but_no_norm() -> None:
    graph = trace(nn.Sequential(nn.Conv3d(2, 4, 3), nn.Flatten()), torch.randn(1, 2, 3, 4, 4))
    assert score(graph, "l2").values["0"].shape == (4,)
    with pytest.raises(GeometryError, match=r"^0: a convolution in three dimensions .*score it by l1, l2 or fpgm"):
        score(graph, "nuc")


def test_a_parameter_with_its_inputs_first_is_scored_by_its_outputs() -> None:
    class Product(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up = nn.Parameter(torch.randn(6, 6))

        def forward(self, x: Tensor) -> Tensor:
            return x @ self.up

    model = Product()
    graph = trace(model, torch.randn(2, 6))
    expected = model.up.detach().double().norm(dim=0)
    torch.testing.assert_close(score(graph, "l2").values["up"], expected)
    torch.testing.assert_close(score(graph, "fro").values["up"], expected)


def test_a_frozen_value() -> None:
    saliency = Saliency("l1", "forward", {"a": torch.ones(2)})
    with pytest.raises(AttributeError):
        saliency.criterion = "l2"  # type: ignore[misc]


def test_half_precision_weights_are_scored_in_double() -> None:
    model = load_model("resnet20")
    full = score(trace(model, torch.randn(1, 3, 32, 32)), "fro").values
    half = score(trace(model.bfloat16(), torch.randn(1, 3, 32, 32).bfloat16()), "fro").values
    for layer in full:
        assert half[layer].dtype == torch.float64
        np.testing.assert_allclose(half[layer].numpy(), full[layer].numpy(), rtol=0.02)

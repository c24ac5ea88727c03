"""Gradients of a loss, and the criteria that read them, against finite differences and loops over single batches."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import reconv
from reconv.errors import ConfigError, DataError
from reconv.graph import ChannelGraph, trace
from reconv.saliency import Criterion, Gradients, LayerContext, gather_gradients, score

EXAMPLE = torch.randn(2, 3, 7, 6, dtype=torch.float64)


class Small(nn.Module):
    """A convolution with BatchNorm, a grouped one with a bias, a transposed one, and a linear layer used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.5)
        self.grouped = nn.Conv2d(4, 6, 3, groups=2)
        self.up = nn.ConvTranspose2d(6, 5, 2, stride=2)
        self.mix = nn.Linear(5, 5)
        self.head = nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.grouped(self.drop(F.relu(self.norm(self.first(x))))))
        return self.head(F.relu(self.mix(F.relu(self.mix(F.relu(self.up(y)).mean((2, 3)))))))


@pytest.fixture
def model() -> nn.Module:
    small = Small().double().train()
    small.norm.eval()
    with torch.no_grad():
        for tensor in (small.norm.weight, small.norm.bias, small.norm.running_mean):
            tensor.copy_(torch.randn(4))
    small.head.weight.requires_grad_(False)
    small.mix.weight.grad = torch.ones(5, 5, dtype=torch.float64)
    return small


@pytest.fixture
def graph(model: nn.Module) -> ChannelGraph:
    return trace(model, EXAMPLE)


def batches() -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(5)
    return [
        (torch.randn(n, 3, 7, 6, dtype=torch.float64, generator=generator), torch.randint(4, (n,), generator=generator))
        for n in (3, 3, 1)
    ]


def test_means_are_weighted_by_the_inputs_of_a_batch(model: nn.Module, graph: ChannelGraph) -> None:
    gathered = gather_gradients(graph, batches())
    assert set(gathered) == {layer.name for layer in graph.layers} == {"first", "grouped", "up", "mix", "head"}
    reference = copy.deepcopy(model).eval().requires_grad_(True)
    for name, gradients in gathered.items():
        means, squares = [], []
        for images, labels in batches():
            reference.zero_grad()
            F.cross_entropy(reference(images), labels).backward()
            slope = reference.get_submodule(name).weight.grad
            means.append(len(images) * slope / 7)
            squares.append(len(images) * slope.square() / 7)
        torch.testing.assert_close(gradients.mean, sum(means))
        torch.testing.assert_close(gradients.square, sum(squares))


def factors(network: nn.Module, layer: str, factor: Tensor) -> None:
    """Multiply what a layer gives, channel by channel, behind its BatchNorm."""
    network.get_submodule({"first": "norm"}.get(layer, layer)).register_forward_hook(
        lambda _module, _inputs, output: output * (factor[:, None, None] if output.dim() == 4 else factor)
    )


@pytest.mark.parametrize("layer", ["first", "grouped", "up", "head"])
def test_taylor_is_the_squared_change_of_the_loss_with_a_factor_on_the_channel(
    model: nn.Module, graph: ChannelGraph, layer: str
) -> None:
    images, labels = batches()[0]
    taylor = score(graph, "taylor", gradients=gather_gradients(graph, [(images, labels)])).values[layer]
    step = 1e-6
    for channel in range(len(taylor)):
        losses = []
        for sign in (1, -1):
            changed = copy.deepcopy(model).eval()
            factors(changed, layer, 1 + sign * step * F.one_hot(torch.tensor(channel), len(taylor)).double())
            losses.append(F.cross_entropy(changed(images), labels).item())
        slope = (losses[0] - losses[1]) / (2 * step)
        assert float(taylor[channel]) == pytest.approx(slope**2, rel=1e-5, abs=1e-12)


def test_a_factor_on_a_channel_is_one_where_it_is_made_and_where_it_is_read(graph: ChannelGraph) -> None:
    gradients = gather_gradients(graph, batches())
    made = score(graph, "taylor", gradients=gradients).values
    read = score(graph, "taylor", direction="backward", gradients=gradients).values
    for maker, reader in (("first", "grouped"), ("grouped", "up")):  # ReLU lets a factor pass
        torch.testing.assert_close(made[maker], read[reader])


def test_taylor_squares_batch_by_batch(graph: ChannelGraph) -> None:
    together = score(graph, "taylor", gradients=gather_gradients(graph, batches())).values
    alone = [score(graph, "taylor", gradients=gather_gradients(graph, [batch])).values for batch in batches()]
    for layer, values in together.items():
        expected = sum(len(images) * one[layer] / 7 for (images, _), one in zip(batches(), alone, strict=True))
        torch.testing.assert_close(values, expected)


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_obd_is_half_the_squared_weights_times_squared_gradients(graph: ChannelGraph, direction: str) -> None:
    gradients = gather_gradients(graph, batches())
    scores = score(graph, "fisher", direction=direction, gradients=gradients)
    assert scores.criterion == "obd_c"
    for layer in graph.layers:
        products = graph.weight(layer) ** 2 * gradients[layer.name].square / 2
        first, second = products.flatten(2).sum(2) if products.dim() > 2 else products, layer.groups
        rows = layer.kind != "conv_transposed"
        if direction == "forward":
            expected = first.sum(1) if rows else first.sum(0)
        elif not rows:
            expected = first.sum(1)
        else:
            expected = torch.cat([block.sum(0) for block in first.chunk(second)])
        torch.testing.assert_close(scores.values[layer.name], expected)


def test_the_model_is_left_as_it_was(model: nn.Module, graph: ChannelGraph) -> None:
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    versions = {name: tensor._version for name, tensor in model.state_dict().items()}
    flags = [(module.training, len(module._forward_hooks)) for module in model.modules()]
    grads = {name: p.grad for name, p in model.named_parameters()}
    wanted = [p.requires_grad for p in model.parameters()]
    state = torch.get_rng_state()
    loader = torch.utils.data.DataLoader(list(zip(*batches()[0], strict=True)), batch_size=2, shuffle=True)
    gather_gradients(graph, loader)
    assert torch.equal(state, torch.get_rng_state())
    assert flags == [(module.training, len(module._forward_hooks)) for module in model.modules()]
    assert wanted == [p.requires_grad for p in model.parameters()]
    assert all(p.grad is grads[name] for name, p in model.named_parameters())
    assert versions == {name: tensor._version for name, tensor in model.state_dict().items()}
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_loss_of_ones_own_drives_the_scores_without_labels(graph: ChannelGraph) -> None:
    images = batches()[0][0]

    def energy(outputs: Tensor) -> Tensor:
        return outputs.square().mean()

    by_energy = gather_gradients(graph, images.split(2), energy)
    doubled = gather_gradients(graph, images.split(2), lambda outputs: 2 * energy(outputs))
    for layer in ("first", "head"):
        torch.testing.assert_close(doubled[layer].mean, 2 * by_energy[layer].mean)
        torch.testing.assert_close(doubled[layer].output_gate, 4 * by_energy[layer].output_gate)


def test_a_gradient_criterion_of_ones_own(graph: ChannelGraph, own_registries: None) -> None:
    def steepness(layer: LayerContext) -> Tensor:
        return layer.gradient.abs().sum(1)

    needs = frozenset({"gradients"})
    reconv.register(Criterion("steepness", "sum of absolute gradients", needs=needs, of_layer=steepness))
    gradients = gather_gradients(graph, batches())
    values = score(graph, "steepness", gradients=gradients).values
    torch.testing.assert_close(values["first"], gradients["first"].mean.abs().sum((1, 2, 3)))
    secretive = Criterion("secretive", "does not say what it reads", of_layer=steepness)
    with pytest.raises(ConfigError, match=r'it reads gradients but does not say so; give needs=\{"gradients"\}'):
        score(graph, secretive)


def test_weights_of_a_parametrization_are_left_out() -> None:
    model = nn.Sequential(torch.nn.utils.parametrizations.weight_norm(nn.Linear(4, 8)), nn.Linear(8, 3))
    graph = trace(model, torch.randn(2, 4))
    gradients = gather_gradients(graph, [(torch.randn(5, 4), torch.randint(3, (5,)))])
    assert set(gradients) == {"1"}
    assert set(score(graph, "taylor", gradients=gradients).values) == {"1"}


@pytest.mark.parametrize(
    ("given", "loss", "error", "message"),
    [
        (torch.randn(4, 3, 7, 6), None, ConfigError, "batches is a Tensor; give a DataLoader, a list of"),
        (3, None, ConfigError, "batches is a int; give a DataLoader"),
        ([], None, DataError, "no batch; give at least one"),
        ([EXAMPLE], None, DataError, "batches of inputs alone have no labels; give a loss of the outputs, loss="),
        (["image"], None, ConfigError, r"a batch is 'image'; give \(inputs, targets\), or a tensor of inputs"),
        ([EXAMPLE], "ce", ConfigError, "loss is 'ce'; give a function of outputs and targets"),
        ([EXAMPLE], Tensor.square, ConfigError, r"the loss gives \(2, 4\); return one number, such as the mean"),
        ([EXAMPLE], lambda y: y.sum() * torch.inf, DataError, "the loss of batch 1 is -?(inf|nan); check its images"),
    ],
)
def test_what_cannot_be_gathered(
    graph: ChannelGraph, given: object, loss: Callable[..., Tensor], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=f"gather_gradients: {message}"):
        gather_gradients(graph, given, loss)  # type: ignore[arg-type]


def test_a_model_in_the_place_of_its_graph(model: nn.Module) -> None:
    with pytest.raises(ConfigError, match=r"gather_gradients: got a Small; give its graph, reconv.trace\(model"):
        gather_gradients(model, batches())  # type: ignore[arg-type]


def test_gradients_of_another_network_are_refused(graph: ChannelGraph) -> None:
    other = {"first": Gradients(*(torch.zeros(2, 2),) * 4)}
    with pytest.raises(ConfigError, match=r"first: gradients of \(2, 2\) weights, it has \(4, 3, 3, 3\); gather them"):
        score(graph, "taylor", gradients=other)


def test_torch_prunings_scores_are_ours_but_for_a_factor() -> None:
    tp = pytest.importorskip("torch_pruning")
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    graph = trace(model, torch.randn(1, 3, 8, 8))
    batch = (torch.randn(6, 3, 8, 8), torch.randint(4, (6,)))
    gradients = gather_gradients(graph, [batch])
    F.cross_entropy(model(batch[0]), batch[1]).backward()
    dependencies = tp.DependencyGraph().build_dependency(model, torch.randn(1, 3, 8, 8))
    group = dependencies.get_pruning_group(model[0], tp.prune_conv_out_channels, idxs=list(range(8)))
    options = {"group_reduction": "first", "normalizer": None}
    taylor = tp.importance.GroupTaylorImportance(multivariable=True, **options)(group)  # |sum of g w|, without the bias
    expected = (graph.weight(graph.layer("0")) * gradients["0"].mean).sum((1, 2, 3)).abs()
    torch.testing.assert_close(taylor.double(), expected, rtol=1e-4, atol=1e-7)
    lamp = tp.importance.LAMPImportance(group_reduction="first")(group)
    torch.testing.assert_close(score(graph, "lamp").values["0"], lamp.double(), rtol=1e-4, atol=1e-7)

"""The proof is right for every correct pruning, whatever the network's forward does, and wrong for no wrong one."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reconv.graph import trace
from reconv.plan import Budget, Plan, choose
from reconv.saliency import score
from reconv.surgery import Proof, prune, verify

IMAGE = torch.zeros(1, 3, 16, 16)


class Net(nn.Module):
    """Three layers; what happens between them is given."""

    def __init__(self, forward: Callable[..., object], **layers: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a = nn.Conv2d(3, 16, 3, padding=1)
        self.b = nn.Conv2d(16, 24, 3, padding=1)
        self.c = nn.Conv2d(24, 5, 1)
        for name, layer in layers.items():
            self.add_module(name, layer)
        self._forward = forward

    def forward(self, *inputs: Tensor) -> object:
        return self._forward(self, *inputs)

    def features(self, x: Tensor) -> Tensor:
        return self.b(self.a(x).relu()).relu()


def planned(model: nn.Module, example: object = IMAGE, share: float = 0.5) -> Plan:
    graph = trace(model.eval(), example, freeze=["c"])
    return choose(graph, score(graph, "l2"), Budget(channels=share), coupled=True)


def proven(model: nn.Module, example: object = IMAGE, inputs: object = None) -> Proof:
    plan = planned(model, example)
    assert sum(len(row.kept) < row.size for row in plan.groups) >= 1
    return verify(model, prune(model, plan), plan, inputs=inputs)


def wrongly_cut(model: nn.Module, example: object = IMAGE, inputs: object = None) -> Proof:
    """The proof of a network in which one kept channel of a layer is another one."""
    plan = planned(model, example)
    small = prune(model, plan)
    row = next(row for row in plan.groups if len(row.kept) < row.size)
    wrong = min(set(range(row.size)) - set(row.kept))
    with torch.no_grad():
        small.get_parameter(f"{row.name}.weight")[0] = model.get_parameter(f"{row.name}.weight")[wrong]
    return verify(model, small, plan, inputs=inputs)


@dataclass
class Boxes:
    scores: Tensor
    labels: Tensor
    count: int = 0


class Plain:
    """An object of no kind that PyTorch knows."""

    def __init__(self, scores: Tensor) -> None:
        self.scores = scores


def pooled(x: Tensor) -> Tensor:
    return x.mean((2, 3))


def outputs(make: Callable[[Tensor], object]) -> Callable[[Net, Tensor], object]:
    return lambda m, x: make(m.c(m.features(x))[..., 0])


def endless(y: Tensor) -> Tensor:
    return torch.cat([y, torch.full_like(y, math.inf), torch.full_like(y, -math.inf)], 1)


def not_a_number(y: Tensor) -> Tensor:
    return torch.cat([y, torch.full_like(y, math.nan)], 1)


OUTPUTS: dict[str, Callable[[Tensor], object]] = {
    "boolean": lambda y: {"logits": y, "valid": y > 0},
    "boolean alone": lambda y: y > 0,
    "whole numbers": lambda y: (y.argmax(1), y),
    "sorted": lambda y: y.sort(1),
    "bytes": lambda y: (y, (y.sigmoid() * 255).to(torch.uint8)),
    "empty": lambda y: (y, (y[0, 0] > 1e9).nonzero(), y[:0]),
    "infinite": endless,
    "not a number": not_a_number,
    "complex": lambda y: torch.complex(y, y.square()),
    "spectrum": lambda y: torch.fft.rfft(y),
    "numbers": lambda y: {"score": y[0, 0, 0].item(), "logits": y},
    "none and text": lambda y: (None, "boxes", y),
    "dataclass": lambda y: Boxes(y, y.argmax(1)),
    "object": lambda y: [Plain(y)],
    "of low precision": lambda y: (y.half(), y.bfloat16()),
}


@pytest.mark.parametrize("name", OUTPUTS)
def test_outputs_of_any_kind(name: str) -> None:
    proof = proven(Net(outputs(OUTPUTS[name])))
    assert proof.holds, proof
    wrong = wrongly_cut(Net(outputs(OUTPUTS[name])))
    assert not wrong.holds, wrong


def autoencoder(m: Net, x: Tensor) -> object:
    mean = m.c(m.features(x))
    return mean + torch.randn_like(mean) * (0.1 * mean).exp(), mean


def noise_on_channels(m: Net, x: Tensor) -> Tensor:
    y = m.a(x)
    return pooled(m.c(m.b(y + torch.randn_like(y)).relu()))


def noise_in_place(m: Net, x: Tensor) -> Tensor:
    y = m.a(x)
    return pooled(m.c(m.b(y * torch.empty_like(y).uniform_(0.5, 1.5)).relu()))


def gumbel(m: Net, x: Tensor) -> Tensor:
    y = pooled(m.c(m.features(x)))
    return F.gumbel_softmax(y, hard=True) + y


def gated_at_random(m: Net, x: Tensor) -> Tensor:
    y = m.a(x)
    return pooled(m.c(m.b(y * torch.bernoulli(y.sigmoid())).relu()))


def depth_at_random(m: Net, x: Tensor) -> Tensor:
    y = m.a(x)
    y = y * 3 if random.random() < 0.5 else y
    y = y * float(np.random.rand() + 1)  # noqa: NPY002
    return pooled(m.c(m.b(y).relu()))


RANDOM: dict[str, Callable[[Net, Tensor], object]] = {
    "a sampling auto-encoder": autoencoder,
    "noise on channels that go": noise_on_channels,
    "noise in place": noise_in_place,
    "gumbel softmax": gumbel,
    "bernoulli": gated_at_random,
    "Python and NumPy": depth_at_random,
    "dropout": lambda m, x: pooled(m.c(F.dropout(m.features(x), 0.3, training=True))),
    "dropout in the middle": lambda m, x: pooled(m.c(m.b(F.dropout(m.a(x), 0.3, training=True)).relu())),
    "alpha dropout": lambda m, x: pooled(m.c(F.alpha_dropout(m.features(x), 0.3, training=True))),
    "randomized leaky relu": lambda m, x: pooled(m.c(F.rrelu(m.features(x), training=True))),
    "multinomial": lambda m, x: (y := pooled(m.c(m.features(x))).softmax(1), torch.multinomial(y, 2)),
    "tokens in random order": lambda m, x: pooled(m.c(m.features(x).flatten(2)[..., torch.randperm(256)][..., None])),
}


@pytest.mark.parametrize("name", RANDOM)
def test_forwards_that_draw_random_numbers(name: str) -> None:
    model = Net(RANDOM[name])
    plan = planned(model)
    small = prune(model, plan)
    state, python, numpy = torch.get_rng_state(), random.getstate(), np.random.get_state()[1]  # noqa: NPY002
    proof = verify(model, small, plan)
    assert proof.holds, proof
    assert torch.equal(torch.get_rng_state(), state)
    assert random.getstate() == python
    assert np.array_equal(np.random.get_state()[1], numpy)  # noqa: NPY002
    assert not wrongly_cut(model).holds


def test_channels_that_are_dropped_as_a_whole_draw_alike() -> None:
    model = Net(lambda m, x: pooled(m.c(F.dropout2d(m.features(x), 0.3, training=True))))
    assert proven(model).holds
    assert not wrongly_cut(model).holds


def test_a_generator_of_its_own() -> None:
    class Own(Net):
        def __init__(self) -> None:
            super().__init__(lambda m, x: None)
            self.generator = torch.Generator().manual_seed(3)

        def forward(self, x: Tensor) -> Tensor:
            y = self.c(self.features(x))
            return y + torch.randn(y.shape, generator=self.generator)

    assert proven(Own()).holds


def warped(m: Net, x: Tensor) -> Tensor:
    line = torch.linspace(-1, 1, 16)
    grid = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1)[None]
    return m.c(F.grid_sample(m.features(x), grid, align_corners=True))


def positions(m: Net, x: Tensor) -> Tensor:
    table = torch.arange(24, dtype=torch.float32)[None].sin()
    return pooled(m.c(m.features(x))) + m.get_submodule("table")(table)


def through_zeros(m: Net, x: Tensor) -> Tensor:
    y = m.c(m.features(x))
    out = torch.zeros(y.shape, dtype=torch.float32)
    out[:, 1:] = y[:, 1:]
    return out


def autocast(m: Net, x: Tensor) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        return m.c(m.features(x))


FLOAT32: dict[str, Callable[[Net, Tensor], object]] = {
    "a grid": warped,
    "positions": positions,
    "a constant": lambda m, x: F.linear(pooled(m.c(m.features(x))), torch.eye(5, dtype=torch.float32)[:3]),
    "float()": lambda m, x: m.c(m.features(x.float()).float()),
    "bytes": lambda m, x: m.c(m.features(x.float() / 255)),
    "half on the way": lambda m, x: m.c(m.features(x).half().to(m.c.weight.dtype)),
    "into zeros": through_zeros,
    "autocast": autocast,
}


@pytest.mark.parametrize("name", FLOAT32)
def test_forwards_in_float32_are_proven_in_float64(name: str) -> None:
    for example in (IMAGE, torch.zeros(1, 3, 16, 16, dtype=torch.uint8))[: 2 if name == "bytes" else 1]:
        model = Net(FLOAT32[name], table=nn.Linear(24, 5))
        proof = proven(model, example)
        assert proof.holds, proof
        assert proof.dtype == "float64", proof
        assert not wrongly_cut(model, example).holds


class Float32Alone(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        if x.dtype is not torch.float32:
            raise TypeError("this kernel is for float32")
        return x.sin()


def test_what_runs_in_float32_alone_is_proven_there_and_says_so() -> None:
    model = Net(lambda m, x: pooled(m.c(Float32Alone.apply(m.features(x)))))
    plan = choose(graph := trace(model, IMAGE), score(graph, "l2"), Budget(channels=0.5))
    proof = verify(model, prune(model, plan), plan)
    assert proof.holds
    assert (proof.dtype, "does not run in float64" in proof.note) == ("float32", True)
    assert 1e-6 < proof.tolerance < 1e-2
    wrong = wrongly_cut(model)
    assert not wrong.holds
    assert wrong > 10 * wrong.tolerance


def test_an_input_that_is_changed_in_place() -> None:
    def forward(m: Net, x: Tensor) -> Tensor:
        x.mul_(0.5).add_(1)
        return m.c(m.features(x))

    example = torch.ones(1, 3, 16, 16)
    model = Net(forward)
    plan = planned(model, example)
    image = torch.rand(1, 3, 16, 16)
    before = image.clone()
    for inputs in (None, image):
        assert verify(model, prune(model, plan), plan, inputs=inputs).holds
    assert torch.equal(image, before)
    assert torch.equal(example, torch.ones(1, 3, 16, 16))


NORMS: dict[str, Callable[[Net, Tensor], Tensor]] = {
    "layer": lambda m, x: m.c(F.layer_norm(y := m.b(m.a(x)).permute(0, 2, 3, 1), y.shape[-1:]).permute(0, 3, 1, 2)),
    "group": lambda m, x: m.c(F.group_norm(m.b(F.group_norm(m.a(x), 2)), 4)),
    "one group": lambda m, x: m.c(F.group_norm(m.b(m.a(x)), 1)),
    "root mean square": lambda m, x: m.c(
        F.rms_norm(y := m.b(m.a(x)).permute(0, 2, 3, 1), y.shape[-1:]).permute(0, 3, 1, 2)
    ),
    "instance": lambda m, x: m.c(F.instance_norm(m.b(F.instance_norm(m.a(x))))),
    "batch": lambda m, x: m.c(F.batch_norm(m.b(m.a(x)), None, None, training=True)),
}


@pytest.mark.parametrize("name", NORMS)
def test_norms_without_parameters(name: str) -> None:
    proof = proven(Net(NORMS[name]))
    assert proof.holds, proof


class FrozenNorm(nn.Module):
    """Statistics, scales and shifts in buffers, as they are before any training."""

    def __init__(self, width: int) -> None:
        super().__init__()
        for name, value in (("weight", 1.0), ("bias", 0.0), ("mean", 0.0), ("var", 1.0)):
            self.register_buffer(name, torch.full((1, width, 1, 1), value))

    def forward(self, x: Tensor) -> Tensor:
        scale = self.get_buffer("weight") / (self.get_buffer("var") + 1e-5).sqrt()
        return (x - self.get_buffer("mean")) * scale + self.get_buffer("bias")


@pytest.mark.parametrize("name", ["bias", "mean", "var", "weight"])
def test_fresh_statistics_hide_no_fault(name: str) -> None:
    """The entries of another channel, which are those of every channel while the network is fresh."""
    model = Net(lambda m, x: m.c(m.get_submodule("norm")(m.b(m.a(x))).relu()), norm=FrozenNorm(24))
    plan = planned(model)
    small = prune(model, plan)
    assert verify(model, small, plan).holds
    buffer = small.get_submodule("norm")._buffers
    kept = buffer[name]
    assert kept is not None
    buffer[name] = kept.flip(1)  # the same numbers
    assert torch.equal(kept, kept.flip(1))
    assert verify(model, small, plan).holds  # and so the same network

    class Swapped(FrozenNorm):
        def forward(self, x: Tensor) -> Tensor:
            buffers = dict(self._buffers)
            self._buffers[name] = self.get_buffer(name).roll(1, 1)
            y = super().forward(x)
            self._buffers.update(buffers)
            return y

    small.get_submodule("norm").__class__ = Swapped
    assert not verify(model, small, plan).holds


def test_batch_norms_before_any_training_hide_no_fault() -> None:
    norm = nn.BatchNorm2d(24)
    model = Net(lambda m, x: m.c(m.get_submodule("norm")(m.b(m.a(x))).relu()), norm=norm)
    plan = planned(model)
    small = prune(model, plan)
    assert verify(model, small, plan).holds

    class Swapped(nn.BatchNorm2d):
        def forward(self, x: Tensor) -> Tensor:
            mean = self.running_mean
            return F.batch_norm(x, mean.roll(1), self.running_var, self.weight, self.bias, eps=self.eps)  # type: ignore[union-attr]

    small.get_submodule("norm").__class__ = Swapped
    assert not verify(model, small, plan).holds


def detector(m: Net, x: Tensor) -> Tensor:
    """Where the image is bright, and how it looks there; noise is nowhere bright."""
    bright = (x.mean(1) > 5).nonzero()[:, 1:]
    y = m.c(m.features(x))
    return y[0, :, bright[:, 0], bright[:, 1]]


def test_a_detector_that_finds_nothing_in_noise_is_undecided_until_it_is_given_an_image() -> None:
    model = Net(detector)
    proof = proven(model)
    assert math.isnan(proof)
    assert not proof.holds
    assert "outputs are empty; give inputs of your data: verify(..., inputs=...)" in proof.undecided
    image = torch.rand(1, 3, 16, 16)
    image[:, :, 4:9, 5:7] += 10
    assert proven(model, inputs=image).holds
    assert not wrongly_cut(model, inputs=image).holds
    assert "give other inputs" in proven(model, inputs=torch.zeros(1, 3, 16, 16)).undecided


def test_a_trained_detector_finds_on_a_real_image_what_it_was_trained_for() -> None:
    """It would find nothing, were its weights changed by a tenth."""

    def forward(m: Net, x: Tensor) -> Tensor:
        certain = (m.threshold - 1).abs() < 0.01
        return m.c(m.features(x))[:, :, : 4 * int(certain)]

    model = Net(forward)
    model.threshold = nn.Parameter(torch.ones(()))
    plan = planned(model)
    small = prune(model, plan)
    assert verify(model, small, plan).undecided
    assert verify(model, small, plan, inputs=torch.rand(1, 3, 16, 16)).holds


def test_an_example_on_which_a_detector_finds_something_is_tried() -> None:
    image = torch.rand(1, 3, 16, 16)
    image[:, :, 4:9, 5:7] += 10
    assert proven(Net(detector), image).holds


def test_proposals_that_hang_on_rounding_do_not_move() -> None:
    """Two halves of an image alike give scores alike, up to rounding, whose order nobody knows."""

    def forward(m: Net, x: Tensor) -> Tensor:
        x = torch.cat([x, x.flip(3)], 3)
        y = m.features(x)
        scores = (y * y.flip(3).cos()).sum(1).flatten(1)
        chosen = scores.topk(8).indices[0]
        places = torch.stack([chosen // 32, chosen % 32], 1)
        regions = y[0][:, places[:, 0], places[:, 1]].T[..., None, None]
        return torch.cat([m.c(regions).flatten(), places.flatten().to(x.dtype)])

    example = torch.zeros(1, 3, 16, 16)
    for seed in range(4):
        torch.manual_seed(seed)
        model = Net(forward)
        plan = planned(model, example)
        proof = verify(model, prune(model, plan), plan, seed)
        assert proof.holds, proof
        assert not wrongly_cut(model, example).holds


def test_a_unit_that_is_dead_on_one_random_input_is_not_on_another() -> None:
    model = Net(
        lambda m, x: m.get_submodule("end")(pooled(m.c(m.features(x))).relu()[:, :1] * 1e3), end=nn.Linear(1, 2)
    )
    plan = planned(model)
    proof = verify(model, prune(model, plan), plan)
    assert proof.holds, proof


def test_a_forward_that_differs_from_call_to_call_is_undecided() -> None:
    calls = [0]

    def forward(m: Net, x: Tensor) -> Tensor:
        calls[0] += 1
        return m.c(m.features(x)) * calls[0]

    proof = proven(Net(forward))
    assert "differ by" in proof.undecided
    assert "from call to call" in proof.undecided


def test_what_runs_on_no_input_is_undecided_and_says_why() -> None:
    def forward(m: Net, x: Tensor) -> Tensor:
        if not torch.compiler.is_compiling() and type(x) is Tensor:
            raise ValueError("the sensor is off")
        return m.c(m.features(x))

    proof = proven(Net(forward))
    assert "does not run on random input in float64 (ValueError: the sensor is off)" in proof.undecided
    assert "verify(..., inputs=...)" in proof.undecided


def test_inputs_of_bounded_values_are_those_of_the_example() -> None:
    def forward(m: Net, x: Tensor) -> Tensor:
        assert float(x.min()) >= 0
        return m.c(m.features(x))

    model = Net(lambda m, x: m.c(m.features(x)))
    plan = planned(model, torch.rand(1, 3, 16, 16))
    small = prune(model, plan)
    for net in (model, small):
        net._forward = forward  # type: ignore[assignment]
    assert verify(model, small, plan).holds


def test_a_pruned_network_that_does_not_run_is_infinitely_wrong() -> None:
    model = Net(lambda m, x: m.c(m.features(x)))
    plan = planned(model)
    small = prune(model, plan)
    small._forward = lambda m, x: m.c(m.features(x)[:, 1:])  # type: ignore[assignment]
    proof = verify(model, small, plan)
    assert proof == math.inf
    assert "the pruned network does not run: RuntimeError" in proof.note


def test_a_proof_is_a_number() -> None:
    proof = proven(Net(lambda m, x: m.c(m.features(x))))
    assert isinstance(proof, float)
    assert proof < 1e-12
    assert f"{proof:.1e}" == f"{float(proof):.1e}"
    assert (proof.tolerance, proof.dtype, proof.undecided, proof.note) == (1e-10, "float64", "", "")
    undecided = Proof(undecided="there is no input")
    assert not undecided <= 1.0
    assert repr(undecided) == "Proof(undecided: there is no input)"


@pytest.mark.parametrize("value", [1e30, 1e-30, 1e-40, 0.0])
def test_weights_of_any_size(value: float) -> None:
    model = Net(lambda m, x: m.c(m.features(x)))
    with torch.no_grad():
        model.b.weight.mul_(value)
    proof = proven(model)
    assert proof.holds, proof
    assert not wrongly_cut(model).holds

"""Costs are for one image, however the example holds its images; what multiplies and is not counted is named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.ops import DeformConv2d

from reconv.budget import Budget
from reconv.cost import profile
from reconv.graph import trace
from reconv.plan import choose
from reconv.saliency import score


class Net(nn.Module):
    def __init__(self, forward: Callable[..., object], channels: int = 3) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(channels, 16, 3, padding=1), nn.Conv2d(16, 5, 3, padding=1)
        self._forward = forward

    def forward(self, *args: object, **kwargs: object) -> object:
        return self._forward(self, *args, **kwargs)

    def both(self, x: Tensor) -> Tensor:
        return self.b(self.a(x).relu())


def of_list(m: Net, images: list[Tensor]) -> Tensor:
    return m.both(torch.stack(images))


def one_by_one(m: Net, images: list[Tensor]) -> list[Tensor]:
    return [m.both(image[None]) for image in images]


def with_words(m: Net, words: Tensor, image: Tensor) -> Tensor:
    return m.both(image) + words.float().mean()


def of_mapping(m: Net, batch: dict[str, Tensor]) -> Tensor:
    return with_words(m, batch["words"], batch["image"])


def images(number: int) -> list[Tensor]:
    return [torch.zeros(3, 12, 12)] * number


def batch(number: int) -> Tensor:
    return torch.zeros(number, 3, 12, 12)


WORDS = torch.arange(77)
EXAMPLES: dict[str, tuple[Callable[..., object], object, int]] = {
    "an image alone": (Net.both, torch.zeros(3, 12, 12), 1),
    **{f"a batch of {n}": (Net.both, batch(n), n) for n in (1, 3, 4)},
    **{f"a list of {n}": (of_list, (images(n),), n) for n in (1, 2, 3, 6)},
    **{f"{n} one after the other": (one_by_one, (images(n),), n) for n in (2, 3)},
    "after words": (with_words, (WORDS, batch(2)), 2),
    "after a number": (with_words, (torch.tensor(3.0), batch(4)), 4),
    "by keywords": (with_words, {"words": WORDS, "image": batch(2)}, 2),
    "in a mapping": (of_mapping, ({"words": WORDS, "image": batch(2)},), 2),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_macs_are_those_of_one_image(name: str) -> None:
    forward, example, number = EXAMPLES[name]
    graph = trace(Net(forward), example)
    assert (graph.images, profile(graph).macs) == (number, 144 * 9 * (3 * 16 + 16 * 5))
    plan = choose(graph, score(graph, "l2"), Budget(macs=0.5))
    assert plan.macs[1] <= 0.5 * plan.macs[0]


@pytest.mark.parametrize("channels", [1, 2, 4, 12])
def test_an_image_alone_has_any_number_of_channels(channels: int) -> None:
    graph = trace(Net(Net.both, channels), torch.zeros(channels, 12, 12))
    assert profile(graph).macs == 144 * 9 * (channels * 16 + 16 * 5)


class Frames(nn.Module):
    """Of a spectrogram [frames, bands], which is one sample."""

    def __init__(self, forward: Callable[..., Tensor]) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(8, 6), nn.Conv1d(6, 6, 3, padding=1), nn.Linear(6, 2)
        self.r = nn.LSTM(6, 6)
        self._forward = forward

    def forward(self, x: Tensor) -> Tensor:
        return self._forward(self, x)


@pytest.mark.parametrize(
    ("forward", "macs"),
    [
        (lambda m, x: m.c(m.b(m.a(x).T).T), 10 * (48 + 12 + 6 * 6 * 3)),
        (lambda m, x: m.c(m.a(x).mean(0)), 10 * 48 + 12),
        (lambda m, x: m.c(m.r(m.a(x))[0]), 10 * (48 + 12 + 2 * 24 * 6)),
    ],
)
def test_frames_are_no_images(forward: Callable[..., Tensor], macs: int) -> None:
    assert profile(trace(Frames(forward), torch.zeros(10, 8))).macs == macs


def test_rows_that_nothing_mixes_are() -> None:
    found = profile(trace(nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 2)), torch.zeros(10, 8)))
    assert found.macs == 48 + 12


class Deformed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.offset, self.b = (
            nn.Conv2d(3, 8, 1),
            nn.Conv2d(8, 18, 3, padding=1),
            DeformConv2d(8, 4, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x)
        return self.b(y, self.offset(y))


class Read(nn.Module):
    def __init__(self, read: Callable[..., object], **layers: nn.Module) -> None:
        super().__init__()
        self.a, self._read = nn.Linear(8, 6), read
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: Tensor) -> object:
        return self._read(self, self.a(x))


class Sequences(Read):
    """A recurrent layer of six features and four states behind a linear layer."""

    def __init__(self, kind: type[nn.RNNBase], **options: Any) -> None:
        super().__init__(lambda m, x: m.r(x)[0], r=kind(6, 4, **options))

    def weights(self) -> int:
        """Entries of all that is multiplied in one step."""
        return 48 + sum(w.numel() for name, w in self.r.named_parameters() if "weight" in name)


RECURRENT: list[tuple[type[nn.RNNBase], dict[str, Any]]] = [
    *((kind, {}) for kind in (nn.LSTM, nn.GRU, nn.RNN)),
    (nn.LSTM, {"num_layers": 2, "bidirectional": True}),
    (nn.LSTM, {"proj_size": 3, "bidirectional": True}),
    (nn.GRU, {"num_layers": 2, "bias": False}),
]


@pytest.mark.parametrize(("kind", "options"), RECURRENT)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])  # in one operator, and step by step
@pytest.mark.filterwarnings("ignore:LSTM with projections")
def test_a_recurrent_layer_multiplies_by_every_weight_in_every_step(
    kind: type[nn.RNNBase], options: dict[str, Any], dtype: torch.dtype
) -> None:
    for shape, first, sequences in (((2, 5, 8), True, 2), ((5, 2, 8), False, 2), ((5, 1, 8), False, 1)):
        network = Sequences(kind, batch_first=first, **options).to(dtype)
        graph = trace(network, torch.zeros(shape, dtype=dtype))
        assert (graph.images, profile(graph).macs) == (sequences, 5 * network.weights())


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_a_packed_sequence_has_as_many_steps_as_it_holds(kind: type[nn.RNNBase]) -> None:
    network = Sequences(kind, batch_first=True)
    pack, unpack = nn.utils.rnn.pack_padded_sequence, nn.utils.rnn.pad_packed_sequence
    network._read = lambda m, x: unpack(m.r(pack(x, torch.tensor([5, 3]), batch_first=True))[0])[0]
    # The linear layer sees all 10 rows, the recurrent layer 8 of them.
    assert profile(trace(network, torch.zeros(2, 5, 8))).macs == (10 * 48 + 8 * (network.weights() - 48)) / 2


def test_a_deformable_convolution_multiplies_like_a_convolution() -> None:
    found = profile(trace(Deformed(), torch.zeros(2, 3, 6, 6)))
    assert found.macs == 36 * (3 * 8 + 9 * 8 * 18 + 9 * 8 * 4)
    assert not found.uncounted


@pytest.mark.parametrize("weights", [True, False])  # in two products, and in one operator
def test_attention_multiplies_queries_by_keys_and_weights_by_values(weights: bool) -> None:
    network = Read(lambda m, x: m.r(x, x, x, need_weights=weights)[0], r=nn.MultiheadAttention(6, 3, batch_first=True))
    found = profile(trace(network, torch.zeros(2, 5, 8)))
    assert sum(product.macs for product in found.products) == 5 * 5 * 6 * 2
    assert found.macs == 5 * (48 + 4 * 36) + 5 * 5 * 6 * 2


UNCOUNTED: dict[str, tuple[nn.Module, Tensor]] = {
    "aten._trilinear": (Read(lambda m, x: m.r(x, x), r=nn.Bilinear(6, 6, 2)), torch.zeros(2, 8)),
    "aten._cdist_forward": (Read(lambda m, x: torch.cdist(x, x, p=1.0)), torch.zeros(2, 8)),
}


@pytest.mark.parametrize("operator", UNCOUNTED)
def test_what_multiplies_nobody_knows_how_often_is_named(operator: str) -> None:
    model, example = UNCOUNTED[operator]
    assert profile(trace(model, example)).uncounted[operator] >= 1

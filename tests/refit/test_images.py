"""Where calibration images come from: drawn from nothing, or taken from a data set without its labels."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from reconv.calibration import split_for_curves
from reconv.data import calibration_images, load_data
from reconv.data.splits import TensorSplit
from reconv.errors import ConfigError
from reconv.graph import trace
from reconv.plan import Budget, choose
from reconv.provenance import Normalization
from reconv.refit import Settings, dead_leaves, error_curves, gather_moments, repair
from reconv.surgery import prune


def test_leaves_are_images() -> None:
    drawn = dead_leaves(30, (20, 28), seed=3)
    assert drawn.shape == (30, 3, 20, 28)
    assert drawn.dtype == torch.float32
    assert 0 <= drawn.min() < 0.1
    assert 0.9 < drawn.max() <= 1
    assert 0.3 < drawn.mean() < 0.7


def test_leaves_have_edges_and_flat_regions() -> None:
    """Neighbors are alike, and differences are far more often nearly zero or large than Gaussian ones."""
    drawn = dead_leaves(100, 32)
    step = (drawn[..., 1:] - drawn[..., :-1]).flatten()
    assert step.var() < 0.25 * drawn.var()
    kurtosis = (step - step.mean()).pow(4).mean() / step.var().square()
    assert kurtosis > 8, "a Gaussian has 3, photographs have 10 and more"


def test_an_image_depends_on_its_number_and_the_seed_alone() -> None:
    few, many, other = dead_leaves(3, 16), dead_leaves(150, 16), dead_leaves(3, 16, seed=1)
    assert torch.equal(few, many[:3])
    assert not torch.equal(few, other)
    assert not torch.equal(many[0], many[100])
    state = torch.get_rng_state()
    dead_leaves(2, 16)
    assert torch.equal(torch.get_rng_state(), state)


def test_leaves_are_normalized_as_the_network_expects() -> None:
    plain = dead_leaves(5, 16)
    colored = dead_leaves(5, 16, normalization=Normalization((0.5, 0.4, 0.3), (0.2, 0.3, 0.4)))
    torch.testing.assert_close(colored[:, 1] * 0.3 + 0.4, plain[:, 1])
    grey = dead_leaves(5, 16, normalization=Normalization((0.5,), (0.2,)))
    torch.testing.assert_close(grey * 0.2 + 0.5, plain.mean(1, keepdim=True))


@pytest.mark.parametrize(("n", "size"), [(0, 16), (4, 2), (4, (16, 3))])
def test_images_that_cannot_be_drawn(n: int, size) -> None:
    with pytest.raises(ConfigError, match="give at least one, of 4 x 4 or more"):
        dead_leaves(n, size)


def test_labels_play_no_part() -> None:
    data = load_data("digits")
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(216, 10)
    )
    graph = trace(model, data.example())
    assert isinstance(data.train, TensorSplit)
    shuffled = data.train.labels[torch.randperm(len(data.train), generator=torch.Generator().manual_seed(1))]
    states = []
    for labels in (data.train.labels, shuffled):
        split = replace(data, train=TensorSplit(data.train.images, labels))
        images = calibration_images(split, 100)
        plan = choose(graph, error_curves(graph, gather_moments(graph, images)), Budget(macs=0.5))
        made = repair(prune(model, plan), plan=plan, reference=model, images=images, settings=Settings(points=4))
        states.append(made.state_dict())
    assert not torch.equal(data.train.labels, shuffled)
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


@pytest.mark.real_data
@pytest.mark.slow
def test_half_of_resnet20_from_few_photographs(data_root, weights_root) -> None:
    from reconv.provenance import provenance_of
    from reconv.zoo import load_model

    model = load_model("resnet20", weights=weights_root / "cifar10-resnet20.safetensors").eval()
    data = load_data("cifar10", data_root).with_normalization(provenance_of(model).normalization)
    images = calibration_images(data, 250)
    graph = trace(model, data.example())
    plan = choose(graph, error_curves(graph, gather_moments(graph, images)), Budget(macs=0.5))
    small = prune(model, plan)
    made = repair(small, plan=plan, reference=model, images=images, settings=Settings(joint_rows=16_000))
    fresh = calibration_images(data, 750)[250:]
    with torch.no_grad():
        expected, cut, found = (network(fresh).softmax(1) for network in (model, small, made))
    agree = [float((p.argmax(1) == expected.argmax(1)).float().mean()) for p in (cut, found)]
    assert agree[0] < 0.6
    assert agree[1] > 0.85
    assert F.l1_loss(found, expected) < 0.4 * F.l1_loss(cut, expected)


def test_groups_are_tried_on_large_images_alone() -> None:
    for size, number, tried in ((96, 500, 100), (96, 200, 40), (96, 90, 0), (32, 1000, 0)):
        seen, held_out = split_for_curves(torch.zeros(number, 1, size, 1))
        assert (0 if held_out is None else len(held_out)) == tried
        assert len(seen) == (number - number // 5 if tried else number)

"""Holding out: every class has its share, the seed decides which images, and nothing is in two splits."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reconv.data import TensorSplit, hold_out, load_data, sample
from reconv.errors import DataError


@settings(deadline=None, max_examples=60)
@given(
    counts=st.lists(st.integers(1, 40), min_size=2, max_size=6),
    fraction=st.floats(0, 0.9),
    seed=st.integers(0, 2**31),
)
def test_every_class_gives_its_share_and_no_image_is_lost(counts: list[int], fraction: float, seed: int) -> None:
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    labels = labels[torch.randperm(len(labels))]
    wanted = round(fraction * len(labels))
    if wanted >= len(labels):
        return
    kept, held = hold_out(labels, fraction, seed)
    assert torch.equal(torch.cat([kept, held]).sort().values, torch.arange(len(labels)))
    assert len(held) == wanted
    per_class = torch.bincount(labels[held], minlength=len(counts)).double()
    share = torch.tensor(counts) * (wanted / len(labels))
    assert ((per_class - share).abs() < 1).all()


def test_the_seed_alone_decides_which_images() -> None:
    labels = torch.arange(100) % 10
    assert torch.equal(hold_out(labels, 0.2, 3)[1], hold_out(labels, 20, 3)[1])
    assert not torch.equal(hold_out(labels, 0.2, 3)[1], hold_out(labels, 0.2, 4)[1])


@pytest.mark.parametrize("amount", [-0.1, 10, 11, -3])
def test_more_than_there_is_cannot_be_held_out(amount: float) -> None:
    with pytest.raises(DataError, match=r"of 10 training images cannot be held out; give a fraction in \[0, 1\)"):
        hold_out(torch.arange(10) % 2, amount, 0)


def test_a_sample_has_no_image_twice() -> None:
    split = TensorSplit(torch.arange(50, dtype=torch.uint8).view(50, 1, 1, 1), torch.arange(50))
    chosen = sample(split, 20, seed=1).labels
    assert len(chosen.unique()) == 20
    assert torch.equal(chosen, sample(split, 20, seed=1).labels)
    assert len(sample(split, 1000, seed=1)) == 50


def test_digits_test_images_are_the_same_for_every_seed() -> None:
    one, other = load_data("digits", seed=1), load_data("Digits", seed=2)
    assert isinstance(one.test, TensorSplit)
    assert isinstance(other.test, TensorSplit)
    assert torch.equal(one.test.images, other.test.images)
    assert not torch.equal(one.validation.labels, other.validation.labels)
    assert (len(one.train), len(one.validation), len(one.test)) == (1077, 360, 360)


def test_digits_are_the_ones_of_scikit_learn_to_the_level() -> None:
    from sklearn.datasets import load_digits

    data = load_data("digits", validation=0)
    assert isinstance(data.train, TensorSplit)
    assert isinstance(data.test, TensorSplit)
    images = torch.cat([data.train.images, data.test.images]).double() * 16 / 255
    levels = torch.from_numpy(load_digits().images).unsqueeze(1)
    assert torch.equal(images.round().sum((1, 2, 3)).sort().values, levels.sum((1, 2, 3)).sort().values)
    assert len(data.validation) == 0
    assert str(data) == "digits: 10 classes, 1x8x8 images, 1,437 training, 0 validation, 360 test"

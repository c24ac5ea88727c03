"""Data of one's own reaches the network as it is, each item once, whatever form it comes in."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, SubsetRandomSampler, TensorDataset

from reconv.data import DataSet, Reading, as_data_set, calibration_images, load_data
from reconv.errors import DataError
from reconv.provenance import Normalization
from reconv.results.fingerprints import images_fingerprint

N = 30
IMAGES = torch.arange(N, dtype=torch.float32).view(N, 1, 1, 1).expand(N, 2, 4, 4).contiguous()
LABELS = torch.arange(N) % 3


class Items(Dataset[Any]):
    """Images that show their number; `noise` is added by a random transform."""

    def __init__(self, noise: float = 0.0, targets: bool = False) -> None:
        self.noise = noise
        if targets:
            self.targets = LABELS.tolist()

    def __len__(self) -> int:
        return N

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return IMAGES[index] + self.noise * torch.randn(2, 4, 4), int(LABELS[index])


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[tuple[Tensor, int]]:
        yield from zip(IMAGES, LABELS.tolist())


def contents(data: DataSet, split: str) -> dict[int, int]:
    """Number of the image -> its label, of one split."""
    part = getattr(data, split)
    pairs = part.stream(torch.arange(len(part)).split(7))
    return {int(x[0, 0, 0]): int(y) for images, labels in pairs for x, y in zip(images, labels)}


FORMS: dict[str, Callable[[], Any]] = {
    "pair of tensors": lambda: (IMAGES, LABELS),
    "TensorDataset": lambda: TensorDataset(IMAGES, LABELS),
    "Dataset": Items,
    "Dataset that says its labels": lambda: Items(targets=True),
    "DataLoader": lambda: DataLoader(Items(), batch_size=8, shuffle=True, drop_last=True),
    "DataLoader with a sampler": lambda: DataLoader(Items(), batch_size=8, sampler=SubsetRandomSampler(range(N))),
    "DataLoader of batches": lambda: DataLoader(Items(), batch_sampler=[[i, i + 1] for i in range(0, N, 2)]),
    "IterableDataset": Stream,
    "DataLoader of an IterableDataset": lambda: DataLoader(Stream(), batch_size=4),
    "generator of batches": lambda: zip(IMAGES.split(4), LABELS.split(4)),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_items_and_each_once(form: str) -> None:
    whole = as_data_set(FORMS[form](), only="test")
    assert contents(whole, "test") == dict(enumerate(LABELS.tolist()))
    assert whole.labelled
    assert whole.input_size == (2, 4, 4)
    parts = as_data_set(FORMS[form](), validation=0.2, test=6, seed=1)
    sizes = [len(getattr(parts, name)) for name in ("train", "validation", "test")]
    assert sizes == [18, 6, 6]
    together = contents(parts, "train") | contents(parts, "validation") | contents(parts, "test")
    assert together == dict(enumerate(LABELS.tolist()))
    again = as_data_set(FORMS[form](), validation=0.2, test=6, seed=1)
    assert contents(parts, "test") == contents(again, "test")


def test_classes_keep_their_shares_where_the_dataset_says_its_labels() -> None:
    data = as_data_set(Items(targets=True), test=6)
    assert torch.bincount(data.test.labels).tolist() == [2, 2, 2]


def test_splits_that_are_given_stay_what_they_are() -> None:
    first, rest = Subset(Items(), range(20)), Subset(Items(), range(20, N))
    data = as_data_set({"train": DataLoader(first), "test": DataLoader(rest)})
    assert contents(data, "test").keys() == set(range(20, N))
    assert (len(data.train), len(data.validation)) == (18, 2)
    three = as_data_set((first, rest, rest))
    assert [len(three.train), len(three.validation), len(three.test)] == [20, 10, 10]
    assert as_data_set(data) is data


@pytest.mark.parametrize(
    "images",
    [IMAGES, DataLoader(IMAGES, 4), list(IMAGES), IMAGES.split(7), (x for x in IMAGES), TensorDataset(IMAGES)],
    ids=["tensor", "DataLoader", "list of images", "batches", "generator", "TensorDataset"],
)
def test_images_alone_serve_calibration(images: Any) -> None:
    data = as_data_set(images)
    assert not data.labelled
    assert len(data.train) == N
    chosen = calibration_images(data, 10, seed=3)
    assert torch.equal(chosen, calibration_images(IMAGES, 10, seed=3))
    assert len(chosen.flatten(1)[:, 0].unique()) == 10


def test_random_transforms_are_decided_by_the_seed() -> None:
    split = as_data_set(Items(noise=1.0)).train
    batches = [torch.tensor([3, 1])]
    state = torch.random.get_rng_state()
    one, same, other = (next(split.stream(batches, Reading(seed=seed)))[0] for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(state, torch.random.get_rng_state())


def test_pixels_are_normalized_where_it_is_said_how() -> None:
    pixels = torch.full((4, 1, 2, 2), 255, dtype=torch.uint8)
    data = as_data_set(pixels, normalization=Normalization((0.5,), (0.5,)))
    assert torch.equal(calibration_images(data, 4), torch.ones(4, 1, 2, 2))


class Endless:
    def __iter__(self) -> Iterator[list[int]]:
        return itertools.repeat([0, 1])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (3, r"data: int; give a DataSet, a torch DataLoader"),
        ("digits?", r"data: str; give a DataSet"),
        (torch.nn.Linear(1, 1), r"data: Linear; give a DataSet"),
        ([], r"data: nothing in it"),
        ((IMAGES, LABELS[:-1]), r"data: 30 inputs and 29 targets; give as many of both"),
        (DataLoader(TensorDataset(torch.zeros(0, 1, 2, 2))), r"data: TensorDataset is empty|nothing in it"),
        ([torch.zeros(1, 2, 2), torch.zeros(1, 3, 3)], r"images of shapes \(1, 2, 2\) and \(1, 3, 3\)"),
        ([{"image": torch.zeros(1, 2, 2)}], r"data: an iterable of inputs of kind dict; give a Dataset"),
        (torch.zeros(4, 1, 2, 2, dtype=torch.uint8), r"uint8 images, and how to normalize them is not known"),
        (torch.zeros(4, 1, 2, 2, dtype=torch.long), r"inputs of torch.int64; give float32"),
        ({"tset": IMAGES}, r"a mapping of tset; its keys are train, validation, test"),
        (DataLoader(Items(), batch_sampler=Endless()), r"sampler draws more than 10 times"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(data: Any, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        as_data_set(data)
    assert "\n" not in str(caught.value)


def test_an_iterable_without_an_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reconv.data.own._MOST_BYTES", 10_000)
    with pytest.raises(DataError, match=r"an iterable without an end .* give fewer"):
        as_data_set(IMAGES[0] for _ in itertools.count())


def test_images_of_different_shapes_in_a_batch_are_refused() -> None:
    class Sizes(Dataset[Any]):
        def __len__(self) -> int:
            return 4

        def __getitem__(self, index: int) -> tuple[Tensor, int]:
            return torch.zeros(1, 2 + index, 2), 0

    with pytest.raises(DataError, match="images of different shapes in a batch"):
        as_data_set(Sizes())


def test_data_of_another_shape_than_the_example_are_refused() -> None:
    with pytest.raises(DataError, match=r"inputs of shape \(2, 4, 4\), but the network's example has \(2, 5, 5\)"):
        as_data_set(IMAGES, example=torch.zeros(1, 2, 5, 5))


def test_a_data_set_stays_itself() -> None:
    data = load_data("digits")
    assert as_data_set(data) is data


def test_a_fingerprint_tells_datasets_apart_without_reading_all_of_them() -> None:
    class Brighter(Items):
        def __getitem__(self, index: int) -> tuple[Tensor, int]:
            image, label = super().__getitem__(index)
            return image + 1, label

    first, again, other = (images_fingerprint(as_data_set(data)) for data in (Items(), Items(), Brighter()))
    assert first == again
    assert first != other
